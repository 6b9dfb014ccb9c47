//! Every requirement of the RFCs, and every attack that is known, has a test that names it, or a reason why it has
//! none. `docs/conformance.md` and `docs/attacks.md` say which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A list whose lines are `id | text`, or `id | text | N/A: reason`.
struct List {
    file: &'static str,
    /// How its ids begin, and how many there are of each.
    families: &'static [(&'static str, usize)],
    /// What the comments begin with that name them.
    marks: &'static [&'static str],
    page: &'static str,
    title: &'static str,
    columns: [&'static str; 2],
}

const REQUIREMENTS: List = List {
    file: "tests/requirements.txt",
    families: &[("W", 117), ("D", 37), ("H", 13)],
    marks: &[concat!("// ", "req:")],
    page: "docs/conformance.md",
    title: "Conformance: every requirement, and the tests that name it",
    columns: ["requirement", "tests"],
};

const ATTACKS: List = List {
    file: "tests/attacks.txt",
    families: &[
        ("HS", 39),
        ("HC", 14),
        ("FR", 17),
        ("FM", 10),
        ("UT", 8),
        ("CL", 17),
        ("PD", 17),
        ("FL", 11),
        ("OS", 11),
        ("AP", 6),
    ],
    marks: &["//", "#"],
    page: "docs/attacks.md",
    title: "Attacks: what can come, what follows, and the tests that name it",
    columns: ["what comes | what follows", "tests"],
};

#[derive(Debug, PartialEq)]
struct Entry {
    text: String,
    /// Why there is no test.
    reason: Option<String>,
}

impl List {
    fn is_id(&self, word: &str) -> bool {
        let digits = word.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
        let family = &word[..word.len() - digits.len()];
        self.families.iter().any(|(name, _)| *name == family)
            && digits.len() == if family.len() == 1 { 3 } else { 2 }
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn read(&self, list: &str) -> BTreeMap<String, Entry> {
        let fields = self.columns[0].split('|').count();
        let mut ids = BTreeMap::new();
        for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let parts: Vec<&str> = line.split(" | ").collect();
            assert!((1 + fields..3 + fields).contains(&parts.len()), "{line:?}");
            let (id, text) = (parts[0], parts[1..=fields].join(" | "));
            assert!(self.is_id(id) && text.len() > 10, "{line:?}");
            let reason = parts.get(1 + fields).map(|mark| match mark.strip_prefix("N/A: ") {
                Some(why) if why.len() > 10 => why.to_owned(),
                _ => panic!("no reason is given in {line:?}"),
            });
            let before = ids.insert(id.to_owned(), Entry { text, reason });
            assert!(before.is_none(), "{id} stands twice");
        }
        ids
    }

