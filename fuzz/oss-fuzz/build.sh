#!/bin/bash -eu
# Run by OSS-Fuzz in the container of Dockerfile: every target of fuzz/, with its seeds, to $OUT.
cd "$SRC/framewire/fuzz"
cargo fuzz build -O
for source in fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "target/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    zip -q -j "$OUT/${target}_seed_corpus.zip" "seeds/$target"/*
done
