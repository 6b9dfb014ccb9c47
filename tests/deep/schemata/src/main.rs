//! Says which changes of the source no test sees, with all changes compiled into one binary and one of them switched on
//! at a time: `tests/deep/mutants` runs it and says more.

mod build;
mod mutant;
mod rewrite;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutant::Mutant;
use run::Verdict;

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// `SCRATCH FEATURES TESTS FILE...`: TESTS are integration tests, with commas between them, those of another package of
/// the workspace as `PACKAGE/TEST`.
fn try_main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: SCRATCH FEATURES TESTS FILE...");
    let scratch = PathBuf::from(argument()?);
    let features = argument()?;
    let tests: Vec<String> = argument()?.split(',').map(String::from).collect();
    let files: Vec<String> = arguments.collect();
    let jobs = number("MUTANTS_JOBS").unwrap_or(1);
    fs::create_dir_all(&scratch)?;
    let scratch = scratch.canonicalize()?;

    let started = Instant::now();
    let mut mutants = mutant::list(&files)?;
    if std::env::var_os("MUTANTS_AGAIN").is_some() {
        let missed = fs::read_to_string(scratch.join("missed_before.txt"))?;
        let missed: BTreeSet<&str> = missed.lines().collect();
        mutants.retain(|mutant| missed.contains(mutant.text().as_str()));
    }
    if let Some(every) = number("MUTANTS_EVERY") {
        mutants.retain(|mutant| mutant.number % every == 0);
    }
    for (index, mutant) in mutants.iter_mut().enumerate() {
        mutant.number = index + 1;
    }
    println!("{} changes", mutants.len());
    let built = build::build(&scratch, &mutants, &features, &tests)?;
    println!("built after {} s", started.elapsed().as_secs());
    let longest = number("MUTANTS_LONGEST").map(|seconds| Duration::from_secs(seconds as u64));
    let tests = run::reach(&built, &scratch, jobs, longest)?;
    println!(
        "{} tests pass without a change, after {} s",
        tests.len(),
        started.elapsed().as_secs()
    );

    let switched: Vec<&Mutant> = mutants.iter().filter(|mutant| built.has(mutant)).collect();
    let verdicts = run::judge(&built, &tests, &switched, jobs);
    if !verdicts.values().any(|verdict| matches!(verdict, Verdict::Caught)) {
        return Err("no change makes a test fail: they are not switched on".into());
    }
    report(&scratch, &mutants, &built, &verdicts)?;
    println!("{} s", started.elapsed().as_secs());
    Ok(())
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

/// Writes a file for each kind of end, and counts by directory.
fn report(
    scratch: &Path,
    mutants: &[Mutant],
    built: &build::Built,
    verdicts: &BTreeMap<usize, Verdict>,
) -> Result<(), Box<dyn Error>> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    let names: String =
        mutants.iter().map(|mutant| format!("{}\t{}\n", mutant.name, mutant.text())).collect();
    fs::write(scratch.join("names.txt"), names)?;
    let kinds = ["caught", "timed_out", "missed", "unviable", "absent", "left"];
    for mutant in mutants {
        let (kind, line) = match verdicts.get(&mutant.number) {
            Some(Verdict::Caught) => ("caught", mutant.name.clone()),
            Some(Verdict::TimedOut) => ("timed_out", mutant.name.clone()),
            Some(Verdict::Missed) => ("missed", mutant.name.clone()),
            None if built.unviable.contains(&mutant.number) => ("unviable", mutant.name.clone()),
            None if built.absent.contains(&mutant.number) => ("absent", mutant.name.clone()),
            None => ("left", mutant.name.clone()),
        };
        *files.entry(kind).or_default() += &format!("{line}\n");
        let directory = mutant.file.rsplit_once('/').map_or("", |(directory, _)| directory);
        *counts.entry(directory.to_string()).or_default().entry(kind).or_default() += 1;
    }
    let texts = |(number, verdict): (&usize, &Verdict)| {
        (*verdict == Verdict::Missed).then(|| format!("{}\n", mutants[number - 1].text()))
    };
    let missed: String = verdicts.iter().filter_map(texts).collect();
    fs::write(scratch.join("missed_before.txt"), missed)?;
    for kind in kinds {
        fs::write(scratch.join(format!("{kind}.txt")), files.remove(kind).unwrap_or_default())?;
    }
    for (directory, by_kind) in &counts {
        let cells: Vec<String> = kinds
            .iter()
            .map(|kind| format!("{kind} {}", by_kind.get(kind).unwrap_or(&0)))
            .collect();
        println!("{directory}: {} changes: {}", by_kind.values().sum::<usize>(), cells.join(", "));
    }
    Ok(())
}
