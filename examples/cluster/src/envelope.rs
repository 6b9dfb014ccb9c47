//! What goes through Redis: who published it, the how manyth of this publisher to this topic it is, and
//! the text that subscribers get.

/// `PUBLISHER NUMBER` and a line feed, then the text.
pub(crate) fn seal(publisher: &str, number: u64, text: &str) -> Vec<u8> {
    format!("{publisher} {number}\n{text}").into_bytes()
}

/// The three again; `None` for what a node of this cluster did not write.
pub(crate) fn open(bytes: &[u8]) -> Option<(&str, u64, &str)> {
    let (head, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let (publisher, number) = head.split_once(' ')?;
    let number = number.parse().ok().filter(|&number| number > 0)?;
    (!publisher.is_empty()).then_some((publisher, number, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened() {
        let sealed = seal("a.1f.0", 7, "{\n \"x\": 1 }");
        assert_eq!(open(&sealed), Some(("a.1f.0", 7, "{\n \"x\": 1 }")));
    }

    #[test]
    fn what_others_wrote_is_not() {
        for bytes in [&b""[..], b"{}", b"a 1", b" 1\n{}", b"a 0\n{}", b"a x\n{}", b"a 1\n\xff"] {
            assert_eq!(open(bytes), None, "{bytes:?}");
        }
    }
}
