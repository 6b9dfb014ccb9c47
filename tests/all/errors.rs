//! What errors say: each its own part, and its source the rest.

use std::error::Error;

#[cfg(feature = "deflate")]
use framewire::deflate::{InflateError, InvalidDeflateConfig};
use framewire::handshake::{
    ClientRequestError, DeflateError, HeadError, HeaderListError, InvalidHeader, InvalidNetwork,
    Network, ProxyHeaderError, RequestError, ResponseError, UrlError,
};
use framewire::wire::{CloseCode, CloseFrameError, HeaderError, InvalidUtf8, Opcode, ReservedBit};

/// One of every kind, of all that these layers have to tell.
fn leaves() -> Vec<Box<dyn Error>> {
    let mut errors: Vec<Box<dyn Error>> = Vec::new();
    errors.extend(boxed(head_errors()));
    errors.extend(boxed(list_errors()));
    errors.extend(boxed(header_errors()));
    errors.extend(boxed(deflate_errors()));
    errors.extend(boxed([
        ProxyHeaderError::Missing,
        ProxyHeaderError::Version(3),
        ProxyHeaderError::TooLong,
        ProxyHeaderError::Malformed("its line"),
        ProxyHeaderError::NotAccepted,
    ]));
    errors.extend(boxed([
        UrlError::MissingScheme,
        UrlError::Scheme("ftp".into()),
        UrlError::Fragment,
        UrlError::MissingHost,
        UrlError::NonAsciiHost("ü".into()),
        UrlError::Ipv6("[x]".into()),
        UrlError::Port("0".into()),
        UrlError::Character { index: 1 },
        UrlError::UserInfo,
        UrlError::SocketPath,
    ]));
    let faults =
        ["a/8", "10.0.0.0/33", "10.0.0.1/8"].map(|text| text.parse::<Network>().unwrap_err());
    errors.extend(boxed::<InvalidNetwork>(faults));
    errors.extend(boxed([
        HeaderError::ReservedOpcode(3),
        HeaderError::FragmentedControl(Opcode::Ping),
        HeaderError::ReservedBit(ReservedBit::Rsv2),
        HeaderError::UnexpectedContinuation,
        HeaderError::ExpectedContinuation,
        HeaderError::ControlTooLong(Opcode::Pong),
        HeaderError::Unmasked,
        HeaderError::Masked,
        HeaderError::CloseTooShort,
        HeaderError::PayloadTooLong(9),
        HeaderError::LengthTopBit,
        HeaderError::NonMinimalLength,
    ]));
    errors.extend(boxed([
        CloseFrameError::TooShort,
        CloseFrameError::InvalidCode(CloseCode::NO_STATUS),
        CloseFrameError::InvalidUtf8,
        CloseFrameError::ReasonTooLong(124),
    ]));
    errors.extend(boxed([InvalidUtf8]));
    #[cfg(feature = "deflate")]
    {
        errors
            .extend(boxed([InvalidDeflateConfig::Level(10), InvalidDeflateConfig::WindowBits(7)]));
        errors.extend(boxed([
            InflateError::TooBig,
            InflateError::Corrupt,
            InflateError::TooManyFinalBlocks,
            InflateError::OutOfMemory(7),
        ]));
    }
    errors.extend(boxed([
        RequestError::TlsHello,
        RequestError::Http2Preface,
        RequestError::MethodNotAllowed,
        RequestError::ProxyHeader,
        RequestError::ForwardedTwice,
        RequestError::HttpVersionNotSupported,
        RequestError::InvalidTarget,
        RequestError::Body("Content-Length"),
        RequestError::LengthRequired,
        RequestError::BodyTooLarge,
        RequestError::TransferCoding,
        RequestError::MissingHeader("Host"),
        RequestError::RepeatedHeader("Host"),
        RequestError::InvalidHeader("Host"),
        RequestError::UnsupportedVersion(7),
        RequestError::PathNotServed,
        RequestError::OriginRejected,
        RequestError::HostRejected,
        RequestError::Timeout,
        RequestError::DecisionTimeout,
        RequestError::OutOfMemory,
    ]));
    errors.extend(boxed([
        ResponseError::PeerSpeaksTls,
        ResponseError::Truncated,
        ResponseError::HttpVersion,
        ResponseError::TooManyInterimResponses,
        ResponseError::Framing("Content-Length"),
        ResponseError::UnexpectedStatus(200),
        ResponseError::MissingHeader("Upgrade"),
        ResponseError::RepeatedHeader("Upgrade"),
        ResponseError::InvalidHeader("Upgrade"),
        ResponseError::AcceptMismatch,
        ResponseError::SubprotocolNotRequested("a".into()),
        ResponseError::NoSubprotocol,
        ResponseError::ExtensionNotOffered("x".into()),
        ResponseError::RepeatedExtension("x".into()),
        ResponseError::Timeout,
        ResponseError::OutOfMemory,
    ]));
    errors.extend(boxed([
        ClientRequestError::Version(7),
        ClientRequestError::Subprotocol("a b".into()),
        ClientRequestError::RepeatedSubprotocol("a".into()),
    ]));
    errors
}

