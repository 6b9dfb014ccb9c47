//! Rust in tokens: no comments, no strings, no unit tests.

/// A word, `::`, or one character of punctuation. A literal is [`LITERAL`].
pub(super) type Token = String;

pub(super) const LITERAL: &str = "\"\"";

/// The tokens of a file.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let byte = bytes[at];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            found.push(LITERAL.to_owned());
            length
        } else if byte == b'\'' {
            match character(rest) {
                Some(length) => {
                    found.push(LITERAL.to_owned());
                    length
                }
                // A lifetime or a label.
                None => 1 + word(&rest[1..]),
            }
        } else if is_word(byte) {
            let length = word(rest);
            found.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if byte.is_ascii_punctuation() {
                found.push(char::from(byte).to_string());
            }
            1
        };
        at += length;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word(text: &str) -> usize {
    text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len())
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text.as_bytes()[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text.as_bytes()[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string that `text` begins with, whatever kind it is of.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let (kind, rest) = text.split_at(prefix);
    let hashes = rest.find(|c| c != '#')?;
    if prefix > 2 || !rest[hashes..].starts_with('"') || (hashes > 0 && !kind.ends_with('r')) {
        return None;
    }
    let start = prefix + hashes + 1;
    if kind.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(start + text[start..].find(&end)? + end.len());
    }
    quoted(text, start, b'"')
}

/// The length of the character literal that `text` begins with, if it is none of a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text[1..].chars().next()?;
    if inside == '\\' || text[1 + inside.len_utf8()..].starts_with('\'') {
        return quoted(text, 1, b'\'');
    }
    None
}

fn quoted(text: &str, start: usize, end: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start;
    while *bytes.get(at)? != end || at == start && end == b'\'' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

/// Where the bracket that opens at `open` is closed.
pub(super) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// Where the item that begins at `start` ends: its last token. It ends with its braces or with a
/// semicolon; those whose braces are values end with the semicolon only.
pub(super) fn item_end(tokens: &[Token], start: usize) -> usize {
    let first = after_visibility(tokens, start);
    let word = |at: usize| tokens.get(at).map_or("", |token| token.as_str());
    let value = match word(first) {
        "static" | "use" | "type" => true,
        "const" => !matches!(word(first + 1), "fn" | "unsafe" | "extern" | "async"),
        _ => false,
    };
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at,
            "{" => {
                at = closing(tokens, at);
                if !value {
                    return at;
                }
            }
            "(" | "[" => at = closing(tokens, at),
            // The end of what it stands in: the last arm or field.
            ")" | "]" | "}" => return at - 1,
            _ => {}
        }
        at += 1;
    }
    tokens.len() - 1
}

/// Where the visibility that stands at `at` ends, if any does.
pub(super) fn after_visibility(tokens: &[Token], at: usize) -> usize {
    match tokens.get(at).map(String::as_str) {
        Some("pub") if tokens.get(at + 1).is_some_and(|next| next == "(") => {
            closing(tokens, at + 1) + 1
        }
        Some("pub") => at + 1,
        _ => at,
    }
}

/// The tokens without what only tests see.
pub(super) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_attribute = tokens[at] == "#" && tokens.get(at + 1).is_some_and(|next| next == "[");
        if !is_attribute {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1);
        if is_of_tests(&tokens[at + 2..end]) {
            let mut item = end + 1;
            while tokens[item] == "#" {
                item = closing(tokens, item + 1) + 1;
            }
            at = item_end(tokens, item) + 1;
        } else {
            kept.extend_from_slice(&tokens[at..=end]);
            at = end + 1;
        }
    }
    kept
}

/// `cfg(test)` or `cfg(all(test, …))`.
fn is_of_tests(attribute: &[Token]) -> bool {
    let text = attribute.concat();
    text == "cfg(test)" || text.starts_with("cfg(all(test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks_are_told_from_comments_strings_and_lifetimes() {
        let text = r##"
            // use a::B;
            /* use /* nested */ c::D; */
            fn f<'a>(x: &'a str) -> char { g("use e::F; \" {", b'{', '\'', '\u{7b}', r#"}"{"#); 'x' }
        "##;
        let words = tokens(text);
        let marks = [
            "fn", "f", "<", ">", "(", "x", ":", "&", "str", ")", "-", ">", "char", "{", "g", "(",
            LITERAL, ",", "b", LITERAL, ",", LITERAL, ",", LITERAL, ",", LITERAL, ")", ";",
            LITERAL, "}",
        ];
        assert_eq!(words, marks);
        assert_eq!(tokens("crate::a::B"), ["crate", "::", "a", "::", "B"]);
    }

    #[test]
    fn tests_are_left_out() {
        let text =
            "use a::B; #[cfg(test)] #[allow(x)] mod tests { use c::D; } #[cfg(not(test))] use e::F;
            #[cfg(all(test, feature = \"x\"))] use g::H; const N: [u8; 2] = [0; 2];";
        let left = without_tests(&tokens(text)).concat();
        assert_eq!(left, "usea::B;#[cfg(not(test))]usee::F;constN:[u8;2]=[0;2];");
    }
}
