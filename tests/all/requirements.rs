//! Every requirement of the RFCs has a test that names it, or a reason why it has none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Debug, PartialEq)]
enum Mark {
    Tested,
    NotApplicable,
}

/// Reads `id | text` or `id | text | N/A: reason`.
fn read_list(list: &str) -> BTreeMap<String, Mark> {
    let mut ids = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let (id, text) = (parts[0], parts.get(1).copied().unwrap_or_default());
        assert!(is_id(id) && text.len() > 10, "{line:?}");
        let mark = match parts.get(2).copied() {
            None => Mark::Tested,
            Some(mark) => match mark.strip_prefix("N/A: ") {
                Some(why) if why.len() > 10 => Mark::NotApplicable,
                _ => panic!("no reason is given in {line:?}"),
            },
        };
        assert!(parts.len() <= 3, "{line:?}");
        assert!(ids.insert(id.to_owned(), mark).is_none(), "{id} stands twice");
    }
    ids
}

fn is_id(word: &str) -> bool {
    word.len() == 4
        && word.starts_with(['W', 'D', 'H'])
        && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The ids of the lines `// req: …`, each with where it stands. A line goes for a test only if one
/// follows.
fn named_in(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mark = concat!("// ", "req:");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(ids) = line.strip_prefix(mark) else { continue };
            let place = format!("{}:{}", path.display(), number + 1);
            let next = lines[number..]
                .iter()
                .find(|line| !line.starts_with("//") && !line.starts_with("#[cfg("));
            let is_test = next.is_some_and(|line| line.starts_with("#[test]"))
                // The table of tests/memory.rs has no attribute.
                || (path.ends_with("memory.rs") && next.is_some_and(|l| l.contains("fn ")));
            assert!(is_test, "{place}: no test follows");
            for word in ids.split([',', ' ', '(', ')', ':']).filter(|word| is_id(word)) {
                found.insert(word.to_owned(), place.clone());
            }
        }
    }
}

#[test]
fn every_requirement_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = read_list(&fs::read_to_string(root.join("tests/requirements.txt")).unwrap());
    let mut found = BTreeMap::new();
    for folder in ["src", "tests"] {
        named_in(&root.join(folder), &mut found);
    }
    let mut faults = Vec::new();
    for (id, place) in &found {
        match list.get(id) {
            None => faults.push(format!("{place}: {id} is not a requirement")),
            Some(Mark::NotApplicable) => faults.push(format!("{place}: {id} is marked N/A")),
            _ => {}
        }
    }
    for (id, mark) in &list {
        if *mark == Mark::Tested && !found.contains_key(id) {
            faults.push(format!("{id} has no test"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let families =
        ['W', 'D', 'H'].map(|family| list.keys().filter(|id| id.starts_with(family)).count());
    assert_eq!(families, [117, 37, 13], "the list is whole");
}

#[test]
fn the_reader_of_the_list_is_strict() {
    let list =
        read_list("# note\nW001 | a requirement\nD002 | another one | N/A: for some reason\n");
    assert_eq!(list["W001"], Mark::Tested);
    assert_eq!(list["D002"], Mark::NotApplicable);
    for bad in ["W1 | too short an id", "W001 | text", "W001 | a requirement | N/A: x", "W001"] {
        assert!(std::panic::catch_unwind(|| read_list(bad)).is_err(), "{bad:?}");
    }
}
