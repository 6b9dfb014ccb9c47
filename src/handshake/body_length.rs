//! The length of a request's body, as its head tells it (RFC 9112 section 6).

use super::headers::Headers;
use super::names::*;
use super::request_error::RequestError;

/// Where the body of a request ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum BodyLength {
    /// There is none.
    None,
    /// After so many bytes, at least one.
    Bytes(u64),
    /// After its last chunk (section 7.1).
    Chunked,
}

/// Reads what a head says of the body. It is read strictly: two readers that find the end in different places
/// are what smuggled requests are made of, and no client of good faith needs more.
pub(super) fn body_length(
    method: &str,
    minor: u8,
    headers: &Headers,
) -> Result<BodyLength, RequestError> {
    let length = if headers.contains(TRANSFER_ENCODING) {
        // "A client MUST NOT send" it to a server of which it does not know that it is one of HTTP/1.1, and a
        // message with both fields "ought to be handled as an error" (section 6.1).
        if minor == 0 || headers.contains(CONTENT_LENGTH) {
            return Err(RequestError::Body(TRANSFER_ENCODING));
        }
        // A body would have to be read before the switch (RFC 9110 section 7.8), and has no meaning in these
        // methods (section 9.3.1).
        if matches!(method, "GET" | "HEAD") {
            return Err(RequestError::Body(TRANSFER_ENCODING));
        }
        check_coding(headers)?;
        BodyLength::Chunked
    } else {
        content_length(method, headers)?
    };
    let is_told = minor > 0 || length != BodyLength::None || headers.contains(CONTENT_LENGTH);
    if !is_told && matches!(method, "POST" | "PUT" | "PATCH") {
        // "A valid Content-Length is required on all HTTP/1.0 POST requests" (RFC 1945 section 8.3): where it is
        // missing the body may have been meant to end with the connection.
        return Err(RequestError::LengthRequired);
    }
    Ok(length)
}

/// Of the transfer codings, which one layer of this program does not undo for another, only the one that every
/// server of HTTP/1.1 must know.
fn check_coding(headers: &Headers) -> Result<(), RequestError> {
    let mut lines = headers.get_all(TRANSFER_ENCODING);
    match (lines.next(), lines.next()) {
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        // "A server that receives a request message with a transfer coding it does not understand SHOULD
        // respond with 501" (section 6.1); without `chunked` at the end the length is unknown.
        (Some(coding), None) if ends_chunked(coding) => Err(RequestError::TransferCoding),
        _ => Err(RequestError::Body(TRANSFER_ENCODING)),
    }
}

fn ends_chunked(codings: &[u8]) -> bool {
    let mut codings = codings.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    // `chunked` must be the last coding and must not be applied twice (section 6.1).
    codings.next().is_some_and(is_chunked) && !codings.any(is_chunked)
}

fn content_length(method: &str, headers: &Headers) -> Result<BodyLength, RequestError> {
    let mut values = headers.get_all(CONTENT_LENGTH);
    let Some(value) = values.next() else { return Ok(BodyLength::None) };
    if matches!(method, "GET" | "HEAD") {
        // A body is not allowed here; `Content-Length: 0`, also twice, says that there is none.
        let is_nothing = value == b"0" && values.all(|value| value == b"0");
        return is_nothing.then_some(BodyLength::None).ok_or(RequestError::Body(CONTENT_LENGTH));
    }
    if values.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(RequestError::Body(CONTENT_LENGTH));
    }
    // A length that overflows is beyond any limit.
    let bytes = value.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Ok(if bytes == 0 { BodyLength::None } else { BodyLength::Bytes(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(
        method: &str,
        minor: u8,
        fields: &[(&str, &str)],
    ) -> Result<BodyLength, RequestError> {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        body_length(method, minor, &headers)
    }

    // attack: HS28
    #[test]
    fn lengths() {
        let bad_length = Err(RequestError::Body(CONTENT_LENGTH));
        let bad_coding = Err(RequestError::Body(TRANSFER_ENCODING));
        for (value, expected) in [
            ("0", Ok(BodyLength::None)),
            ("00", Ok(BodyLength::None)),
            ("5", Ok(BodyLength::Bytes(5))),
            ("007", Ok(BodyLength::Bytes(7))),
            ("18446744073709551615", Ok(BodyLength::Bytes(u64::MAX))),
            ("99999999999999999999999", Ok(BodyLength::Bytes(u64::MAX))),
            ("", bad_length.clone()),
            ("-1", bad_length.clone()),
            ("+5", bad_length.clone()),
            ("5,5", bad_length.clone()),
            ("5, 5", bad_length.clone()),
            ("0x5", bad_length.clone()),
            ("1e1", bad_length.clone()),
            ("5 5", bad_length.clone()),
        ] {
            assert_eq!(length("POST", 1, &[(CONTENT_LENGTH, value)]), expected, "{value}");
        }
        for twice in ["5", "6", "0"] {
            let fields = [(CONTENT_LENGTH, "5"), (CONTENT_LENGTH, twice)];
            assert_eq!(length("POST", 1, &fields), bad_length);
        }
        for (value, expected) in [
            ("chunked", Ok(BodyLength::Chunked)),
            ("Chunked", Ok(BodyLength::Chunked)),
            ("gzip, chunked", Err(RequestError::TransferCoding)),
            ("chunked, gzip", bad_coding.clone()),
            ("chunked, chunked", bad_coding.clone()),
            ("chunked;a=b", bad_coding.clone()),
            ("xchunked", bad_coding.clone()),
            ("identity", bad_coding.clone()),
            ("", bad_coding.clone()),
        ] {
            assert_eq!(length("POST", 1, &[(TRANSFER_ENCODING, value)]), expected, "{value}");
        }
        let chunked = (TRANSFER_ENCODING, "chunked");
        assert_eq!(length("POST", 1, &[chunked, (CONTENT_LENGTH, "5")]), bad_coding);
        assert_eq!(length("POST", 1, &[chunked, chunked]), bad_coding);
        assert_eq!(length("POST", 0, &[chunked]), bad_coding);
        assert_eq!(length("GET", 1, &[chunked]), bad_coding);
        assert_eq!(length("HEAD", 1, &[(CONTENT_LENGTH, "1")]), bad_length);
        assert_eq!(length("POST", 1, &[]), Ok(BodyLength::None));
        assert_eq!(length("POST", 0, &[]), Err(RequestError::LengthRequired));
        assert_eq!(length("POST", 0, &[(CONTENT_LENGTH, "0")]), Ok(BodyLength::None));
        assert_eq!(length("DELETE", 0, &[]), Ok(BodyLength::None));
    }
}
