//! The rules of the house, proved from the source text (see ARCHITECTURE.md): layers name lower ones only,
//! the engine does no I/O, no files name each other in a circle, an `impl` stands with its type.

mod modules;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use modules::{Crate, Sources, is_submodule};

/// The layers, lowest first; the engine is all below [`DRIVERS`]. Those of one line do not name each other, but
/// for the drivers.
const LAYERS: [&[&str]; 5] = [
    &["wire"],
    &["handshake", "deflate"],
    &["protocol"],
    &["io"],
    &["tls", "event_loop", "client"],
];
const DRIVERS: usize = 3;

/// What belongs to no layer: the face, and what is documentation only.
const FACE: [&str; 2] = ["lib", "guide"];

/// What a layer may name although the rule forbids it, for a reason: by its file and its name.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    // An extension is a value of the handshake that permessage-deflate negotiates, and an answer that does not fit
    // is a fault of the handshake.
    ("deflate", "handshake/header_list.rs", "Extension"),
    ("deflate", "handshake/deflate_error.rs", "DeflateError"),
];

/// What no file below the drivers may name: paths of other crates, and words by themselves.
const OUTSIDE: [&str; 14] = [
    "std::net",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "std::io",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "mio",
    "socket2",
    "rustls",
    "log",
];
const OUTSIDE_WORDS: [&str; 6] = ["Instant", "SystemTime", "println", "eprintln", "dbg", "print"];

/// The layers whose files still name each other in a circle, and those with an `impl` away from its type.
/// A layer that has neither any more is taken off.
const OPEN_CIRCLES: &[&str] = &[];
const OPEN_IMPLS: &[&str] = &[];

fn layer_of(file: &str) -> &str {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn level_of(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|layers| layers.contains(&layer))
}

/// Rule 1: a file names its own layer and lower ones, and below the drivers nothing by way of the root.
fn names_of_higher_layers(read: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    for file in read.files() {
        let own = layer_of(file);
        let Some(level) = level_of(own) else {
            if !FACE.contains(&own) {
                faults.push(format!("{file} is of no layer"));
            }
            continue;
        };
        for arrow in read.arrows(file) {
            let other = layer_of(&arrow.to);
            let excepted = EXCEPTIONS.iter().any(|(layer, file, name)| {
                *layer == own
                    && *file == arrow.to
                    && arrow.path.split("::").any(|part| part == *name)
            });
            // The face belongs to those above.
            let mut parts = arrow.path.split("::");
            let by_the_root = level < DRIVERS
                && parts.next() == Some("crate")
                && parts.next().and_then(level_of).is_none();
            let allowed = match level_of(other) {
                Some(other_level) if other_level == level => other == own || level >= DRIVERS,
                Some(other_level) => other_level < level,
                None => level >= DRIVERS,
            };
            if !excepted && (!allowed || by_the_root) {
                faults.push(format!("{file} names {}", arrow.path));
            }
        }
    }
    faults
}

/// Rule 1, the rest: below the drivers there is no socket, no `Read` or `Write`, no clock, thread or mio.
fn names_of_the_outside(read: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    for file in read.files().filter(|file| level_of(layer_of(file)).is_some_and(|l| l < DRIVERS)) {
        for path in read.paths(file) {
            for name in OUTSIDE {
                if path == name
                    || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"))
                {
                    faults.push(format!("{file} names {path}"));
                }
            }
        }
        for word in read.words(file) {
            if OUTSIDE_WORDS.contains(&word.as_str()) {
                faults.push(format!("{file} names {word}"));
            }
        }
    }
    faults
}

/// The files that each file of a layer names, each with one of the names.
type Graph<'c> = BTreeMap<&'c str, BTreeMap<String, String>>;

fn graph<'c>(read: &'c Crate, layer: &str) -> Graph<'c> {
    let mut graph = Graph::new();
    for file in read.files().filter(|file| layer_of(file) == layer) {
        let named = graph.entry(file).or_default();
        for arrow in read.arrows(file) {
            // A module as such is where to look for a name, and `mod.rs` where names are handed on. What is
            // part of a file, and has a type of its own, may name what it is part of.
            let handed_on = arrow.re_export || arrow.to_module && arrow.to.ends_with("mod.rs");
            let part = !arrow.to.ends_with("mod.rs")
                && is_submodule(file, &arrow.to)
                && read.has_type(file);
            if layer_of(&arrow.to) == layer && !handed_on && !part {
                named.entry(arrow.to).or_insert(arrow.path);
            }
        }
    }
    graph
}

/// The shortest way from a file back to itself, as a sentence.
fn circle_of(graph: &Graph<'_>, start: &str) -> Option<String> {
    let mut came_from = BTreeMap::from([(start, ("", ""))]);
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for (next, name) in graph.get(file)? {
            if next == start {
                let mut way = format!("{file} -({name})-> {start}");
                let mut at = file;
                while at != start {
                    let (before, name) = came_from[at];
                    way = format!("{before} -({name})-> {way}");
                    at = before;
                }
                return Some(way);
            }
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, (file, name));
                queue.push_back(next);
            }
        }
    }
    None
}

