
/// Whether the change of this number is on. What the compiler computes is computed without changes.
#[inline(always)]
pub(crate) const fn mutant(number: usize) -> bool {
    core::intrinsics::const_eval_select((number,), no_mutant, is_mutant)
}

const fn no_mutant(_: usize) -> bool {
    false
}

#[inline(always)]
fn is_mutant(number: usize) -> bool {
    let on = *MUTANT.get_or_init(|| match std::env::var("MUTANT") {
        Ok(number) => number.parse().unwrap(),
        Err(_) if std::env::var_os("MUTANTS_REACHED").is_some() => usize::MAX,
        Err(_) => 0,
    });
    on == number || on == usize::MAX && note_mutant(number)
}

/// Writes down that a change would have been seen if it were on: once for each.
#[cold]
fn note_mutant(number: usize) -> bool {
    if !MUTANT_REACHED[number].swap(true, std::sync::atomic::Ordering::Relaxed) {
        use std::io::Write;
        let path = std::env::var_os("MUTANTS_REACHED").unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(format!("{number}\n").as_bytes()).unwrap();
    }
    false
}

static MUTANT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
static MUTANT_REACHED: [std::sync::atomic::AtomicBool; COUNT] =
    [const { std::sync::atomic::AtomicBool::new(false) }; COUNT];
