//! The modules of a crate: what each file defines and names, and which file a path leads to.

use std::collections::BTreeMap;

use super::tokens::{LITERAL, Token, after_visibility, closing, item_end, tokens, without_tests};

/// The text of each file, by its path in src/.
pub(super) type Sources = BTreeMap<String, String>;

/// A crate as its source says.
pub(super) struct Crate {
    modules: Vec<Module>,
    files: BTreeMap<String, File>,
}

#[derive(Default)]
struct File {
    paths: Vec<Named>,
    /// The type of each `impl` without its generics, and the module that it stands in.
    impls: Vec<(usize, Path)>,
    has_type: bool,
    words: Vec<Token>,
}

/// A path in the code of a file.
struct Named {
    /// The module that it stands in.
    module: usize,
    path: Path,
    /// Whether it is a `pub use`.
    re_export: bool,
}

type Path = Vec<String>;

struct Module {
    parent: Option<usize>,
    file: String,
    names: BTreeMap<String, Vec<Meaning>>,
    globs: Vec<Path>,
}

enum Meaning {
    Module(usize),
    Item,
    /// `use path as name`.
    Alias(Path),
}

enum Found {
    Module(usize),
    /// An item of this module.
    Item(usize),
}

/// A file that names something of another file.
#[derive(Debug, PartialEq)]
pub(super) struct Arrow {
    pub(super) to: String,
    /// The path, as it stands in the source.
    pub(super) path: String,
    /// Whether it leads to a module as such, and not to something in it.
    pub(super) to_module: bool,
    /// Whether it is a `pub use` of what a submodule has.
    pub(super) re_export: bool,
}

impl Crate {
    /// Reads these files, of which `lib.rs` is the root.
    pub(super) fn new(sources: &Sources) -> Self {
        let mut read = Self { modules: Vec::new(), files: BTreeMap::new() };
        read.read_file("lib.rs", None, sources);
        read
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// All words of a file, to look for what must not be named at all.
    pub(super) fn words(&self, file: &str) -> &[Token] {
        &self.files[file].words
    }

    /// All paths of a file, as they stand in the source or as `use` has them abbreviated.
    pub(super) fn paths(&self, file: &str) -> impl Iterator<Item = String> {
        self.files[file].paths.iter().map(|named| named.path.join("::"))
    }

    /// Whether a file defines a type or a trait.
    pub(super) fn has_type(&self, file: &str) -> bool {
        self.files[file].has_type
    }

    /// What a file names of other files.
    pub(super) fn arrows(&self, file: &str) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for Named { module, path, re_export } in &self.files[file].paths {
            let (to, to_module) = match self.find(*module, path, 0) {
                Some(Found::Module(module)) => (&self.modules[module].file, true),
                Some(Found::Item(module)) => (&self.modules[module].file, false),
                None => continue,
            };
            if to != file {
                let re_export = *re_export && is_submodule(to, file);
                let (to, path) = (to.clone(), path.join("::"));
                arrows.push(Arrow { to, path, to_module, re_export });
            }
        }
        arrows
    }

    /// The types of the `impl` blocks of a file that another file defines, and that file.
    pub(super) fn foreign_impls(&self, file: &str) -> Vec<(String, String)> {
        let mut foreign = Vec::new();
        for (module, path) in &self.files[file].impls {
            if let Some(Found::Item(definer)) = self.find(*module, path, 0) {
                let definer = &self.modules[definer].file;
                if definer != file {
                    foreign.push((path.join("::"), definer.clone()));
                }
            }
        }
        foreign
    }

    fn read_file(&mut self, path: &str, parent: Option<usize>, sources: &Sources) -> usize {
        let code = without_tests(&tokens(&sources[path]));
        self.files.insert(path.into(), File { words: code.clone(), ..File::default() });
        self.read_module(&code, path, parent, sources)
    }

    fn read_module(
        &mut self,
        code: &[Token],
        file: &str,
        parent: Option<usize>,
        sources: &Sources,
    ) -> usize {
        let module = self.modules.len();
        let (names, globs) = Default::default();
        self.modules.push(Module { parent, file: file.into(), names, globs });
        let mut at = 0;
        while at < code.len() {
            if code[at] == "#" {
                at = closing(code, at + 1 + usize::from(code[at + 1] == "!")) + 1;
                continue;
            }
            let end = item_end(code, at);
            let start = after_visibility(code, at);
            self.read_item(&code[start..=end], start > at, module, sources);
            at = end + 1;
        }
        module
    }

