//! A copy of the crate with all changes in it, and its test binaries.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mutant::Mutant;
use crate::rewrite::{self, closing, opening};

/// The rewritten source, beside `src`, which tests read and find as it is.
const REWRITTEN: &str = "rewritten";

/// What no replacement of its text would compile with either. Other errors may be those of the way a change is
/// switched, and such a change is left to cargo-mutants.
const OF_THE_CHANGE: [&str; 19] = [
    "E0015", "E0061", "E0069", "E0277", "E0308", "E0368", "E0369", "E0393", "E0412", "E0425",
    "E0433", "E0560", "E0599", "E0600", "E0604", "E0606", "E0614", "E0624", "E0658",
];

pub struct Built {
    /// The binary of the unit tests first.
    pub binaries: Vec<PathBuf>,
    /// Where tests run.
    pub directory: PathBuf,
    pub unviable: BTreeSet<usize>,
    pub absent: BTreeSet<usize>,
    /// What cargo-mutants has to change itself.
    pub left: BTreeSet<usize>,
}

impl Built {
    /// Whether this change can be switched on.
    pub fn has(&self, mutant: &Mutant) -> bool {
        let without = [&self.unviable, &self.absent, &self.left];
        without.iter().all(|numbers| !numbers.contains(&mutant.number))
    }
}

/// Copies the crate to `scratch` and builds its tests with every one of `mutants` that compiles.
pub fn build(
    scratch: &Path,
    mutants: &[Mutant],
    features: &str,
    tests: &[String],
) -> Result<Built, Box<dyn Error>> {
    let directory = scratch.join("tree");
    copy(&directory)?;
    let mut built = Built {
        binaries: Vec::new(),
        directory,
        unviable: BTreeSet::new(),
        absent: BTreeSet::new(),
        left: BTreeSet::new(),
    };
    for round in 1.. {
        write(&mut built, mutants, features)?;
        let (failed, messages) = compile(scratch, &built.directory, features, tests)?;
        if !failed {
            built.binaries = binaries(&messages, tests)?;
            return Ok(built);
        }
        let before = built.unviable.len() + built.left.len();
        judge(&messages, &mut built)?;
        let dropped = built.unviable.len() + built.left.len() - before;
        println!("round {round}: {dropped} changes do not compile");
    }
    unreachable!()
}

/// The files as they are in the work tree.
fn copy(directory: &Path) -> Result<(), Box<dyn Error>> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let to = directory.join(file);
        // One that was removed is listed still.
        if Path::new(file).is_file() {
            fs::create_dir_all(to.parent().ok_or("a file without a directory")?)?;
            fs::copy(file, to)?;
        }
    }
    // The library is built from elsewhere.
    let manifest = directory.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    fs::write(&manifest, format!("{text}\n[lib]\npath = \"{REWRITTEN}/lib.rs\"\n"))?;
    Ok(())
}

