//! The two list headers of the handshake: `Sec-WebSocket-Protocol` and `Sec-WebSocket-Extensions`.

use std::collections::{BTreeSet, TryReserveError};
use std::fmt;

use super::headers::{Headers, is_token_byte};
use super::names::*;
use super::owned;

/// One element of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Extension {
    /// The name of the extension, a token.
    pub name: String,
    /// Its parameters in their order; a repeated one stands as often as it came. Quoted values are
    /// unescaped.
    pub parameters: Vec<(String, Option<String>)>,
}

/// Why a list header breaks its grammar. The index counts bytes of the value of one header line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderListError {
    /// A character that may not stand there (RFC 6455 sections 4.3 and 9.1).
    UnexpectedCharacter {
        /// Its place.
        index: usize,
    },
    /// The value ends where more has to follow (RFC 6455 sections 4.3 and 9.1).
    UnexpectedEnd,
    /// A subprotocol is listed twice (RFC 6455 section 4.1, item 10).
    Duplicated {
        /// The subprotocol.
        name: String,
    },
    /// There is no memory for a list of this length.
    OutOfMemory,
}

impl fmt::Display for HeaderListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedCharacter { index } => {
                write!(f, "unexpected character at index {index}")
            }
            Self::UnexpectedEnd => f.write_str("unexpected end"),
            Self::Duplicated { name } => write!(f, "the subprotocol {name:?} is duplicated"),
            Self::OutOfMemory => f.write_str("there is no memory for the list"),
        }
    }
}

impl std::error::Error for HeaderListError {}

fn lacking(_: TryReserveError) -> HeaderListError {
    HeaderListError::OutOfMemory
}

/// Reads the value of one `Sec-WebSocket-Extensions` line (RFC 6455 section 9.1).
///
/// Several lines are one list: read each and join the results. A quoted value has to be a token
/// once it is unescaped. Null elements, as in `a,,b`, and white space between any two words are what
/// RFC 2616 section 2.1 allows, by whose rules the RFC writes its grammar.
///
/// # Errors
///
/// [`HeaderListError`] at the first character that breaks the grammar, and for a list of nothing.
///
/// ```
/// use framewire::handshake::parse_extensions;
///
/// let list = parse_extensions(b"permessage-deflate; client_max_window_bits, x; y = \"1\",")?;
/// assert_eq!(list[0].parameters, [("client_max_window_bits".into(), None)]);
/// assert_eq!(list[1].parameters, [("y".into(), Some("1".into()))]);
/// # Ok::<(), framewire::handshake::HeaderListError>(())
/// ```
pub fn parse_extensions(value: &[u8]) -> Result<Vec<Extension>, HeaderListError> {
    read_list([value], read_extension)
}

/// The extensions in all `Sec-WebSocket-Extensions` fields; empty without any.
pub(super) fn extensions_of(headers: &Headers) -> Result<Vec<Extension>, HeaderListError> {
    read_list(headers.get_all(EXTENSIONS), read_extension)
}

fn read_extension(cursor: &mut Cursor<'_>) -> Result<Extension, HeaderListError> {
    let name = cursor.owned_token()?;
    let mut parameters = Vec::new();
    while cursor.separator(b",;")? == Some(b';') {
        let name = cursor.owned_token()?;
        cursor.skip_whitespace();
        let value = if cursor.peek() == Some(b'=') {
            cursor.at += 1;
            cursor.skip_whitespace();
            Some(cursor.parameter_value()?)
        } else {
            None
        };
        owned::push(&mut parameters, (name, value)).map_err(lacking)?;
    }
    Ok(Extension { name, parameters })
}

/// Reads the value of one `Sec-WebSocket-Protocol` line of a request (RFC 6455 section 4.3). Null elements
/// are allowed, as in [`parse_extensions`].
///
/// # Errors
///
/// [`HeaderListError`] at the first character that breaks the grammar, and for a list of nothing; if
/// none does, for the first name that stands twice.
///
/// ```
/// use framewire::handshake::{HeaderListError, parse_subprotocols};
///
/// assert_eq!(parse_subprotocols(b"chat, superchat,")?, ["chat", "superchat"]);
/// assert_eq!(parse_subprotocols(b","), Err(HeaderListError::UnexpectedEnd));
/// # Ok::<(), HeaderListError>(())
/// ```
pub fn parse_subprotocols(value: &[u8]) -> Result<Vec<&str>, HeaderListError> {
    subprotocols_in([value])
}

/// The subprotocols in all `Sec-WebSocket-Protocol` fields of a request; empty without any.
pub(super) fn subprotocols_of(headers: &Headers) -> Result<Vec<&str>, HeaderListError> {
    subprotocols_in(headers.get_all(PROTOCOL))
}

