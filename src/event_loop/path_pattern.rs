use std::borrow::Cow;
use std::fmt;

use crate::handshake::percent_decode;

/// A pattern of paths: `/chat`, `/chat/:room`, `/files/*`.
///
/// Segments, the parts between slashes, are compared one by one:
///
/// - `:name` matches any one segment that is not empty, and gives it a name.
/// - `*`, which can only stand last, matches all that is left, be it nothing; its name is `*`.
/// - Anything else matches itself.
///
/// The comparison is exact: case counts, `/chat/` is not `/chat`, and `//`, `.` and `..` are segments
/// like others. The segments of the path are percent-decoded after they were parted, so that `%2F`
/// parts nothing and `/caf%C3%A9` matches `/café`; a pattern is written decoded.
///
/// ```
/// use framewire::PathPattern;
///
/// let pattern = PathPattern::new("/chat/:room")?;
/// assert!(pattern.matches("/chat/lobby") && pattern.matches("/chat/a%2Fb"));
/// assert!(!pattern.matches("/chat") && !pattern.matches("/chat/") && !pattern.matches("/Chat/a"));
/// # Ok::<(), framewire::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    Parameter(Box<str>),
    /// The rest of the path.
    Rest,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`], which names the pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(PatternError::Slash(text.to_owned()));
        };
        if text.contains(['?', '#']) {
            return Err(PatternError::Character(text.to_owned()));
        }
        let mut segments: Vec<Segment> = Vec::new();
        for part in inner.split('/') {
            if segments.last() == Some(&Segment::Rest) || (part.contains('*') && part != "*") {
                return Err(PatternError::Wildcard(text.to_owned()));
            }
            let segment = match (part, part.strip_prefix(':')) {
                ("*", _) => Segment::Rest,
                (_, None) => Segment::Literal(part.into()),
                (_, Some(name)) if !is_name(name) => {
                    return Err(PatternError::ParameterName(text.to_owned()));
                }
                (_, Some(name)) => Segment::Parameter(name.into()),
            };
            if matches!(segment, Segment::Parameter(_)) && segments.contains(&segment) {
                return Err(PatternError::RepeatedParameter(text.to_owned()));
            }
            segments.push(segment);
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path matches the pattern; the path is percent-encoded and has no query.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(mut rest) = path.strip_prefix('/').map(Some) else { return false };
        for segment in &self.segments {
            let Some(left) = rest else { return false };
            let (part, behind) = split(left);
            rest = match segment {
                Segment::Rest => None,
                Segment::Parameter(_) if part.is_empty() => return false,
                Segment::Literal(text) if !is_encoding_of(part, text) => return false,
                Segment::Parameter(_) | Segment::Literal(_) => behind,
            };
        }
        rest.is_none()
    }

    /// The value of a parameter in a path that [`matches`](Self::matches), percent-decoded: `room` of `/chat/:room`,
    /// or `*`. `None` if the pattern has no such parameter, or if what stands there cannot be decoded to UTF-8.
    ///
    /// ```
    /// # use framewire::PathPattern;
    /// let pattern = PathPattern::new("/chat/:room")?;
    /// assert_eq!(pattern.parameter("/chat/caf%C3%A9", "room").as_deref(), Some("café"));
    /// assert_eq!(pattern.raw_parameter("/chat/caf%C3%A9", "room"), Some("caf%C3%A9"));
    /// # Ok::<(), framewire::PatternError>(())
    /// ```
    #[must_use]
    pub fn parameter<'p>(&self, path: &'p str, name: &str) -> Option<Cow<'p, str>> {
        percent_decode(self.raw_parameter(path, name)?)
    }

    /// The value of a parameter in a path that [`matches`](Self::matches), without percent-decoding.
    #[must_use]
    pub fn raw_parameter<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut rest = path.strip_prefix('/')?;
        for segment in &self.segments {
            let (part, behind) = split(rest);
            match segment {
                Segment::Rest => return (name == "*").then_some(rest),
                Segment::Parameter(own) if **own == *name => return Some(part),
                Segment::Parameter(_) | Segment::Literal(_) => rest = behind?,
            }
        }
        None
    }

    /// A pattern with a smaller rank goes before one with a greater, where a path matches both: the
    /// first segment in which they differ decides, a literal before a parameter before a `*`. Equal
    /// ranks do not make patterns equal, but [`is_same`](Self::is_same) does.
    pub(super) fn rank(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Parameter(_) => 1,
            Segment::Rest => 2,
        };
        self.segments.iter().map(rank).collect()
    }

    /// Whether both match the same paths.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            (one, other) => one == other,
        };
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a valid pattern of paths. Each names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern does not begin with `/`.
    Slash(String),
    /// The pattern has a `?` or a `#`, which no path contains.
    Character(String),
    /// A `:` is not followed by a name: letters, digits and `_`, not with a digit first.
    ParameterName(String),
    /// Two parameters have one name.
    RepeatedParameter(String),
    /// A `*` is not the whole of the last segment.
    Wildcard(String),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slash(pattern) => write!(f, "the pattern {pattern:?} does not begin with '/'"),
            Self::Character(pattern) => {
                write!(
                    f,
                    "the pattern {pattern:?} has a '?' or a '#': it is matched with paths only"
                )
            }
            Self::ParameterName(pattern) => {
                write!(f, "in the pattern {pattern:?}, a ':' is not followed by a name")
            }
            Self::RepeatedParameter(pattern) => {
                write!(f, "in the pattern {pattern:?}, two parameters have the same name")
            }
            Self::Wildcard(pattern) => {
                write!(f, "in the pattern {pattern:?}, a '*' is not the whole of the last segment")
            }
        }
    }
}