    fn read_item(&mut self, item: &[Token], public: bool, module: usize, sources: &Sources) {
        let file = self.modules[module].file.clone();
        let word = |at: usize| item.get(at).map_or("", |word| word.as_str());
        let mut at = 0;
        while matches!(word(at), "unsafe" | "async" | "extern" | "default" | LITERAL)
            || word(at) == "const" && matches!(word(at + 1), "fn" | "unsafe" | "async" | "extern")
        {
            at += 1;
        }
        let name = match word(at) {
            "use" => {
                for (path, name) in use_paths(&item[at + 1..item.len() - 1]) {
                    if name == "*" {
                        self.modules[module].globs.push(path.clone());
                    } else {
                        self.define(module, &name, Meaning::Alias(path.clone()));
                    }
                    self.name(Named { module, path, re_export: public });
                }
                return;
            }
            "mod" => {
                let child = if word(at + 2) == "{" {
                    let inside = &item[at + 3..item.len() - 1];
                    self.read_module(inside, &file, Some(module), sources)
                } else {
                    let folder = folder_of(&file);
                    let beside = format!("{folder}{}.rs", word(at + 1));
                    let inside = format!("{folder}{}/mod.rs", word(at + 1));
                    let path = if sources.contains_key(&beside) { beside } else { inside };
                    self.read_file(&path, Some(module), sources)
                };
                return self.define(module, word(at + 1), Meaning::Module(child));
            }
            "struct" | "enum" | "union" | "trait" => {
                self.file(module).has_type = true;
                word(at + 1)
            }
            "impl" => {
                let path = implementing(&item[at + 1..]);
                self.file(module).impls.push((module, path));
                ""
            }
            "fn" | "type" | "const" | "static" => word(at + 1),
            "macro_rules" => word(at + 2),
            _ => "",
        };
        if !name.is_empty() {
            self.define(module, name, Meaning::Item);
        }
        self.read_code(item, module);
    }

    /// Takes note of every path in what is neither a module nor a `use` of one.
    fn read_code(&mut self, code: &[Token], module: usize) {
        let mut at = 0;
        while at < code.len() {
            let before = at.checked_sub(1).map_or("", |before| code[before].as_str());
            let word = code[at].as_str();
            if word == "pub" {
                at = after_visibility(code, at);
            } else if word == "use" {
                let end = item_end(code, at);
                for (path, _) in use_paths(&code[at + 1..end]) {
                    self.name(Named { module, path, re_export: false });
                }
                at = end + 1;
            } else if is_name(word) && before != "::" && before != "." {
                let path = path_at(code, at);
                at += 2 * path.len() - 1;
                // Local variables and fields have small letters, types and constants large ones.
                if path.len() > 1 || path[0].starts_with(char::is_uppercase) {
                    self.name(Named { module, path, re_export: false });
                }
            } else {
                at += 1;
            }
        }
    }

    fn file(&mut self, module: usize) -> &mut File {
        self.files.entry(self.modules[module].file.clone()).or_default()
    }

    fn name(&mut self, named: Named) {
        self.file(named.module).paths.push(named);
    }

    fn define(&mut self, module: usize, name: &str, meaning: Meaning) {
        self.modules[module].names.entry(name.into()).or_default().push(meaning);
    }

    /// Follows a path as far as it leads inside the crate.
    fn find(&self, from: usize, path: &[String], depth: usize) -> Option<Found> {
        let mut at = from;
        let mut rest = path;
        let mut inside = false;
        while let [name, after @ ..] = rest {
            rest = after;
            let found = match name.as_str() {
                "crate" => Found::Module(0),
                "self" => Found::Module(at),
                "super" => Found::Module(self.modules[at].parent?),
                name => match self.look_up(at, name, !after.is_empty(), depth + 1) {
                    Some(found) => found,
                    // By a macro, perhaps; the module is known at least.
                    None => return inside.then_some(Found::Module(at)),
                },
            };
            match found {
                Found::Module(module) => at = module,
                item => return Some(item),
            }
            inside = true;
        }
        inside.then_some(Found::Module(at))
    }