    /// The ids that comments name in the files of a folder, each with the tests.
    fn named_in(&self, folder: &Path, root: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                // What scripts install or leave begins with a dot, or is not ours.
                if !name.starts_with('.') && name != "node_modules" && name != "target" {
                    self.named_in(&path, root, found);
                }
            } else if name == "run" || name.ends_with(".rs") {
                let place = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                let Ok(text) = fs::read_to_string(&path) else { continue };
                for (id, test) in self.named_by(&text, &place) {
                    found.entry(id).or_default().insert(test);
                }
            }
        }
    }

    /// The ids that the comments of one file name, each with the test: the function that follows, if it stands
    /// before a test, otherwise the one that it stands in.
    fn named_by(&self, text: &str, place: &str) -> Vec<(String, String)> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let function = |line: &str| {
            let (_, rest) = line.split_once("fn ").filter(|(before, _)| !before.contains("//"))?;
            Some(rest.split(['(', '<']).next()?.to_owned())
        };
        let mut named = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let Some(comment) = self.marks.iter().find_map(|mark| line.strip_prefix(mark)) else {
                continue;
            };
            let words = comment.split(|letter: char| !letter.is_ascii_alphanumeric());
            let ids: Vec<&str> = words.filter(|word| self.is_id(word)).collect();
            if ids.is_empty() {
                continue;
            }
            let is_code = |line: &&&str| !line.starts_with("//") && !line.starts_with("#[cfg(");
            let next = lines[number..].iter().find(is_code).copied().unwrap_or_default();
            let following = lines[number..].iter().find_map(|line| function(line));
            let around = lines[..number].iter().rev().find_map(|line| function(line));
            // The tables of tests/heap/memory.rs, and of programs with a `main` of their own, have no attributes.
            let before_test = next.starts_with("#[test]") || function(next).is_some();
            let test = if line.starts_with("//!") || place.ends_with("run") {
                None
            } else if before_test {
                following
            } else {
                around
            };
            if self.marks.len() == 1 {
                assert!(before_test, "{place}:{}: no test follows", number + 1);
            }
            let test = test.map_or_else(|| place.to_owned(), |test| format!("{place}: {test}"));
            named.extend(ids.into_iter().map(|id| (id.to_owned(), test.clone())));
        }
        named
    }

    /// Holds the list against the tests: the page that says which.
    fn page(&self) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = self.read(&fs::read_to_string(root.join(self.file)).unwrap());
        let mut found = BTreeMap::new();
        for folder in ["src", "tests"] {
            self.named_in(&root.join(folder), root, &mut found);
        }
        let mut faults = Vec::new();
        for (id, places) in &found {
            match list.get(id) {
                None => faults.push(format!("{places:?}: {id} is not in {}", self.file)),
                Some(Entry { reason: Some(_), .. }) => {
                    faults.push(format!("{places:?}: {id} is marked N/A"));
                }
                _ => {}
            }
        }
        let mut page = format!(
            "# {}\n\n\
             Made by `FRAMEWIRE_WRITE=1 cargo test --test all traces` of `{}` and of the comments of the tests.\n\n\
             | id | {} | {} |\n|---|{}---|\n",
            self.title,
            self.file,
            self.columns[0],
            self.columns[1],
            "---|".repeat(self.columns[0].split('|').count()),
        );
        for (id, Entry { text, reason }) in &list {
            let tests = match (found.get(id), reason) {
                (Some(tests), _) => {
                    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>")
                }
                (None, Some(reason)) => format!("none: {reason}"),
                (None, None) => {
                    faults.push(format!("{id} has no test"));
                    continue;
                }
            };
            writeln!(page, "| {id} | {text} | {tests} |").unwrap();
        }
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
        for (family, count) in self.families {
            let is_of = |id: &&String| {
                id.trim_end_matches(|letter: char| letter.is_ascii_digit()) == *family
            };
            assert_eq!(list.keys().filter(is_of).count(), *count, "{family}: the list is whole");
        }
        page
    }

    /// The page is the one that is committed.
    fn check(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.page);
        let page = self.page();
        if std::env::var_os("FRAMEWIRE_WRITE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, page).unwrap();
            return;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == page,
            "{} is not what the tests say: FRAMEWIRE_WRITE=1 cargo test --test all traces",
            self.page
        );
    }
}

#[test]
fn every_requirement_has_a_test_or_a_reason() {
    REQUIREMENTS.check();
}

#[test]
fn every_attack_has_a_test_or_a_reason() {
    ATTACKS.check();
}

#[test]
fn the_reader_of_a_list_is_strict() {
    let list = REQUIREMENTS
        .read("# note\nW001 | a requirement\nD002 | another one | N/A: for some reason\n");
    assert_eq!(list["W001"].reason, None);
    assert_eq!(list["D002"].reason.as_deref(), Some("for some reason"));
    for bad in ["W1 | too short an id", "W001 | text", "W001 | a requirement | N/A: x", "W001"] {
        assert!(std::panic::catch_unwind(|| REQUIREMENTS.read(bad)).is_err(), "{bad:?}");
    }
    for bad in
        ["FR01 | reserved opcodes", "XX01 | what comes | what follows", "FR001 | a | bbbbbbbbbb"]
    {
        assert!(std::panic::catch_unwind(|| ATTACKS.read(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn a_comment_names_the_test_before_or_around_which_it_stands() {
    let text = "
        // attack: FR01, FR02
        #[test]
        fn one() {
            // FR03: as well.
            work();
        }
        let fr04 = \"FR04\";
    ";
    let named = ATTACKS.named_by(text, "a.rs");
    let wanted = [("FR01", "a.rs: one"), ("FR02", "a.rs: one"), ("FR03", "a.rs: one")];
    assert_eq!(named, wanted.map(|(id, test)| (id.to_owned(), test.to_owned())));
    assert_eq!(
        ATTACKS.named_by("# OS01: by strace\n", "tests/faults/run")[0].1,
        "tests/faults/run"
    );
}