/// All that have one of these for a source.
fn branches() -> Vec<Box<dyn Error>> {
    let mut errors: Vec<Box<dyn Error>> = Vec::new();
    for error in head_errors() {
        errors.push(RequestError::Head(error.clone()).into());
        errors.push(ResponseError::Head(error).into());
    }
    for error in list_errors() {
        let name = "Sec-WebSocket-Protocol";
        errors.push(RequestError::InvalidList { name, error: error.clone() }.into());
        errors.push(ResponseError::InvalidList { name, error }.into());
    }
    for error in header_errors() {
        errors.push(ClientRequestError::Header(error).into());
    }
    for error in deflate_errors() {
        errors.push(ResponseError::ExtensionParameters(error).into());
    }
    errors
}

fn boxed<E: Error + 'static>(
    errors: impl IntoIterator<Item = E>,
) -> impl Iterator<Item = Box<dyn Error>> {
    errors.into_iter().map(Into::into)
}

fn head_errors() -> Vec<HeadError> {
    vec![
        HeadError::BareLineFeed,
        HeadError::BareCarriageReturn,
        HeadError::EmptyLines,
        HeadError::StartLineByte(0),
        HeadError::StartLine,
        HeadError::StartLineTooLong,
        HeadError::TooLarge,
        HeadError::TooManyHeaders,
        HeadError::LeadingWhitespace,
        HeadError::ObsoleteFolding,
        HeadError::EmptyHeaderName,
        HeadError::HeaderNameWhitespace,
        HeadError::HeaderNameByte(0),
        HeadError::MissingColon,
        HeadError::HeaderValueByte { name: "A".into(), byte: 0 },
    ]
}

fn list_errors() -> Vec<HeaderListError> {
    vec![
        HeaderListError::UnexpectedCharacter { index: 1 },
        HeaderListError::UnexpectedEnd,
        HeaderListError::Duplicated { name: "a".into() },
        HeaderListError::OutOfMemory,
    ]
}

fn header_errors() -> Vec<InvalidHeader> {
    vec![
        InvalidHeader::Name("a b".into()),
        InvalidHeader::Value("A".into()),
        InvalidHeader::Reserved("Host".into()),
        InvalidHeader::Subprotocol("a b".into()),
        InvalidHeader::Reason("\n".into()),
        InvalidHeader::Cookie("a;b".into()),
        InvalidHeader::TooLarge,
    ]
}

fn deflate_errors() -> Vec<DeflateError> {
    vec![
        DeflateError::Repeated,
        DeflateError::UnknownParameter,
        DeflateError::InvalidParameter,
        DeflateError::RepeatedParameter,
        DeflateError::WindowTooLarge,
    ]
}

/// Who prints an error and its sources, as `anyhow` does, prints no text twice.
#[test]
fn no_error_says_what_its_source_says() {
    for error in leaves() {
        assert!(!error.to_string().is_empty(), "{error:?}");
        assert!(error.source().is_none(), "{error:?}");
    }
    for error in branches() {
        let mut said = vec![error.to_string()];
        let mut next = error.source();
        while let Some(source) = next {
            let text = source.to_string();
            assert!(said.iter().all(|above| !above.contains(&text)), "{said:?} {text:?}");
            said.push(text);
            next = source.source();
        }
        assert!(said.len() > 1, "{error:?} has a source");
    }
}

/// The one line of an answer says all of it.
#[test]
fn an_answer_names_the_fault() {
    let error = RequestError::Head(HeadError::BareLineFeed);
    let response = framewire::Response::from(&error);
    let text = String::from_utf8_lossy(response.body_bytes());
    assert_eq!(text, "malformed request: a line feed without a carriage return\n");
}