    /// What a name means in a module; where it means several things, the one that a path can go on from.
    fn look_up(&self, module: usize, name: &str, goes_on: bool, depth: usize) -> Option<Found> {
        if depth > 30 {
            return None;
        }
        let Module { names, globs, .. } = &self.modules[module];
        let meanings = names.get(name).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<Found> = meanings
            .iter()
            .filter_map(|meaning| match meaning {
                Meaning::Module(child) => Some(Found::Module(*child)),
                Meaning::Item => Some(Found::Item(module)),
                Meaning::Alias(path) => {
                    // `use append::append` in the module that has `append`.
                    let of_child = path.len() > 1 && path[0] == name;
                    if goes_on && of_child { None } else { self.find(module, path, depth) }
                }
            })
            .collect();
        if found.is_empty() {
            let in_globs =
                globs.iter().filter_map(|path| match self.find(module, path, depth)? {
                    Found::Module(other) if other != module => {
                        self.look_up(other, name, goes_on, depth + 1)
                    }
                    _ => None,
                });
            found.extend(in_globs);
        }
        let wanted = found.iter().position(|found| matches!(found, Found::Module(_)) == goes_on);
        (!found.is_empty()).then(|| found.swap_remove(wanted.unwrap_or(0)))
    }
}

/// The folder of the submodules of a file.
fn folder_of(file: &str) -> String {
    match file.strip_suffix("mod.rs").or_else(|| file.strip_suffix("lib.rs")) {
        Some(folder) => folder.into(),
        None => format!("{}/", file.trim_end_matches(".rs")),
    }
}

/// Whether a file is a submodule of another one, at whatever depth.
pub(super) fn is_submodule(file: &str, of: &str) -> bool {
    file != of && file.starts_with(&folder_of(of))
}

fn is_name(word: &str) -> bool {
    word != "Self" && word.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// The path that begins here, without generics.
fn path_at(code: &[Token], start: usize) -> Path {
    let mut path = vec![code[start].clone()];
    let mut at = start + 1;
    while let [mark, word, ..] = &code[at.min(code.len())..]
        && mark == "::"
        && is_name(word)
    {
        path.push(word.clone());
        at += 2;
    }
    path
}

/// The paths of a tree of `use`, each with the name that it gets here, which is `*` for a glob.
fn use_paths(tree: &[Token]) -> Vec<(Path, String)> {
    let mut paths = Vec::new();
    let mut prefix = Path::new();
    let mut at = 0;
    while at < tree.len() {
        match tree[at].as_str() {
            "::" => {}
            "{" => {
                let end = closing(tree, at);
                for branch in branches(&tree[at + 1..end]) {
                    for (path, name) in use_paths(branch) {
                        let is_self = path == ["self"];
                        let own = prefix.last().cloned().unwrap_or_default();
                        let rest = if is_self { &[][..] } else { &path };
                        let name = if is_self && name == "self" { own } else { name };
                        paths.push(([&prefix[..], rest].concat(), name));
                    }
                }
                return paths;
            }
            "*" => return vec![(prefix, "*".into())],
            "as" => return vec![(prefix, tree[at + 1].clone())],
            word => prefix.push(word.into()),
        }
        at += 1;
    }
    let name = prefix.last().cloned().unwrap_or_default();
    vec![(prefix, name)]
}

/// What commas separate, outside of braces.
fn branches(tree: &[Token]) -> Vec<&[Token]> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while at <= tree.len() {
        if at == tree.len() || tree[at] == "," {
            if start < at {
                found.push(&tree[start..at]);
            }
            start = at + 1;
        } else if tree[at] == "{" {
            at = closing(tree, at);
        }
        at += 1;
    }
    found
}

