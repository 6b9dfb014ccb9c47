//! Copies of what a peer has sent: it chooses how long they are, so that they fail where there is no memory for them, or are
//! cut.

use std::collections::TryReserveError;

/// Appends `bytes` to `buffer`; nothing where there is no memory for all of them.
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TryReserveError> {
    buffer.try_reserve(bytes.len())?;
    buffer.extend_from_slice(bytes);
    Ok(())
}

/// These parts in one text.
pub(super) fn text<const N: usize>(parts: [&str; N]) -> Result<String, TryReserveError> {
    let mut text = String::new();
    text.try_reserve_exact(parts.iter().map(|part| part.len()).sum())?;
    text.extend(parts);
    Ok(text)
}

/// How much of a name errors quote.
pub(super) const QUOTED: usize = 256;

/// A name as errors quote it: the beginning of a long one.
pub(super) fn quoted(name: &str) -> String {
    // Names are tokens, in which each byte is a character.
    name.get(..QUOTED).unwrap_or(name).to_owned()
}

/// Appends `element` to `list`.
pub(super) fn push<T>(list: &mut Vec<T>, element: T) -> Result<(), TryReserveError> {
    list.try_reserve(1)?;
    list.push(element);
    Ok(())
}
