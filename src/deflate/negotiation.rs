//! Negotiation: what was offered, what was answered, what was agreed (RFC 7692 sections 5 and 7.1).

use super::config::DeflateConfig;
use super::params::{DeflateParams, MAX_WINDOW_BITS, NAME, Parameters};
use crate::handshake::{DeflateError, Extension};

/// Server: picks the first offer that can be met, and says what to answer.
///
/// `offers` are the elements of the request's `Sec-WebSocket-Extensions` in the client's order;
/// other extensions among them are passed over. Put the string into the 101 response and give the
/// parameters to [`DeflateContext::new`](super::DeflateContext::new). On `None`, answer 101 without
/// the extension: a declined offer never fails the handshake (RFC 7692 section 7).
///
/// An offer is declined if it holds an unknown, repeated or invalid parameter, or if `config`
/// limits the client's window and the offer leaves no room to say so. All windows from 8 to 15 bits
/// are honoured. The answer repeats what the client offered, with the smaller of both limits, and
/// adds only what `config` imposes.
///
/// ```
/// use framewire::deflate::{DeflateConfig, accept_offer};
/// use framewire::handshake::parse_extensions;
///
/// let offers = parse_extensions(b"permessage-deflate; server_max_window_bits=10")?;
/// let (params, answer) = accept_offer(&offers, &DeflateConfig::new()).unwrap();
/// assert_eq!(params.server_max_window_bits(), 10);
/// assert_eq!(answer, "permessage-deflate; server_max_window_bits=10");
/// # Ok::<(), framewire::handshake::HeaderListError>(())
/// ```
#[must_use]
pub fn accept_offer(
    offers: &[Extension],
    config: &DeflateConfig,
) -> Option<(DeflateParams, String)> {
    offers
        .iter()
        .filter(|extension| extension.name == NAME)
        .find_map(|extension| accept_one(extension, config))
}

/// Client: the element to put into the request's `Sec-WebSocket-Extensions`.
///
/// `client_max_window_bits` is always there, so that the server may limit our window; it carries a
/// value only if `config` limits it. Read the answer with [`verify_response`].
///
/// ```
/// use framewire::deflate::{DeflateConfig, offer};
///
/// assert_eq!(
///     offer(&DeflateConfig::new()),
///     "permessage-deflate; client_max_window_bits",
/// );
/// ```
#[must_use]
pub fn offer(config: &DeflateConfig) -> String {
    let limited = |bits| (bits < MAX_WINDOW_BITS).then_some(bits);
    Parameters {
        server_no_context_takeover: config.params.server_no_context_takeover,
        client_no_context_takeover: config.params.client_no_context_takeover,
        server_max_window_bits: limited(config.params.server_max_window_bits),
        client_max_window_bits: Some(limited(config.params.client_max_window_bits)),
    }
    .to_string()
}

/// Client: checks what the server answered to [`offer`], and says what was agreed.
///
/// `extensions` are the elements of the response's `Sec-WebSocket-Extensions`. `Ok(None)`: the
/// server declined, send nothing compressed. Other extensions in the list are passed over; that
/// the client offered them is for the caller to check.
///
/// A server that leaves out `server_no_context_takeover` or `server_max_window_bits` although we
/// asked has not promised them. We can read what it sends all the same, at the price of the memory
/// that we wanted to save, so the connection goes on: RFC 7692 section 7.1.1.1 leaves the choice to
/// the client. [`DeflateParams`] tells what holds.
///
/// # Errors
///
/// [`DeflateError`]: the answer does not fit the offer. Fail the connection (RFC 7692 section 7).
pub fn verify_response(
    extensions: &[Extension],
    config: &DeflateConfig,
) -> Result<Option<DeflateParams>, DeflateError> {
    let mut answers = extensions.iter().filter(|extension| extension.name == NAME);
    let Some(answer) = answers.next() else {
        return Ok(None);
    };
    if answers.next().is_some() {
        return Err(DeflateError::Repeated);
    }
    let answer = Parameters::read(answer)?;

    // "client_max_window_bits" without a value exists in offers only (section 7.1.2.2).
    let client_bits = match answer.client_max_window_bits {
        Some(None) => return Err(DeflateError::InvalidParameter),
        Some(Some(bits)) if bits > config.params.client_max_window_bits => {
            return Err(DeflateError::WindowTooLarge);
        }
        // The server set no limit of its own; ours still binds us.
        None => config.params.client_max_window_bits,
        Some(Some(bits)) => bits,
    };
    let server_bits = match answer.server_max_window_bits {
        Some(bits) if bits > config.params.server_max_window_bits => {
            return Err(DeflateError::WindowTooLarge);
        }
        Some(bits) => bits,
        None => MAX_WINDOW_BITS,
    };
    Ok(Some(DeflateParams {
        server_no_context_takeover: answer.server_no_context_takeover,
        // What we announced we also do, whether or not the server repeats it.
        client_no_context_takeover: answer.client_no_context_takeover
            || config.params.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
    }))
}