/// The type that an `impl` is of, from what follows the word; empty where it is not a path.
fn implementing(item: &[Token]) -> Path {
    let mut angles = 0;
    let (mut start, mut after_for) = (0, None);
    for (at, word) in item.iter().enumerate() {
        match word.as_str() {
            "<" => angles += 1,
            ">" if item[at - 1] != "-" => {
                angles -= 1;
                // The generics of the `impl` itself.
                if angles == 0 && item[0] == "<" && start == 0 {
                    start = at + 1;
                }
            }
            "for" if angles == 0 && item[at + 1] != "<" => after_for = Some(at + 1),
            "where" | "{" if angles == 0 => break,
            _ => {}
        }
    }
    let mut at = after_for.unwrap_or(start);
    while matches!(item[at].as_str(), "&" | "mut" | "dyn") {
        at += 1;
    }
    if is_name(&item[at]) { path_at(item, at) } else { Path::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Crate {
        let owned = files.iter().map(|(path, text)| (path.to_string(), text.to_string()));
        Crate::new(&owned.collect())
    }

    fn targets(read: &Crate, file: &str) -> Vec<String> {
        let mut targets: Vec<String> = read
            .arrows(file)
            .into_iter()
            .filter(|arrow| !arrow.to_module && !arrow.re_export)
            .map(|arrow| arrow.to)
            .collect();
        targets.dedup();
        targets
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_the_name() {
        let files = [
            ("lib.rs", "mod a; pub mod b; pub use a::Thing;"),
            ("a/mod.rs", "mod x; mod y; pub(crate) use x::{Thing, part::*}; pub use y::y as z;"),
            ("a/x.rs", "pub mod part; pub struct Thing<T>(T);"),
            ("a/x/part.rs", "pub(super) const LIMIT: usize = { 1 }; pub static OTHER: u8 = 1;"),
            ("a/y.rs", "pub fn y() { super::Thing::new(self.field, LIMIT) }"),
            ("b.rs", "use crate::{a::{self, z}, Thing as T}; fn f() { a::LIMIT; z::<u8>() }"),
        ];
        let read = read(&files);
        assert_eq!(targets(&read, "a/mod.rs"), [""; 0]);
        assert_eq!(targets(&read, "a/x.rs"), [""; 0]);
        assert_eq!(targets(&read, "a/y.rs"), ["a/x.rs"]);
        assert_eq!(targets(&read, "b.rs"), ["a/y.rs", "a/x.rs", "a/x/part.rs"]);
        assert!(read.arrows("b.rs").iter().any(|arrow| arrow.to_module && arrow.to == "a/mod.rs"));
        assert!(read.arrows("lib.rs").iter().all(|arrow| arrow.re_export));
        assert!(read.has_type("a/x.rs") && !read.has_type("a/y.rs"));
    }

    #[test]
    fn a_path_is_found_wherever_it_stands() {
        for code in [
            "use super::other::Name;",
            "use super::{other::{Name as Another}};",
            "fn f() { use super::other::Name; }",
            "fn f() -> super::other::Name { g() }",
            "fn f() { g(&[super::other::Name::new::<u8>()]) }",
            "struct S { name: Option<crate::Name> }",
            "impl<T: Into<u8>> From<crate::other::Name> for Vec<T> { }",
            "mod inner { fn f(x: super::super::Name) {} }",
            "macro_rules! m { () => { $crate::other::Name } }",
            "use super::other; fn f() { match x { other::Name::A => {} } }",
            "use crate::*; fn f() { Name }",
            "#[cfg(feature = \"x\")] pub(in crate::one) const N: fn() = || super::Name;",
        ] {
            let root = "mod one; mod other; pub use other::Name;";
            let other = "pub enum Name { A }";
            let read = read(&[("lib.rs", root), ("one.rs", code), ("other.rs", other)]);
            assert_eq!(targets(&read, "one.rs"), ["other.rs"], "{code}");
        }
        for code in [
            "// super::other::Name",
            "/// [`super::other::Name`]\nfn f() {}",
            "#[cfg(test)] mod tests { use super::super::other::Name; }",
            "struct Name; fn f(name: Name) -> Name { name.other::<u8>() }",
            "const S: &str = \"crate::other::Name\";",
            "use std::other::Name;",
        ] {
            let other = "pub struct Name;";
            let read =
                read(&[("lib.rs", "mod one; mod other;"), ("one.rs", code), ("other.rs", other)]);
            assert_eq!(targets(&read, "one.rs"), [""; 0], "{code}");
        }
    }

    #[test]
    fn impls_are_of_the_type_and_not_of_what_stands_around_it() {
        for (code, astray) in [
            ("impl crate::other::Name { fn f() {} }", true),
            ("impl<T: Fn() -> u8> super::Name<T> where T: Copy { }", true),
            ("impl<'a> Clone for &'a mut super::Name<'a> { }", true),
            ("impl From<super::Name> for Own { } struct Own;", false),
            ("impl From<Own> for super::Name { } struct Own;", true),
            ("impl<T> super::Trait for T { }", false),
            ("impl super::Trait for Vec<super::Name> { }", false),
            ("impl super::Trait for [u8; 2] { }", false),
            ("impl<F> super::Trait for F where F: for<'x> Fn(&'x super::Name) { }", false),
            ("unsafe impl Send for super::Name {}", true),
        ] {
            let root = "mod one; mod other; use other::{Name, Trait};";
            let other = "pub struct Name; pub trait Trait {}";
            let read = read(&[("lib.rs", root), ("one.rs", code), ("other.rs", other)]);
            assert_eq!(read.foreign_impls("one.rs").len(), usize::from(astray), "{code}");
        }
    }
}
