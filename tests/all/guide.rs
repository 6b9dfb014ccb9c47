//! Every page of the guide is found, and has a program that is whole and runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The pages whose programs are not run, or that have none, and why.
const NOT_RUN: [(&str, &str); 3] = [
    ("answers", "it answers questions, and the programs are on the pages that it links to"),
    ("behind_a_proxy", "a proxy is not there; tests/proxies/run has real ones"),
    (
        "side_by_side",
        "its programs serve for ever on ports of their own, as those of others do; they are compiled",
    ),
];

/// So many lines of a program may be hidden from the reader.
const MOST_HIDDEN: usize = 5;

fn pages() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// What stands behind the fence of each block of a page, and its lines.
fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) => {
                is_inside = !is_inside;
                if is_inside {
                    blocks.push((info, Vec::new()));
                }
            }
            None if is_inside => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    assert!(!is_inside, "a block has no end");
    blocks
}

#[test]
fn every_page_is_listed() {
    let (list, modules) = (include_str!("../../src/guide.md"), include_str!("../../src/guide.rs"));
    let pages = pages();
    for name in pages.keys() {
        assert!(list.contains(&format!("\n- [`{name}`](mod@{name}): ")), "{name} in guide.md");
        assert!(
            modules.contains(&format!("include_str!(\"guide/{name}.md\")")),
            "{name} in guide.rs"
        );
        assert!(modules.contains(&format!("\npub mod {name} {{}}\n")), "{name} in guide.rs");
    }
    assert_eq!(list.matches("\n- [`").count(), pages.len(), "a page that is listed is not there");
}

#[test]
fn every_page_has_a_program_that_runs() {
    let pages = pages();
    for (name, page) in &pages {
        let runs = |&(info, _): &(&str, _)| info.is_empty() || info == "rust";
        let is_run = blocks(page).iter().any(runs);
        let is_excepted = NOT_RUN.iter().any(|(excepted, _)| excepted == name);
        assert_ne!(is_run, is_excepted, "{name}");
    }
    assert!(NOT_RUN.iter().all(|(name, _)| pages.contains_key(*name)));
}

/// The program with TLS in the README is not compiled there, since the feature is not on by default.
#[test]
fn the_program_with_tls_is_that_of_the_guide() {
    let readme = include_str!("../../README.md");
    let is_ignored = |(info, _): &(&str, Vec<&str>)| *info == "rust,ignore";
    let ignored: Vec<_> = blocks(readme).into_iter().filter(is_ignored).collect();
    assert_eq!(ignored.len(), 1);
    let page = &pages()["tls"];
    assert!(blocks(page).contains(&("no_run", ignored[0].1.clone())));
}

/// What the pages of the repository link to is there.
#[test]
fn links_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "benches/RESULTS.md",
        "docs/limits.md",
        "docs/proof.md",
    ];
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let folder = root.join(page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{page}: {link}");
                links += 1;
            }
        }
    }
    assert!(links > 40, "{links} links");
}

#[test]
fn programs_are_shown_whole() {
    let mut programs = 0;
    for (name, page) in &pages() {
        for (info, lines) in blocks(page) {
            if matches!(info, "" | "rust" | "no_run") {
                let hidden =
                    lines.iter().filter(|line| **line == "#" || line.starts_with("# ")).count();
                assert!(hidden <= MOST_HIDDEN, "{name}: {hidden} lines are hidden");
                programs += 1;
            }
        }
    }
    assert!(programs > 30, "{programs} programs");
}