fn subprotocols_in<'v>(
    lines: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Vec<&'v str>, HeaderListError> {
    let names = read_list(lines, |cursor| {
        let name = cursor.token()?;
        cursor.separator(b",")?;
        Ok(name)
    })?;
    check_distinct(&names)?;
    Ok(names)
}

/// Reads lines that are one list: one of them may have nothing in it, but not all ("1#" of RFC 6455 sections 4.3
/// and 9.1).
fn read_list<'v, T>(
    lines: impl IntoIterator<Item = &'v [u8]>,
    read_element: impl Fn(&mut Cursor<'v>) -> Result<T, HeaderListError>,
) -> Result<Vec<T>, HeaderListError> {
    let (mut list, mut has_line) = (Vec::new(), false);
    for value in lines {
        has_line = true;
        let mut cursor = Cursor { value, at: 0 };
        while cursor.skip_to_element() {
            owned::push(&mut list, read_element(&mut cursor)?).map_err(lacking)?;
        }
    }
    if has_line && list.is_empty() { Err(HeaderListError::UnexpectedEnd) } else { Ok(list) }
}

pub(super) fn check_distinct(names: &[&str]) -> Result<(), HeaderListError> {
    // A set, because a head has room for thousands of names: pairs would be quadratic.
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| names.len() > 1 && !seen.insert(**name)) {
        Some(name) => Err(HeaderListError::Duplicated { name: owned::quoted(name) }),
        None => Ok(()),
    }
}

/// A place in a value. It only moves forward, so reading is linear.
struct Cursor<'v> {
    value: &'v [u8],
    at: usize,
}

impl<'v> Cursor<'v> {
    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    /// The error for what stands at the cursor.
    fn unexpected(&self) -> HeaderListError {
        if self.at < self.value.len() {
            HeaderListError::UnexpectedCharacter { index: self.at }
        } else {
            HeaderListError::UnexpectedEnd
        }
    }

