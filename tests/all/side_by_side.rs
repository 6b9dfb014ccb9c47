//! The programs of the guide are as short as the guide says, and none is longer than that of the others.

const PAGE: &str = include_str!("../../src/guide/side_by_side.md");

/// The lines of the program under a heading that are neither empty nor hidden.
fn lines(heading: &str) -> usize {
    let (_, section) = PAGE.split_once(&format!("\n# {heading}\n")).expect(heading);
    let program = section.split("```").nth(1).expect("a program");
    let lines = program.lines().skip(1);
    lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count()
}

#[test]
fn no_program_is_longer_than_that_of_the_others() {
    let mut programs = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| [")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_start_matches('[').split(']').next().unwrap();
        let heading = name[..1].to_uppercase() + &name[1..];
        let ours: usize = cells[2].parse().unwrap();
        let theirs: usize = cells[3].split(',').next().unwrap().parse().unwrap();
        assert_eq!(lines(&heading), ours, "{heading}");
        assert!(ours <= theirs, "{heading}");
        programs += 1;
    }
    assert_eq!(programs, PAGE.matches("```no_run\n").count());
}