/// Writes the source with the changes that are not given up.
fn write(built: &mut Built, mutants: &[Mutant], features: &str) -> Result<(), Box<dyn Error>> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        if built.has(mutant) {
            by_file.entry(&mutant.file).or_default().push(mutant);
        }
    }
    let mut sources = Vec::new();
    files(&built.directory.join("src"), &mut sources)?;
    for source in sources {
        let name =
            source.strip_prefix(&built.directory)?.to_str().ok_or("a name that is no text")?;
        let text = fs::read_to_string(&source)?;
        let mut text = match by_file.get(name) {
            Some(mutants) => {
                let rewritten = rewrite::rewrite(&text, mutants, features)?;
                built.left.extend(rewritten.left);
                built.absent.extend(rewritten.absent);
                built.unviable.extend(rewritten.impossible);
                rewritten.text
            }
            None => text,
        };
        if name == "src/lib.rs" {
            let (top, end) = rewrite::switch(mutants.len());
            text = format!("{top}{text}{end}");
        }
        let to =
            built.directory.join(REWRITTEN).join(source.strip_prefix(built.directory.join("src"))?);
        fs::create_dir_all(to.parent().ok_or("a file without a directory")?)?;
        fs::write(to, text)?;
    }
    Ok(())
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether it failed, and what the compiler said.
fn compile(
    scratch: &Path,
    directory: &Path,
    features: &str,
    tests: &[String],
) -> Result<(bool, Vec<Value>), Box<dyn Error>> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--no-run", "--locked", "--message-format", "json"])
        .args(["--no-default-features", "--lib", "--package", "framewire"])
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", scratch.join("build"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "none")
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("RUSTFLAGS", "--cap-lints allow")
        // A `const fn` that knows whether it runs is not for everybody yet.
        .env("RUSTC_BOOTSTRAP", "framewire")
        .stderr(Stdio::piped());
    for feature in features.split(',') {
        command.args(["--features", &format!("framewire/{feature}")]);
    }
    for test in tests {
        if let Some((package, _)) = test.split_once('/') {
            command.args(["--package", package]);
        }
        command.args(["--test", target(test)]);
    }
    let output = command.output()?;
    let messages: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if messages.is_empty() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok((!output.status.success(), messages))
}

fn binaries(messages: &[Value], tests: &[String]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for name in std::iter::once("framewire").chain(tests.iter().map(|test| target(test))) {
        let executable = messages
            .iter()
            .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
            .find_map(|message| message["executable"].as_str())
            .ok_or_else(|| format!("no binary of {name}"))?;
        found.push(executable.into());
    }
    Ok(found)
}

/// The name of a test that may have its package before it: `PACKAGE/TEST`.
fn target(test: &str) -> &str {
    test.rsplit('/').next().unwrap_or(test)
}

/// Gives up each change that an error is about.
fn judge(messages: &[Value], built: &mut Built) -> Result<(), Box<dyn Error>> {
    let mut unexplained = Vec::new();
    for message in messages {
        let message = &message["message"];
        if message["level"] != "error" || message["spans"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let numbers = blamed(message, &built.directory)?;
        let code = message.pointer("/code/code").and_then(Value::as_str).unwrap_or_default();
        if numbers.is_empty() {
            unexplained.push(message["rendered"].as_str().unwrap_or_default().to_string());
        } else if OF_THE_CHANGE.contains(&code) {
            built.unviable.extend(numbers);
        } else {
            for number in numbers {
                if !built.unviable.contains(&number) && built.left.insert(number) {
                    println!("left to cargo-mutants for {code}: {number}");
                }
            }
        }
    }
    if unexplained.is_empty() { Ok(()) } else { Err(unexplained.join("\n").into()) }
}

/// The changes whose text the error points to: by its main place if that is in one, or by any.
fn blamed(message: &Value, directory: &Path) -> Result<BTreeSet<usize>, Box<dyn Error>> {
    let mut spans: Vec<&Value> = message["spans"].as_array().into_iter().flatten().collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    for span in spans {
        let (Some(file), Some(start)) = (span["file_name"].as_str(), span["byte_start"].as_u64())
        else {
            continue;
        };
        let Ok(text) = fs::read_to_string(directory.join(file)) else {
            continue;
        };
        let mut before = &text[..start as usize];
        // The last that begins before it has to end after it.
        let mut numbers = BTreeSet::new();
        while let Some(at) = before.rfind("/*<") {
            let number: String =
                before[at + 3..].chars().take_while(char::is_ascii_digit).collect();
            if let Ok(number) = number.parse::<usize>() {
                debug_assert!(before[at..].starts_with(&opening(number)));
                if !before[at..].contains(&closing(number)) {
                    numbers.insert(number);
                }
                break;
            }
            before = &before[..at];
        }
        if !numbers.is_empty() {
            return Ok(numbers);
        }
    }
    Ok(BTreeSet::new())
}
