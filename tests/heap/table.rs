//! Tests without a harness, which would allocate: a table of them, run one after the other.

/// Each function with its name.
macro_rules! table {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        &[$($(#[$attribute])* (stringify!($name), $name as fn())),*]
    };
}

/// Runs those whose names hold the first argument of the program, or all.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut run = 0;
    for (name, test) in tests {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            test();
            println!("test {name} ... ok");
            run += 1;
        }
    }
    println!("{run} tests passed");
}
