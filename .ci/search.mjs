#!/usr/bin/env node
// Looks up each term of docs/search.txt as a reader of the documentation does, with rustdoc's own search.
//
// usage: .ci/search.mjs [TERM...]
//
// With terms, prints what the search shows for each. Documents the crate as docs.rs does, with nightly Rust: the
// rustdoc of Rust 1.95 loses the aliases of types that are re-exported (rust-lang/rust#152939).

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CRATE = "framewire";
// How many results a reader is taken to read.
const SEEN = 3;

// Returns the folder of the documentation.
function documentation() {
    const env = { ...process.env, RUSTDOCFLAGS: "--cfg docsrs" };
    const cargo = (...options) => execFileSync("cargo", options, { cwd: ROOT, env, encoding: "utf8" });
    const metadata = cargo("metadata", "--format-version", "1", "--no-deps", "--offline");
    const target = join(JSON.parse(metadata).target_directory, "docs.rs");
    cargo("+nightly", "doc", "--quiet", "--locked", "--no-deps", "--all-features", "--target-dir", target);
    return join(target, "doc");
}

// What search.js asks of a page, given to it here. The page names the scripts that belong to it: those of an
// older rustdoc may lie beside them.
async function openSearch(folder) {
    const page = readFileSync(join(folder, CRATE, "index.html"), "utf8");
    const script = (name) => {
        const found = page.match(new RegExp(`data-${name}-js="([^"]+)"`));
        if (!found) throw new Error(`the page names no ${name} script`);
        return createRequire(import.meta.url)(join(folder, "static.files", found[1]));
    };
    const { Stringdex, RoaringBitmap } = script("stringdex");
    const run = (...path) => vm.runInThisContext(readFileSync(join(folder, "search.index", ...path), "utf8"));
    globalThis.nonnull = (value) => value;
    return script("search").initSearch(Stringdex, RoaringBitmap, {
        loadRoot: (callbacks) => {
            Object.assign(globalThis, callbacks);
            run("root.js");
        },
        loadTreeByHash: (hash) => run(`${hash}.js`),
        loadDataByNameAndHash: (name, hash) => run(name, `${hash}.js`),
    });
}

// What a page's address stands for: `struct.Peer.html#method.send` is `Peer::send`.
function itemOf(href) {
    const [page, anchor] = href.replace(/^.*?framewire\//, "").split("#");
    const path = page.split("/");
    const [kind, name] = path.pop().split(".");
    if (kind !== "index") path.push(name);
    if (anchor) path.push(anchor.slice(anchor.indexOf(".") + 1));
    return path.join("::");
}

// The items that the first tab shows for a term, in its order.
async function lookUp({ docSearch, DocSearch }, term) {
    const query = DocSearch.parseQuery(term);
    const results = await docSearch.execQuery(query, CRATE, CRATE);
    const items = [];
    for await (const { href } of results.others) items.push(itemOf(href));
    return items;
}

// The lines of the table: a term, two spaces or more, and the item where it has to lead.
function table() {
    const lines = readFileSync(join(ROOT, "docs", "search.txt"), "utf8").split("\n");
    return lines.filter((line) => line && !line.startsWith("#")).map((line) => line.split(/ {2,}/));
}

async function main(terms) {
    const search = await openSearch(documentation());
    for (const term of terms) console.log(`${term}: ${(await lookUp(search, term)).slice(0, 10).join(", ")}`);
    if (terms.length) return;
    const rows = table();
    let faults = 0;
    for (const [term, item] of rows) {
        const items = await lookUp(search, term);
        if (items.slice(0, SEEN).includes(item)) continue;
        faults += 1;
        const shown = items.length ? `it leads to ${items.slice(0, SEEN).join(", ")}` : "nothing is found";
        console.log(`${term} does not lead to ${item}: ${shown}`);
    }
    console.log(`${rows.length} terms looked up, ${faults} lead elsewhere or nowhere`);
    if (faults || rows.length === 0) process.exit(1);
}

await main(process.argv.slice(2));