/// Meets one offer, or declines it.
fn accept_one(offer: &Extension, config: &DeflateConfig) -> Option<(DeflateParams, String)> {
    let offer = Parameters::read(offer).ok()?;

    let server_bits = offer
        .server_max_window_bits
        .unwrap_or(MAX_WINDOW_BITS)
        .min(config.params.server_max_window_bits);
    let client_bits = match offer.client_max_window_bits {
        Some(offered) => {
            offered.unwrap_or(MAX_WINDOW_BITS).min(config.params.client_max_window_bits)
        }
        // The response must not hold the parameter then (section 7.1.2.2).
        None if config.params.client_max_window_bits < MAX_WINDOW_BITS => return None,
        None => MAX_WINDOW_BITS,
    };
    let params = DeflateParams {
        server_no_context_takeover: offer.server_no_context_takeover
            || config.params.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover
            || config.params.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
    };
    let answer = Parameters {
        server_no_context_takeover: params.server_no_context_takeover,
        client_no_context_takeover: params.client_no_context_takeover,
        // Accepting server_max_window_bits means repeating it, even at 15 (section 7.1.2.1).
        server_max_window_bits: (offer.server_max_window_bits.is_some()
            || server_bits < MAX_WINDOW_BITS)
            .then_some(server_bits),
        client_max_window_bits: (client_bits < MAX_WINDOW_BITS).then_some(Some(client_bits)),
    };
    Some((params, answer.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `name; a; b=c, name2` as the handshake layer will.
    fn extensions(header: &str) -> Vec<Extension> {
        header
            .split(',')
            .map(|element| {
                let mut parts = element.split(';').map(str::trim);
                Extension {
                    name: parts.next().unwrap().to_owned(),
                    parameters: parts
                        .map(|part| match part.split_once('=') {
                            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                            None => (part.to_owned(), None),
                        })
                        .collect(),
                }
            })
            .collect()
    }

    fn answer(config: &DeflateConfig, header: &str) -> Option<String> {
        accept_offer(&extensions(header), config).map(|(_, answer)| answer)
    }

    fn verify(config: &DeflateConfig, header: &str) -> Result<Option<DeflateParams>, DeflateError> {
        verify_response(&extensions(header), config)
    }

    // req: D002, D009, D010, D011, D013, D015, D016, D018, D019, D020
    #[test]
    fn a_default_server_repeats_what_is_offered_and_adds_nothing() {
        let cases = [
            ("permessage-deflate", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
            (
                "permessage-deflate; client_max_window_bits=8",
                "permessage-deflate; client_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=8",
                "permessage-deflate; server_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "permessage-deflate; server_max_window_bits=15",
            ),
            (
                "permessage-deflate; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
            (
                "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10; \
                 client_no_context_takeover; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=10; client_max_window_bits=9",
            ),
        ];
        for (offer, expected) in cases {
            let got = answer(&DeflateConfig::new(), offer);
            assert_eq!(got.as_deref(), Some(expected), "{offer}");
        }
    }

    // req: D004, D005, D006, D007, D009, D015, D018
    #[test]
    fn what_cannot_be_met_is_declined() {
        let offers = [
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; Server_No_Context_Takeover",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover=",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "x-webkit-deflate-frame",
            "",
        ];
        for offer in offers {
            assert_eq!(answer(&DeflateConfig::new(), offer), None, "{offer}");
        }
        let values = [
            "7",
            "16",
            "0",
            "00",
            "08",
            "+9",
            "-9",
            "9.0",
            " 9",
            "9 ",
            "",
            "abc",
            "1e1",
            "0x9",
            "99999999999",
            "\u{0669}",
        ];
        for side in ["server", "client"] {
            for value in values {
                let offer = Extension {
                    name: NAME.to_owned(),
                    parameters: vec![(format!("{side}_max_window_bits"), Some(value.to_owned()))],
                };
                assert!(
                    accept_offer(std::slice::from_ref(&offer), &DeflateConfig::new()).is_none()
                );
                assert_eq!(
                    verify_response(&[offer], &DeflateConfig::new()),
                    Err(DeflateError::InvalidParameter)
                );
            }
        }
    }

    // req: D001, D002, D007
    #[test]
    fn the_first_offer_that_can_be_met_wins() {
        let config = DeflateConfig::new();
        assert_eq!(
            answer(
                &config,
                "permessage-bzip2, permessage-deflate; unknown, \
                 permessage-deflate; server_max_window_bits=9, permessage-deflate"
            )
            .as_deref(),
            Some("permessage-deflate; server_max_window_bits=9")
        );
    }

    // req: D007, D010, D013, D016, D019, D020
    #[test]
    fn a_configured_server_imposes_its_limits() {
        let config = DeflateConfig::new()
            .server_no_context_takeover(true)
            .client_no_context_takeover(true)
            .server_max_window_bits(11)
            .and_then(|config| config.client_max_window_bits(10))
            .unwrap();
        let start = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; ";
        let cases = [
            ("client_max_window_bits", "11", "10"),
            ("client_max_window_bits=15", "11", "10"),
            ("client_max_window_bits=9", "11", "9"),
            ("client_max_window_bits; server_max_window_bits=15", "11", "10"),
            ("client_max_window_bits; server_max_window_bits=8", "8", "10"),
        ];
        for (offer, server, client) in cases {
            let expected =
                format!("{start}server_max_window_bits={server}; client_max_window_bits={client}");
            assert_eq!(answer(&config, &format!("permessage-deflate; {offer}")), Some(expected));
        }
        // Nothing in the answer may limit a client that did not offer to be limited.
        assert_eq!(answer(&config, "permessage-deflate"), None);
        assert!(
            answer(&config, "permessage-deflate, permessage-deflate; client_max_window_bits")
                .is_some()
        );
    }

    // req: D001, D018
    #[test]
    fn a_client_offers_what_it_wants() {
        assert_eq!(offer(&DeflateConfig::new()), "permessage-deflate; client_max_window_bits");
        let config = DeflateConfig::new()
            .server_no_context_takeover(true)
            .client_no_context_takeover(true)
            .server_max_window_bits(9)
            .and_then(|config| config.client_max_window_bits(8))
            .unwrap();
        assert_eq!(
            offer(&config),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=9; client_max_window_bits=8"
        );
    }

    // req: D012, D013, D014, D016, D021
    #[test]
    fn a_client_takes_every_answer_that_fits() {
        let plain = DeflateConfig::new();
        assert_eq!(verify_response(&[], &plain), Ok(None));
        assert_eq!(verify(&plain, "x-other"), Ok(None));
        let agreed = verify(&plain, "permessage-deflate").unwrap().unwrap();
        assert_eq!(agreed, DeflateParams::default());
        let header = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                      server_max_window_bits=8; client_max_window_bits=9";
        let agreed = verify(&plain, header).unwrap().unwrap();
        assert_eq!(agreed.to_string(), header);

        // Asked for and not answered: we cope, and our own promises bind us still.
        let strict = DeflateConfig::new()
            .server_no_context_takeover(true)
            .client_no_context_takeover(true)
            .server_max_window_bits(9)
            .and_then(|config| config.client_max_window_bits(10))
            .unwrap();
        let agreed = verify(&strict, "permessage-deflate").unwrap().unwrap();
        assert_eq!(
            agreed.to_string(),
            "permessage-deflate; client_no_context_takeover; client_max_window_bits=10"
        );
    }

    // req: D008, D009, D015, D017, D018, D020
    #[test]
    fn a_client_refuses_every_answer_that_does_not_fit() {
        let plain = DeflateConfig::new();
        let limited = DeflateConfig::new()
            .server_max_window_bits(9)
            .and_then(|config| config.client_max_window_bits(9))
            .unwrap();
        let cases = [
            ("permessage-deflate; x", DeflateError::UnknownParameter),
            ("permessage-deflate, permessage-deflate", DeflateError::Repeated),
            ("permessage-deflate; client_max_window_bits", DeflateError::InvalidParameter),
            ("permessage-deflate; server_max_window_bits", DeflateError::InvalidParameter),
            ("permessage-deflate; server_no_context_takeover=1", DeflateError::InvalidParameter),
            (
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                DeflateError::RepeatedParameter,
            ),
        ];
        for (header, error) in cases {
            assert_eq!(verify(&plain, header), Err(error), "{header}");
        }
        for header in [
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=10",
        ] {
            assert_eq!(verify(&limited, header), Err(DeflateError::WindowTooLarge));
            assert!(verify(&plain, header).is_ok());
        }
    }

    // req: D002, D008
    #[test]
    fn both_sides_agree_on_the_same() {
        for (server_bits, client_bits) in [(8, 15), (15, 8), (12, 9), (15, 15)] {
            for flags in 0..4_u8 {
                let client = DeflateConfig::new()
                    .server_no_context_takeover(flags & 1 != 0)
                    .client_no_context_takeover(flags & 2 != 0)
                    .server_max_window_bits(server_bits)
                    .and_then(|config| config.client_max_window_bits(client_bits))
                    .unwrap();
                let (agreed, header) =
                    accept_offer(&extensions(&offer(&client)), &DeflateConfig::new()).unwrap();
                assert_eq!(verify(&client, &header), Ok(Some(agreed)));
            }
        }
        assert_eq!(size_of::<DeflateParams>(), 4);
    }
}