/// Rule 2: the shortest circles of each layer.
fn circles(read: &Crate) -> BTreeMap<String, Vec<String>> {
    let layers: BTreeSet<&str> = read.files().map(layer_of).collect();
    let of_layer = |layer: &str| {
        let graph = graph(read, layer);
        // Each circle once, and not from each of its files.
        let mut ways: BTreeMap<BTreeSet<String>, String> = BTreeMap::new();
        for way in graph.keys().filter_map(|file| circle_of(&graph, file)) {
            let files = way.split_whitespace().filter(|word| word.ends_with(".rs"));
            ways.entry(files.map(str::to_owned).collect()).or_insert(way);
        }
        ways.into_values().collect::<Vec<_>>()
    };
    let circles = layers.into_iter().map(|layer| (layer.to_owned(), of_layer(layer)));
    circles.filter(|(_, ways)| !ways.is_empty()).collect()
}

/// Rule 3: an `impl` stands in the file of its type, or in a submodule of it that has a type of its own.
fn impls_astray(read: &Crate) -> BTreeMap<String, Vec<String>> {
    let mut astray: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in read.files() {
        for (name, definer) in read.foreign_impls(file) {
            let part =
                !definer.ends_with("mod.rs") && is_submodule(file, &definer) && read.has_type(file);
            if !part {
                let fault = format!("{file} has an impl of {name}, which {definer} defines");
                astray.entry(layer_of(file).to_owned()).or_default().push(fault);
            }
        }
    }
    astray
}

/// Holds what was found in each layer against the list of what is still open.
fn check_open(found: &BTreeMap<String, Vec<String>>, open: &[&str]) {
    let faults: Vec<&String> = found
        .iter()
        .filter(|(layer, _)| !open.contains(&layer.as_str()))
        .flat_map(|(_, faults)| faults)
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let done: Vec<_> = open.iter().filter(|layer| !found.contains_key(**layer)).collect();
    assert!(done.is_empty(), "no longer open, take them off the list: {done:?}");
}

fn collect(folder: &Path, root: &Path, sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let parts = path.strip_prefix(root).unwrap().components();
            let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
            sources.insert(parts.join("/"), fs::read_to_string(&path).unwrap());
        }
    }
}

fn sources() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    collect(&root, &root, &mut sources);
    sources
}

#[test]
fn every_file_is_read() {
    let sources = sources();
    let read = Crate::new(&sources);
    // What is compiled for tests only is no part of the house.
    const FAULTS: [&str; 4] =
        ["client/dial/faults.rs", "client/faults.rs", "client/proxy/faults.rs", "io/faults.rs"];
    let is_of_tests = |path: &str| path.contains("/simulation/") || FAULTS.contains(&path);
    let is_unread = |path: &&String| !is_of_tests(path) && !read.files().any(|file| file == **path);
    let unread: Vec<_> = sources.keys().filter(is_unread).collect();
    assert!(unread.is_empty() && sources.len() > 80, "{unread:?}");
    let receiver = read.arrows("protocol/receiver.rs");
    for file in ["protocol/message.rs", "wire/header.rs", "wire/mask.rs"] {
        assert!(receiver.iter().any(|arrow| arrow.to == file), "{file}");
    }
}

#[test]
fn a_file_names_its_own_layer_and_lower_ones() {
    assert_eq!(names_of_higher_layers(&Crate::new(&sources())), [""; 0]);
}

#[test]
fn the_engine_does_no_io_and_reads_no_clock() {
    assert_eq!(names_of_the_outside(&Crate::new(&sources())), [""; 0]);
}

#[test]
fn no_files_of_a_layer_name_each_other_in_a_circle() {
    check_open(&circles(&Crate::new(&sources())), OPEN_CIRCLES);
}

#[test]
fn every_impl_stands_with_its_type() {
    check_open(&impls_astray(&Crate::new(&sources())), OPEN_IMPLS);
}

/// Files of a crate that nobody has written; `lib.rs` names the folders, `mod.rs` the files.
fn made_up(files: &[(&str, &str)]) -> Crate {
    let mut sources: Sources =
        files.iter().map(|(path, text)| (format!("{path}.rs"), (*text).to_owned())).collect();
    let mut folders: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files {
        let (folder, file) = path.split_once('/').unwrap();
        let (file, types) = (file.to_owned(), text.split("pub struct ").skip(1));
        let all = folders.entry(folder.to_owned()).or_default();
        *all += &format!("mod {file};");
        for name in types.map(|rest| rest.split(';').next().unwrap()) {
            *all += &format!("pub use {file}::{name};");
        }
    }
    let root = folders.keys().map(|folder| format!("pub mod {folder};")).collect();
    sources.insert("lib.rs".into(), root);
    sources.extend(folders.into_iter().map(|(folder, text)| (format!("{folder}/mod.rs"), text)));
    Crate::new(&sources)
}

