//! The list of changes that cargo-mutants makes.

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

/// One change of one place.
pub struct Mutant {
    /// By which it is switched on: from 1.
    pub number: usize,
    pub file: String,
    /// What cargo-mutants calls it, with line and column.
    pub name: String,
    pub kind: Kind,
    /// The function that it is in.
    pub function: String,
    pub return_type: String,
    /// What is replaced, in bytes of the file.
    pub start: usize,
    pub replacement: String,
    /// The line that it begins on.
    pub line: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Body,
    BinaryOperator,
    UnaryOperator,
    Arm,
    Guard,
    Field,
    /// One of a later version of cargo-mutants, which is left to it.
    Unknown,
}

impl Mutant {
    /// Lines move and texts stay: what it is known by in a list that outlasts the place.
    pub fn text(&self) -> String {
        let change = self.name.splitn(4, ':').nth(3).unwrap_or_default().trim();
        format!("{}: {change} | {}", self.file, self.line)
    }
}

/// Asks cargo-mutants what it would change in `files`.
pub fn list(files: &[String]) -> Result<Vec<Mutant>, Box<dyn Error>> {
    let mut command = Command::new("cargo");
    command.args(["mutants", "--list", "--json"]).stderr(Stdio::inherit());
    // Tests, which cargo-mutants knows by `#[cfg(test)]` alone.
    command.args(["--exclude", "src/**/faults.rs"]);
    for file in files {
        command.args(["--file", file]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err("cargo mutants --list failed: cargo install --locked cargo-mutants".into());
    }
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let mut mutants = Vec::new();
    for (index, one) in listed.iter().enumerate() {
        let text = |pointer: &str| {
            one.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        let number = |pointer: &str| one.pointer(pointer).and_then(Value::as_u64);
        let file = text("/file");
        let line = number("/span/start/line").ok_or("a change without a line")? as usize;
        let column = number("/span/start/column").ok_or("a change without a column")? as usize;
        let source = fs::read_to_string(&file)?;
        let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let own = source[before..].lines().next().unwrap_or_default();
        let inside: usize = own.chars().take(column - 1).map(char::len_utf8).sum();
        mutants.push(Mutant {
            number: index + 1,
            name: text("/name"),
            kind: match text("/genre").as_str() {
                "FnValue" => Kind::Body,
                "BinaryOperator" => Kind::BinaryOperator,
                "UnaryOperator" => Kind::UnaryOperator,
                "MatchArm" => Kind::Arm,
                "MatchArmGuard" => Kind::Guard,
                "StructField" => Kind::Field,
                _ => Kind::Unknown,
            },
            function: text("/function/function_name"),
            return_type: text("/function/return_type"),
            start: before + inside,
            replacement: text("/replacement"),
            line: own.trim().to_string(),
            file,
        });
    }
    Ok(mutants)
}