    fn token(&mut self) -> Result<&'v str, HeaderListError> {
        let rest = &self.value[self.at..];
        let length = rest.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected());
        }
        self.at += length;
        std::str::from_utf8(&rest[..length]).map_err(|_| self.unexpected())
    }

    fn owned_token(&mut self) -> Result<String, HeaderListError> {
        owned::text([self.token()?]).map_err(lacking)
    }

    /// Goes past one of `separators` and the white space on both sides; `None` at the end.
    fn separator(&mut self, separators: &[u8]) -> Result<Option<u8>, HeaderListError> {
        self.skip_whitespace();
        match self.peek() {
            None => Ok(None),
            Some(byte) if separators.contains(&byte) => {
                self.at += 1;
                self.skip_whitespace();
                Ok(Some(byte))
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Goes past the null elements, which "are allowed, but do not contribute to the count of elements
    /// present" (RFC 2616 section 2.1): whether there is another element.
    fn skip_to_element(&mut self) -> bool {
        while let Some(b' ' | b'\t' | b',') = self.peek() {
            self.at += 1;
        }
        self.at < self.value.len()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn parameter_value(&mut self) -> Result<String, HeaderListError> {
        if self.peek() != Some(b'"') {
            return self.owned_token();
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(b'"') if !text.is_empty() => {
                    self.at += 1;
                    return Ok(text);
                }
                // "the value after quoted-string unescaping MUST conform to the 'token' ABNF", so
                // what a backslash may stand before is a token character too.
                Some(b'\\') => self.at += 1,
                _ => {}
            }
            match self.peek() {
                Some(byte) if is_token_byte(byte) => {
                    text.try_reserve(1).map_err(lacking)?;
                    text.push(char::from(byte));
                }
                _ => return Err(self.unexpected()),
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderListError::{Duplicated, UnexpectedCharacter, UnexpectedEnd};
    use super::*;

    // req: W016, W026
    #[test]
    fn subprotocol_errors() {
        let at = |index| Err(UnexpectedCharacter { index });
        let cases = [
            ("f oo", at(2)),
            ("f@o", at(1)),
            ("foo;", at(3)),
            (",=", at(1)),
            ("foo,foo", Err(Duplicated { name: "foo".into() })),
            ("foo,,foo", Err(Duplicated { name: "foo".into() })),
            ("", Err(UnexpectedEnd)),
            (" ", Err(UnexpectedEnd)),
            (",", Err(UnexpectedEnd)),
            (" ,\t, ", Err(UnexpectedEnd)),
            ("foo", Ok(vec!["foo"])),
            (" foo ", Ok(vec!["foo"])),
            ("foo,", Ok(vec!["foo"])),
            (",foo", Ok(vec!["foo"])),
            ("foo,  ,", Ok(vec!["foo"])),
            ("foo,bar", Ok(vec!["foo", "bar"])),
            ("foo,,bar", Ok(vec!["foo", "bar"])),
            ("foo \t,\t Foo", Ok(vec!["foo", "Foo"])),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_subprotocols(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(parse_subprotocols(b"a\xff"), at(1));
    }

    #[test]
    fn of_a_long_name_errors_quote_the_beginning() {
        let long = "x".repeat(300);
        let twice = format!("{long},{long}");
        let name = "x".repeat(256);
        assert_eq!(parse_subprotocols(twice.as_bytes()), Err(Duplicated { name }));
    }

    // HS21, HS22, HS23: long input ends at once; this test would not return otherwise.
    #[test]
    fn long_input_is_linear() {
        let mut spaces = b"b".to_vec();
        spaces.resize(1 << 20, b' ');
        spaces.push(b'x');
        let index = spaces.len() - 1;
        assert_eq!(parse_subprotocols(&spaces), Err(UnexpectedCharacter { index }));
        let names: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        assert_eq!(parse_subprotocols(names.join(",").as_bytes()).unwrap().len(), 100_000);
        let quoted = format!("a; b=\"{}", "\\c".repeat(1 << 20));
        assert_eq!(parse_extensions(quoted.as_bytes()), Err(UnexpectedEnd));
    }

    // req: W042, W049
    #[test]
    fn extension_characters() {
        let cases: &[(&str, usize)] = &[
            ("foo;=", 4),
            ("foo; =", 5),
            ("foo;;", 4),
            ("foo; ;", 5),
            ("foo;,", 4),
            ("foo,;", 4),
            ("foo;bar=,", 8),
            ("foo;bar = ,", 10),
            ("foo;bar=\"\"", 9),
            ("f oo", 2),
            ("foo;ba r", 7),
            ("foo;bar = = 1", 10),
            ("foo;bar=ba z", 11),
            ("f@o", 1),
            ("f\\oo", 1),
            ("\"foo\"", 0),
            ("f\"oo\"", 1),
            ("foo;b@r", 5),
            ("foo;b\\ar", 5),
            ("foo;\"bar\"", 4),
            ("foo;b\"ar\"", 5),
            ("foo;bar=b@z", 9),
            ("foo;bar=b\\az ", 9),
            ("foo;bar=\"b@z\"", 10),
            ("foo;bar=\"baz;\"", 12),
            ("foo;bar=b\"az\"", 9),
            ("foo;bar=\"\\\\\"", 10),
            ("foo;bar=\"baz\"qux", 13),
            ("foo;bar=\"baz\" qux", 14),
            ("foo;bar=\"a b\"", 10),
            ("foo;bar=\" a\"", 9),
        ];
        for &(value, index) in cases {
            let expected = Err(UnexpectedCharacter { index });
            assert_eq!(parse_extensions(value.as_bytes()), expected, "{value:?}");
        }
    }

    // req: W049
    #[test]
    fn extension_ends() {
        for value in [
            "",
            " ",
            ",",
            ", ,",
            "foo;",
            "foo; ",
            "foo;bar; ",
            "foo;bar=",
            "foo;bar = ",
            "foo;bar=\"baz",
            "foo;bar=\"1\\",
        ] {
            assert_eq!(parse_extensions(value.as_bytes()), Err(UnexpectedEnd), "{value:?}");
        }
    }

    fn extension(name: &str, parameters: &[(&str, Option<&str>)]) -> Extension {
        let own = |(name, value): &(&str, Option<&str>)| ((*name).into(), value.map(str::to_owned));
        Extension { name: name.into(), parameters: parameters.iter().map(own).collect() }
    }

    // req: W050, W051 (HS24, HS25)
    #[test]
    fn extensions() {
        let cases = [
            ("foo", vec![extension("foo", &[])]),
            (
                "foo;bar;baz=1;bar=2",
                vec![extension("foo", &[("bar", None), ("baz", Some("1")), ("bar", Some("2"))])],
            ),
            ("foo;bar=\"b\\a\\z\"", vec![extension("foo", &[("bar", Some("baz"))])]),
            (
                "foo; bar;\tbaz=1\t ;  bar=\"1\"\t\t, \tqux\t ;norf",
                vec![
                    extension("foo", &[("bar", None), ("baz", Some("1")), ("bar", Some("1"))]),
                    extension("qux", &[("norf", None)]),
                ],
            ),
            (
                "__proto__; constructor=toString, foo, foo",
                vec![
                    extension("__proto__", &[("constructor", Some("toString"))]),
                    extension("foo", &[]),
                    extension("foo", &[]),
                ],
            ),
            ("a;b=\"1\\0\"", vec![extension("a", &[("b", Some("10"))])]),
            (" ,, a ; b = 1 ,\t, c ; d =\"2\" ,", {
                vec![extension("a", &[("b", Some("1"))]), extension("c", &[("d", Some("2"))])]
            }),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_extensions(value.as_bytes()), Ok(expected), "{value:?}");
        }
    }
}
