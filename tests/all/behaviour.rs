//! Every row of behaviour.txt has a test that is named after it or that it names, or a reason why there is
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[derive(Debug, PartialEq)]
enum Mark {
    /// A test has the row's id at the front of its name.
    Named,
    By(Vec<String>),
    NotApplicable,
}

/// Reads `row | text`, `row | text | by: test, …` or `row | text | N/A: reason`.
fn read_rows(list: &str) -> BTreeMap<String, Mark> {
    let mut rows = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        assert!((2..=3).contains(&parts.len()), "{line:?}");
        assert!(row_of(&format!("{}_x", parts[0])) == Some(parts[0]), "{line:?}: no id");
        assert!(parts[1].len() >= 4, "{line:?}");
        let mark = match parts.get(2).copied() {
            None => Mark::Named,
            Some(mark) => match (mark.strip_prefix("by: "), mark.strip_prefix("N/A: ")) {
                (Some(tests), _) => Mark::By(tests.split(", ").map(str::to_owned).collect()),
                (_, Some(why)) if why.len() > 10 => Mark::NotApplicable,
                _ => panic!("no reason is given in {line:?}"),
            },
        };
        assert!(rows.insert(parts[0].to_owned(), mark).is_none(), "{line:?} stands twice");
    }
    rows
}

/// The row that a test is named after: a letter and a number, and perhaps a second number.
fn row_of(test: &str) -> Option<&str> {
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let first = test.strip_prefix(['a', 'b', 'c', 'd', 'e'])?;
    let mut end = 1 + number(first);
    let rest = test[end..].strip_prefix('_').filter(|_| end > 1)?;
    let second = number(rest);
    if second > 0 && rest[second..].starts_with('_') {
        end += 1 + second;
    }
    Some(&test[..end])
}

/// The names of all tests in a folder.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("#[test]\n").skip(1) {
                let name = part.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = read_rows(&fs::read_to_string(root.join("tests/behaviour.txt")).unwrap());
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "examples"] {
        tests_in(&root.join(folder), &mut tests);
    }
    let mut faults = Vec::new();
    for (row, mark) in &rows {
        match mark {
            Mark::Named if !tests.iter().any(|test| row_of(test) == Some(row)) => {
                faults.push(format!("{row} has no test"));
            }
            Mark::By(names) => {
                let missing = names.iter().filter(|name| !tests.contains(*name));
                faults.extend(missing.map(|name| format!("{row}: there is no test {name}")));
            }
            _ => {}
        }
    }
    // A test may be about a whole section, such as a3.
    let is_row =
        |row: &str| rows.keys().any(|own| own == row || own.starts_with(&format!("{row}_")));
    for test in &tests {
        if let Some(row) = row_of(test).filter(|row| !is_row(row)) {
            faults.push(format!("{test}: there is no row {row}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_the_rows_is_strict() {
    let rows = read_rows(
        "# note\na3_1 | method\nb4 | hosts | by: one, two\nc1 | text | N/A: for a reason\n",
    );
    assert_eq!(rows["a3_1"], Mark::Named);
    assert_eq!(rows["b4"], Mark::By(vec!["one".into(), "two".into()]));
    assert_eq!(rows["c1"], Mark::NotApplicable);
    for bad in [
        "a | text",
        "a3_1",
        "x1 | text",
        "a1 | text | N/A: x",
        "a1 | text | test",
        "a1 | text\na1 | text",
    ] {
        assert!(std::panic::catch_unwind(|| read_rows(bad)).is_err(), "{bad:?}");
    }
    assert_eq!(row_of("a3_4_version"), Some("a3_4"));
    assert_eq!(row_of("a3_every"), Some("a3"));
    for other in ["another", "a_3", "b", "accepts_8_times", "e"] {
        assert_eq!(row_of(other), None, "{other}");
    }
}
