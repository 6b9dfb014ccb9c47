//! Which tests reach a change, and whether one of them fails with it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::build::Built;
use crate::mutant::Mutant;

/// A test of one of the binaries.
pub struct Test {
    binary: usize,
    name: String,
    took: Duration,
    reaches: BTreeSet<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Caught,
    TimedOut,
    Missed,
}

/// What came of one process.
enum Run {
    Passed,
    Failed(String),
    TimedOut,
}

/// How many tests are tried together with a change, the likeliest first: one that is caught is mostly caught by the first.
const BATCHES: [usize; 4] = [4, 16, 64, usize::MAX];
/// For what does not end: seconds of the processor on top of ten times what the tests take.
const PROCESSOR_SECONDS: u64 = 4;
/// For what waits and takes no time of the processor: on top of twenty times what the tests take.
const WAIT: Duration = Duration::from_secs(30);
/// How long a test may take that was never run, about.
const UNKNOWN: Duration = Duration::from_secs(12);
/// How many of the tests that have caught other changes of a function are tried first.
const KNOWN: usize = 4;
/// Of memory, for what grows without end.
const BYTES: u64 = 4 << 30;

/// Runs each test alone without a change, which all have to pass, and notes what it reaches. Where tests that take
/// longer than `longest` are left out, so are those that fail: one that has no descriptors left can note nothing.
pub fn reach(
    built: &Built,
    scratch: &Path,
    jobs: usize,
    longest: Option<Duration>,
) -> Result<Vec<Test>, Box<dyn Error>> {
    let mut names = Vec::new();
    for (binary, path) in built.binaries.iter().enumerate() {
        let output = Command::new(path)
            .args(["--list", "--format", "terse"])
            .current_dir(&built.directory)
            .output()?;
        for line in String::from_utf8(output.stdout)?.lines() {
            if let Some(name) = line.strip_suffix(": test") {
                names.push((binary, name.to_string()));
            }
        }
    }
    let tests = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    each(names.len(), jobs, |index| {
        let (binary, name) = &names[index];
        let notes = scratch.join(format!("reached.{index}"));
        let _ = fs::remove_file(&notes);
        let started = Instant::now();
        let run = run(built, *binary, &[name], &[("MUTANTS_REACHED", notes.as_os_str())], UNKNOWN);
        let took = started.elapsed();
        let noted = fs::read_to_string(&notes).unwrap_or_default();
        let _ = fs::remove_file(&notes);
        let reaches = noted.lines().filter_map(|line| line.parse().ok()).collect();
        match run {
            Run::Passed => {
                let test = Test { binary: *binary, name: name.clone(), took, reaches };
                tests.lock().unwrap().push(test);
            }
            Run::Failed(_) | Run::TimedOut => failed.lock().unwrap().push(name.clone()),
        }
    });
    let failed = failed.into_inner().unwrap();
    let mut tests = tests.into_inner().unwrap();
    if let Some(longest) = longest {
        tests.retain(|test: &Test| test.took <= longest);
        println!(
            "left out, since they fail while it is noted what they reach: {}",
            failed.join(", ")
        );
    } else if !failed.is_empty() {
        return Err(format!("without a change these fail: {}", failed.join(", ")).into());
    }
    if tests.iter().all(|test| test.reaches.is_empty()) {
        return Err("no test reaches a change: they are not in the binaries".into());
    }
    tests.sort_by_key(|test| (test.binary, test.took));
    Ok(tests)
}

/// Tries each of `mutants` with the tests that reach it, until one fails.
pub fn judge(
    built: &Built,
    tests: &[Test],
    mutants: &[&Mutant],
    jobs: usize,
) -> BTreeMap<usize, Verdict> {
    let verdicts = Mutex::new(BTreeMap::new());
    // By the function of a change, the tests that have caught others in it.
    let killers: Mutex<BTreeMap<(String, String), Vec<usize>>> = Mutex::default();
    let done = AtomicUsize::new(0);
    each(mutants.len(), jobs, |index| {
        let mutant = mutants[index];
        let place = (mutant.file.clone(), mutant.function.clone());
        let known = killers.lock().unwrap().get(&place).cloned().unwrap_or_default();
        let (verdict, killer) = judge_one(built, tests, mutant, &known);
        if let Some(killer) = killer {
            let mut killers = killers.lock().unwrap();
            let of_place = killers.entry(place).or_default();
            of_place.retain(|&test| test != killer);
            of_place.insert(0, killer);
        }
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        let all = mutants.len();
        match &verdict {
            Verdict::Caught => {}
            Verdict::TimedOut => println!("{count}/{all}: {} has tests take too long", mutant.name),
            Verdict::Missed => {
                let reached =
                    tests.iter().filter(|test| test.reaches.contains(&mutant.number)).count();
                println!(
                    "{count}/{all}: {} is missed by {reached} tests that reach it",
                    mutant.name
                );
            }
        }
        verdicts.lock().unwrap().insert(mutant.number, verdict);
    });
    verdicts.into_inner().unwrap()
}