impl std::error::Error for PatternError {}

/// The first segment, and what is behind the slash that ends it.
fn split(rest: &str) -> (&str, Option<&str>) {
    rest.split_once('/').map_or((rest, None), |(part, behind)| (part, Some(behind)))
}

/// Whether this segment of a path stands for this text.
fn is_encoding_of(part: &str, text: &str) -> bool {
    percent_decode(part).is_some_and(|decoded| decoded == text)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(allowed) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::new(text).unwrap()
    }

    #[test]
    fn paths_match_segment_by_segment() {
        for (text, yes, no) in [
            ("/", &["/"][..], &["//", "/a", ""][..]),
            ("/chat", &["/chat", "/ch%61t"], &["/chat/", "/Chat", "/chat/a", "//chat", "/chat%2F"]),
            ("/a//b", &["/a//b"], &["/a/b", "/a/x/b"]),
            ("/a/", &["/a/"], &["/a", "/a//"]),
            ("/:a", &["/x", "/%2F", "/.."], &["/", "/x/", "/x/y"]),
            ("/:a/b/:c", &["/x/b/y"], &["/x/b/", "//b/y", "/x/c/y", "/x/b/y/z"]),
            ("/f/*", &["/f/", "/f/a", "/f/a/b", "/f//", "/f/../x"], &["/f", "/fa", "/"]),
            ("/*", &["/", "/a", "/a/b"], &["", "a"]),
            ("/café/100%", &["/caf%C3%A9/100%25", "/caf%c3%a9/100%25"], &["/caf%E9/100%25"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path), "{text} {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path), "{text} {path}");
            }
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        let two = pattern("/:a/b/:c");
        assert_eq!(two.raw_parameter("/x/b/y%2Fz", "a"), Some("x"));
        assert_eq!(two.raw_parameter("/x/b/y%2Fz", "c"), Some("y%2Fz"));
        assert_eq!(two.raw_parameter("/x/b/y", "b"), None);
        let rest = pattern("/f/:a/*");
        assert_eq!(rest.raw_parameter("/f/x/y/z", "*"), Some("y/z"));
        assert_eq!(rest.raw_parameter("/f/x/", "*"), Some(""));
        assert_eq!(rest.raw_parameter("/f/x/y", "a"), Some("x"));
    }

    #[test]
    fn the_most_specific_goes_first() {
        let ranked = ["/a/b", "/a/:x", "/a/*", "/:x/b", "/:x/:y", "/:x/*", "/*"];
        for pair in ranked.windows(2) {
            assert!(pattern(pair[0]).rank() < pattern(pair[1]).rank(), "{pair:?}");
        }
        assert!(pattern("/a/:x").is_same(&pattern("/a/:y")));
        assert!(!pattern("/a/:x").is_same(&pattern("/b/:x")));
        assert!(!pattern("/a/:x").is_same(&pattern("/a/*")));
        assert!(!pattern("/a").is_same(&pattern("/a/")));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        use PatternError::{Character, ParameterName, RepeatedParameter, Slash, Wildcard};
        for (text, error) in [
            ("", Slash as fn(String) -> PatternError),
            ("chat", Slash),
            ("*", Slash),
            ("/a?b", Character),
            ("/a#b", Character),
            ("/:", ParameterName),
            ("/:1a", ParameterName),
            ("/:a-b", ParameterName),
            ("/:a/:a", RepeatedParameter),
            ("/*/a", Wildcard),
            ("/a*", Wildcard),
            ("/**", Wildcard),
            ("/*/", Wildcard),
        ] {
            let found = PathPattern::new(text).unwrap_err();
            assert_eq!(found, error(text.to_owned()));
            assert!(found.to_string().contains(&format!("{text:?}")), "{found}");
        }
        assert_eq!(pattern("/a:b/:_c1").to_string(), "/a:b/:_c1");
    }
}
