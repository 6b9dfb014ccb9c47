//! Does one thing many times, for the instructions to be counted: `budget SCENARIO ROUNDS`, `budget list`.
//! See `benches/budget/run`.

mod engine;
mod event_loop;

use std::process::ExitCode;

/// What is measured: so many messages a round.
struct Scenario {
    name: &'static str,
    /// Enough for the rest of the program not to matter.
    rounds: usize,
    /// Does that many rounds, and says how many messages that was.
    run: fn(rounds: usize) -> usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = || engine::SCENARIOS.iter().chain(event_loop::SCENARIOS);
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for scenario in all() {
                println!("{} {}", scenario.name, scenario.rounds);
            }
            ExitCode::SUCCESS
        }
        [name, rounds] => {
            let scenario = all().find(|scenario| scenario.name == *name);
            let (Some(scenario), Ok(rounds)) = (scenario, rounds.parse()) else {
                eprintln!("there is no {name} for {rounds} rounds: see `budget list`");
                return ExitCode::FAILURE;
            };
            println!("{}", (scenario.run)(rounds));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: budget SCENARIO ROUNDS, or budget list");
            ExitCode::FAILURE
        }
    }
}