#[test]
fn circles_are_found_and_told() {
    let two = made_up(&[
        ("wire/a", "use super::b::B; pub struct A;"),
        ("wire/b", "pub struct B; fn f() { super::A; }"),
        ("wire/c", "use super::{A, B};"),
    ]);
    let told = "wire/a.rs -(super::b::B)-> wire/b.rs -(super::A)-> wire/a.rs";
    assert_eq!(circles(&two)["wire"], [told]);

    let three = made_up(&[
        ("wire/a", "use super::B; pub struct A;"),
        ("wire/b", "use crate::wire::c::C; pub struct B;"),
        ("wire/c", "pub struct C; impl From<super::A> for C {}"),
    ]);
    let told = "wire/a.rs -(super::B)-> wire/b.rs -(crate::wire::c::C)-> wire/c.rs -(super::A)-> wire/a.rs";
    assert_eq!(circles(&three)["wire"], [told]);

    // Neither tests and comments, nor other layers, nor a module that hands names on.
    let none = made_up(&[
        ("wire/a", "use super::B; pub struct A; use crate::protocol::D;"),
        (
            "wire/b",
            "pub struct B; /** [`super::A`] */ #[cfg(test)] mod tests { use crate::wire::A; }",
        ),
        ("protocol/d", "use crate::wire::{self, A}; pub struct D;"),
    ]);
    assert_eq!(circles(&none), BTreeMap::new());
}

#[test]
fn an_impl_astray_is_found() {
    let read = made_up(&[
        ("wire/a", "pub struct A;"),
        ("wire/b", "pub struct B; impl From<super::A> for B {} impl From<B> for super::A {}"),
        ("wire/c", "use super::A; impl A { fn f() {} }"),
    ]);
    let astray = [
        "wire/b.rs has an impl of super::A, which wire/a.rs defines",
        "wire/c.rs has an impl of A, which wire/a.rs defines",
    ];
    assert_eq!(impls_astray(&read)["wire"], astray);
}

#[test]
fn a_part_may_name_what_it_is_part_of_if_it_owns_something() {
    let read = |part: &str| {
        let files = [
            ("lib.rs", "mod wire;"),
            ("wire/mod.rs", "mod a; pub use a::A;"),
            ("wire/a.rs", "mod part; pub struct A { field: part::Part }"),
            ("wire/a/part.rs", part),
        ];
        Crate::new(&files.map(|(path, text)| (path.to_owned(), text.to_owned())).into())
    };
    let owner = read("pub struct Part; impl super::A {}");
    assert_eq!((circles(&owner).len(), impls_astray(&owner).len()), (0, 0));
    let slice = read("pub type Part = u8; impl super::A {}");
    assert_eq!((circles(&slice).len(), impls_astray(&slice).len()), (1, 1));
}

#[test]
fn names_of_higher_layers_are_found() {
    let faults = |layer: &str, code: &str| {
        let read = made_up(&[
            (&format!("{layer}/file"), code),
            ("wire/frame", "pub struct Frame;"),
            ("handshake/header_list", "pub struct Extension;"),
            ("deflate/codec", "pub struct Codec;"),
            ("protocol/connection", "pub struct Connection;"),
            ("client/client", "pub struct Client;"),
            ("tls/socket", "pub struct Socket;"),
        ]);
        names_of_higher_layers(&read).len() + names_of_the_outside(&read).len()
    };
    for (layer, code) in [
        ("wire", "use crate::handshake::Extension;"),
        ("wire", "fn f(c: &crate::protocol::connection::Connection) {}"),
        ("handshake", "use crate::{deflate::{Codec}};"),
        ("deflate", "use super::super::handshake::header_list;"),
        ("protocol", "fn f() { crate::client::Client::new() }"),
        ("protocol", "use crate::tls;"),
        ("wire", "use std::{io::{self}, fmt};"),
        ("deflate", "fn f() { std::thread::sleep(d) }"),
        ("protocol", "use std::time::{Duration, Instant};"),
        ("protocol", "use mio::Poll;"),
        ("handshake", "fn f() { println!() }"),
    ] {
        assert!(faults(layer, code) > 0, "{layer}: {code}");
    }
    for (layer, code) in [
        ("handshake", "use crate::wire::Frame; use std::time::Duration;"),
        ("deflate", "use crate::handshake::{Extension};"),
        ("protocol", "use crate::{deflate::Codec, handshake, wire}; // mio::Poll"),
        ("client", "use crate::tls::Socket; use std::{io, net}; use crate::protocol::Connection;"),
        ("tls", "use crate::client::Client;"),
    ] {
        assert_eq!(faults(layer, code), 0, "{layer}: {code}");
    }
}

#[test]
fn what_is_open_must_be_so() {
    let found = BTreeMap::from([("wire".to_owned(), vec!["a fault".to_owned()])]);
    check_open(&found, &["wire"]);
    for (found, open) in
        [(&found, &["wire", "client"][..]), (&found, &[]), (&BTreeMap::new(), &["wire"])]
    {
        assert!(std::panic::catch_unwind(|| check_open(found, open)).is_err());
    }
}

#[test]
fn nothing_is_unsafe() {
    let read = Crate::new(&sources());
    let unsafe_files: Vec<_> =
        read.files().filter(|file| read.words(file).iter().any(|word| word == "unsafe")).collect();
    assert_eq!(unsafe_files, [""; 0]);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}
