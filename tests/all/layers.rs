//! The import rule: a file names its own layer and lower ones, and the engine does no I/O.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first; those on one line do not name each other.
const LAYERS: [&[&str]; 4] =
    [&["wire"], &["handshake", "deflate"], &["protocol"], &["event_loop", "client", "tls"]];

/// What no file below the event loop may name.
const OUTSIDE: [&str; 13] = [
    "std::net",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "std::io",
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "UNIX_EPOCH",
    "mio::",
    "rustls",
    "println!",
];

/// Where one file names what the rule forbids, for a reason.
const EXCEPTIONS: [(&str, &str); 1] = [
    // An extension is a value of the handshake that permessage-deflate negotiates.
    ("deflate", "crate::handshake::Extension"),
];

struct Source {
    path: PathBuf,
    /// The folder or file directly in src/.
    module: String,
    /// Without comments and unit tests.
    code: String,
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 30, "the sources are where they were");
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        let tests = ["\n#[cfg(test)]\nmod ", "\n#[cfg(all(test"];
        let end = tests.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
        let product = &text[..end];
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code: Vec<&str> = product.lines().filter(is_code).collect();
        Source { module, code: code.join("\n"), path }
    };
    paths.into_iter().map(source).collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules of this crate that `code` names, by `crate::name` or in `crate::{name, …}`.
fn named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let group = match rest.strip_prefix('{') {
            Some(group) => {
                // Only what stands at the first level of the braces.
                let mut depth = 0;
                let mut flat = String::new();
                for character in group.chars() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        _ if depth == 0 => flat.push(character),
                        _ => {}
                    }
                }
                flat
            }
            None => rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect(),
        };
        names.extend(
            group
                .split(',')
                .map(|name| name.trim().split("::").next().unwrap_or_default().trim().to_owned()),
        );
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn lower_layers_do_not_name_higher_ones() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(own) = layer_of(&source.module) else { continue };
        let mut code = source.code.clone();
        for (module, exception) in EXCEPTIONS {
            if source.module == module {
                code = code.replace(exception, "");
            }
        }
        for name in named(&code) {
            let allowed = match layer_of(&name) {
                Some(layer) => layer < own || name == source.module || own == 3,
                // What lib.rs re-exports is the public face, for those above it only.
                None => own == 3,
            };
            if !allowed {
                faults.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_engine_does_no_io_and_reads_no_clock() {
    let mut faults = Vec::new();
    for source in sources() {
        if layer_of(&source.module).is_none_or(|layer| layer == 3) {
            continue;
        }
        // `use std::{io, net}` would slip past the names.
        assert!(!source.code.contains("use std::{"), "{}: one path a line", source.path.display());
        for name in OUTSIDE {
            if source.code.contains(name) {
                faults.push(format!("{} names {name}", source.path.display()));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn nothing_is_unsafe() {
    for source in sources() {
        let words = source.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let unsafe_words = words.filter(|word| *word == "unsafe").count();
        assert_eq!(unsafe_words, 0, "{}", source.path.display());
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn the_reader_of_names_finds_them() {
    let code = "use crate::wire::Opcode;\nuse crate::{handshake::{Url, key}, protocol};\n\
                fn f() -> crate::deflate::DeflateParams {}";
    assert_eq!(named(code), ["wire", "handshake", "protocol", "deflate"]);
}
