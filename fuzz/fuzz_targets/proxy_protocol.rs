//! Headers of the PROXY protocol: any bytes in any portions.

#![no_main]

use arbitrary::Arbitrary;
use framewire::handshake::{ProxyHeader, ProxyHeaderError, ProxyHeaderReader};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Begins the stream as this version does.
    version: Version,
    cuts: [u8; 12],
    stream: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Version {
    Any,
    One,
    Two,
}

type Read = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

fuzz_target!(|input: Input<'_>| {
    let begin: &[u8] = match input.version {
        Version::Any => b"",
        Version::One => b"PROXY ",
        Version::Two => b"\r\n\r\n\0\r\nQUIT\n",
    };
    let stream = [begin, input.stream].concat();
    let whole = read(&[&stream]);
    assert_eq!(read(&framewire_fuzz::pieces(&stream, &input.cuts)), whole);
    assert_eq!(read(&stream.chunks(1).collect::<Vec<_>>()), whole);
    match whole {
        Ok(Some((header, used))) => {
            assert_eq!(header.source().is_some(), header.destination().is_some());
            assert!(!header.is_local() || header.source().is_none());
            match header.version() {
                1 => assert!(used <= 107 && stream[..used].ends_with(b"\r\n")),
                2 => {
                    let length = u16::from_be_bytes([stream[14], stream[15]]);
                    assert_eq!(used, 16 + usize::from(length));
                }
                other => panic!("version {other}"),
            }
            // What is behind it does not matter, and nothing less is enough.
            assert_eq!(read(&[&stream[..used]]), Ok(Some((header, used))));
            assert_eq!(read(&[&stream[..used - 1]]), Ok(None));
        }
        Ok(None) => assert!(stream.len() < 16 + 65_536),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
});

fn read(pieces: &[&[u8]]) -> Read {
    let mut reader = ProxyHeaderReader::new();
    let (mut before, mut given) = (0, Vec::new());
    for piece in pieces {
        given.extend_from_slice(piece);
        match reader.read(piece) {
            Ok(None) => before += piece.len(),
            Ok(Some((header, used))) => return Ok(Some((header, before + used))),
            Err(error) => {
                if error == ProxyHeaderError::Missing {
                    assert_eq!([reader.taken(), piece.to_vec()].concat(), given);
                }
                return Err(error);
            }
        }
    }
    Ok(None)
}