fn judge_one(
    built: &Built,
    tests: &[Test],
    mutant: &Mutant,
    known: &[usize],
) -> (Verdict, Option<usize>) {
    let mut order: Vec<usize> =
        (0..tests.len()).filter(|&test| tests[test].reaches.contains(&mutant.number)).collect();
    let module = module(&mutant.file);
    let rank = |test: usize| known.iter().take(KNOWN).position(|&known| known == test);
    order.sort_by_key(|&test| {
        let own = tests[test].binary == 0 && tests[test].name.starts_with(&module);
        (rank(test).unwrap_or(KNOWN), tests[test].binary, !own, tests[test].took)
    });
    let place = |test: usize| (rank(test).is_none(), tests[test].binary);
    for group in order.chunk_by(|&one, &next| place(one) == place(next)) {
        let mut rest = group;
        for size in BATCHES {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let Some(&first) = batch.first() else { break };
            rest = later;
            let names: Vec<&str> = batch.iter().map(|&test| tests[test].name.as_str()).collect();
            let took: Duration = batch.iter().map(|&test| tests[test].took).sum();
            let number = mutant.number.to_string();
            let environment = [("MUTANT", number.as_ref())];
            match run(built, tests[first].binary, &names, &environment, took) {
                Run::Passed => {}
                Run::TimedOut => return (Verdict::TimedOut, None),
                Run::Failed(by) => {
                    let killer = batch.iter().copied().find(|&test| tests[test].name == by);
                    return (Verdict::Caught, killer);
                }
            }
        }
    }
    (Verdict::Missed, None)
}

/// `src/wire/header.rs` is `wire::header`.
fn module(file: &str) -> String {
    file.trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .replace('/', "::")
}

/// Runs tests in one process, until one fails.
fn run(
    built: &Built,
    binary: usize,
    names: &[&str],
    environment: &[(&str, &std::ffi::OsStr)],
    took: Duration,
) -> Run {
    let processor_seconds = PROCESSOR_SECONDS + (10 * took).as_secs();
    let path: &PathBuf = &built.binaries[binary];
    let mut child = Command::new("prlimit")
        .arg(format!("--as={BYTES}"))
        .arg(format!("--cpu={processor_seconds}"))
        .arg("--core=0")
        .arg(path)
        .args(["--exact", "--test-threads", "1"])
        .args(names)
        .envs(environment.iter().copied())
        .env("RUST_BACKTRACE", "0")
        .current_dir(&built.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Whatever the tests have started ends with them.
        .process_group(0)
        .spawn()
        .expect("prlimit runs");
    let output = child.stdout.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + WAIT + 20 * took;
    let mut last = String::new();
    let run = loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let Some(line) = line.strip_prefix("test ") else {
                    continue;
                };
                let name = line.split(' ').next().unwrap_or_default();
                last = name.to_string();
                if line.ends_with("FAILED") {
                    break Some(Run::Failed(last.clone()));
                }
            }
            Err(RecvTimeoutError::Timeout) => break Some(Run::TimedOut),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    if run.is_some() {
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    }
    let status = child.wait().expect("it ends");
    run.unwrap_or_else(|| {
        const SIGXCPU: i32 = 24;
        const SIGKILL: i32 = 9;
        match status.signal() {
            _ if status.success() => Run::Passed,
            Some(SIGXCPU | SIGKILL) => Run::TimedOut,
            // It aborted: for its memory or its stack, most likely.
            _ => Run::Failed(last),
        }
    })
}

/// Does `work` for each number below `count`, `jobs` at a time.
fn each(count: usize, jobs: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    work(index);
                }
            });
        }
    });
}
