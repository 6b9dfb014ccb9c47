use std::sync::Arc;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateConfig;
use crate::handshake::{
    BodyReader, ClientRequest, Request, RequestError, RequestReader, Response, ResponseError,
    ResponseReader, encode_key, encode_switching_protocols,
};

use super::accept::{Accept, Agreed, Opened, negotiate};
#[cfg(feature = "deflate")]
use super::compression::Compression;
use super::config::Settings;
use super::error::SendError;
use super::output::Output;
use super::partial_request::PartialRequest;
#[cfg(feature = "deflate")]
use super::state::Role;
use super::timers::Moment;
use super::upgraded::Upgraded;

/// The opening handshake of one connection (RFC 6455 section 4).
#[derive(Debug)]
pub(super) enum Opening {
    /// Server: the request has not come whole.
    Reading(RequestReader),
    /// Server: the body of a plain request has not come whole.
    ReadingBody(Box<BodyReader>),
    /// Server: the application decides about an upgrade.
    Deciding(Arc<Request>),
    /// Server: the same for a request that somebody else has accepted.
    Upgraded(Box<Upgraded>, Announced),
    /// Server: the application may answer a plain request.
    Answering(Arc<Request>, Promised),
    /// Client: the answer has not come whole.
    Waiting(Box<Waiting>),
}

/// Whether the application was told of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    No,
    Yes,
}

/// Whether the application has said that its answer comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promised {
    No,
    Yes,
}

#[derive(Debug)]
pub(super) struct Waiting {
    reader: ResponseReader,
    /// When the head of a rejection had come whole.
    rejected: Option<Moment>,
    request: ClientRequest,
    key: [u8; 24],
    /// What the request offers. Other settings that come meanwhile change nothing about it.
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateConfig>,
}

/// What came of some input.
pub(super) enum Step {
    Nothing,
    Request(Arc<Request>),
    Http(Arc<Request>),
    /// A body follows, for which the client may wait to be asked.
    Body {
        awaited: bool,
    },
    /// The application did not answer a plain request.
    Unanswered,
    Open(Opened, Arc<Response>),
    Rejected(Response),
    RequestFailed(RequestError),
    ResponseFailed(ResponseError),
}

impl Opening {
    pub(super) fn upgraded(upgraded: Upgraded) -> Self {
        Self::Upgraded(Box::new(upgraded), Announced::No)
    }

    /// Whether the answer to the request has been sent by somebody else.
    pub(super) fn is_upgraded(&self) -> bool {
        matches!(self, Self::Upgraded(..))
    }

    pub(super) fn server(settings: &Settings) -> Self {
        Self::Reading(RequestReader::new(settings.head))
    }

    pub(super) fn client(
        request: ClientRequest,
        nonce: [u8; 16],
        settings: &Settings,
        output: &mut Output,
    ) -> Self {
        let key = encode_key(nonce);
        #[cfg(feature = "deflate")]
        let deflate = settings.deflate_config(Role::Client);
        #[cfg(feature = "deflate")]
        let offered = deflate.as_ref().map(crate::deflate::offer);
        #[cfg(not(feature = "deflate"))]
        let offered: Option<String> = None;
        output.push_with(|bytes| request.encode(&key, offered.as_deref(), bytes));
        let reader = ResponseReader::new(settings.head, settings.max_rejection_body);
        Self::Waiting(Box::new(Waiting {
            reader,
            rejected: None,
            request,
            key,
            #[cfg(feature = "deflate")]
            deflate,
        }))
    }

    /// Whether a server has a request that nobody decided on; nothing more is read until then.
    pub(super) fn awaits_decision(&self) -> bool {
        matches!(
            self,
            Self::Deciding(_)
                | Self::Upgraded(_, Announced::Yes)
                | Self::Answering(_, Promised::Yes)
        )
    }

    /// Whether a server has a request of any kind to answer.
    pub(super) fn awaits_answer(&self) -> bool {
        self.request().is_some()
    }

    pub(super) fn request(&self) -> Option<&Arc<Request>> {
        match self {
            Self::Deciding(request) | Self::Answering(request, _) => Some(request),
            Self::Upgraded(upgraded, Announced::Yes) => Some(&upgraded.request),
            _ => None,
        }
    }

    /// Whether no byte of a request has come.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Reading(reader) if !reader.has_begun())
    }

    /// Whether what is answered now is a `HEAD` request, of which more may have come than a fault.
    pub(super) fn is_head(&self) -> bool {
        match self {
            Self::Reading(reader) => reader.is_head(),
            Self::Answering(request, _) => request.method() == "HEAD",
            _ => false,
        }
    }

    /// Whether a request waits that asks for no WebSocket.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Answering(..))
    }

    /// Lets a plain request wait for its answer; whether there is one.
    pub(super) fn promise(&mut self) -> bool {
        match self {
            Self::Answering(_, promised) => {
                *promised = Promised::Yes;
                true
            }
            _ => false,
        }
    }

    /// Believes what the trusted proxies of these settings say of clients: one of them has connected.
    pub(super) fn trust_proxy(&mut self, settings: &Settings) {
        let Some(proxies) = &settings.trusted_proxies else { return };
        match self {
            Self::Reading(reader) => reader.believe(Arc::clone(proxies)),
            Self::Upgraded(upgraded, Announced::No) => {
                Arc::make_mut(&mut upgraded.request).believe_or_unknown(proxies);
            }
            _ => {}
        }
    }

    /// What a server has of a request, if anything.
    pub(super) fn partial_request(&self) -> Option<Box<PartialRequest>> {
        let partial = match self {
            Self::Reading(reader) if !reader.head().is_empty() => {
                PartialRequest::of_head(reader.head())
            }
            Self::ReadingBody(reader) => PartialRequest::from(reader.request()?),
            _ => PartialRequest::from(self.request()?),
        };
        Some(Box::new(partial))
    }

    /// Reads from `input`: how many bytes were used, and what came of them.
    pub(super) fn receive(&mut self, input: &[u8], settings: &Settings) -> (usize, Step) {
        match self {
            Self::Reading(reader) => match reader.read(input) {
                Ok(None) => (input.len(), Step::Nothing),
                Ok(Some((request, used))) => {
                    let step = self.head_read(request, settings);
                    (used, step.unwrap_or_else(Step::RequestFailed))
                }
                Err(error) => (input.len(), Step::RequestFailed(error)),
            },
            Self::ReadingBody(reader) => match reader.read(input) {
                Ok(None) => (input.len(), Step::Nothing),
                Ok(Some((request, used))) => (used, self.plain(request)),
                Err(error) => (input.len(), Step::RequestFailed(error)),
            },
            Self::Upgraded(upgraded, announced @ Announced::No) => {
                *announced = Announced::Yes;
                (0, Step::Request(Arc::clone(&upgraded.request)))
            }
            Self::Deciding(_) | Self::Upgraded(..) | Self::Answering(_, Promised::Yes) => {
                (0, Step::Nothing)
            }
            Self::Answering(_, Promised::No) => (0, Step::Unanswered),
            Self::Waiting(waiting) => match waiting.reader.read(input) {
                Ok(None) => (input.len(), Step::Nothing),
                Ok(Some((response, used))) => (used, waiting.response_read(response)),
                Err(error) => (input.len(), Step::ResponseFailed(error)),
            },
        }
    }

    /// Takes note of the head of a rejection, if it is whole: whether it was not before.
    pub(super) fn note_rejection(&mut self, now: Moment) -> bool {
        match self {
            Self::Waiting(waiting) if waiting.rejected.is_none() => {
                waiting.rejected = waiting.reader.unfinished().map(|_| now);
                waiting.rejected.is_some()
            }
            _ => false,
        }
    }

    /// When the head of a rejection had come whole, if its body has not.
    pub(super) fn rejected(&self) -> Option<Moment> {
        match self {
            Self::Waiting(waiting) => waiting.rejected,
            _ => None,
        }
    }

    /// The answer of a server that ended it by ending the transport, if that is how it stands.
    pub(super) fn receive_eof(&mut self) -> Option<Response> {
        match self {
            Self::Waiting(waiting) => waiting.reader.read_eof().ok().flatten(),
            _ => None,
        }
    }

    fn head_read(&mut self, request: Request, settings: &Settings) -> Result<Step, RequestError> {
        let checked = settings.check_host(&request).and_then(|()| match request.is_upgrade() {
            true => settings.check(&request),
            false => settings
                .check_method(&request)
                .and_then(|()| BodyReader::check(&request, settings.max_request_body)),
        });
        if let Err(error) = checked {
            *self = Self::Answering(Arc::new(request), Promised::No);
            return Err(error);
        }
        if request.is_upgrade() {
            let request = Arc::new(request);
            *self = Self::Deciding(Arc::clone(&request));
            return Ok(Step::Request(request));
        }
        if !request.has_body() {
            return Ok(self.plain(request));
        }
        let body = BodyReader::new(request, settings.max_request_body)?;
        let awaited = body.is_awaited();
        *self = Self::ReadingBody(Box::new(body));
        Ok(Step::Body { awaited })
    }

    fn plain(&mut self, request: Request) -> Step {
        let request = Arc::new(request);
        *self = Self::Answering(Arc::clone(&request), Promised::No);
        Step::Http(request)
    }

    /// Writes the 101 for the request that waits.
    pub(super) fn accept(
        &mut self,
        accept: Accept,
        settings: &Settings,
        output: &mut Output,
    ) -> Result<Opened, SendError> {
        let request = match &*self {
            Self::Deciding(request) => request,
            Self::Upgraded(upgraded, Announced::Yes) => return Ok(upgraded.opened(settings)),
            _ => return Err(SendError::NothingToAnswer),
        };
        let Agreed { opened, extensions } = negotiate(request, &accept, settings)?;
        let subprotocol = opened.subprotocol.as_deref();
        // On an error `encode_switching_protocols` has written nothing.
        output.push_with(|bytes| {
            encode_switching_protocols(
                bytes,
                request.key().as_bytes(),
                subprotocol,
                extensions.as_deref(),
                accept.headers(),
            )
        })?;
        Ok(opened)
    }
}

impl Waiting {
    fn response_read(&mut self, response: Response) -> Step {
        if response.status() != 101 {
            return Step::Rejected(response);
        }
        #[cfg(feature = "deflate")]
        let offered = self.deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        let offered = false;
        let verified = self.request.verify(&response, &self.key, offered);
        let accepted = match verified {
            Ok(accepted) => accepted,
            Err(error) => return Step::ResponseFailed(error),
        };
        #[cfg_attr(not(feature = "deflate"), allow(unused_mut, reason = "nothing to agree on"))]
        let mut opened = Opened {
            subprotocol: accepted.subprotocol.map(String::into_boxed_str),
            compression: None,
        };
        #[cfg(feature = "deflate")]
        if let Some(config) = &self.deflate {
            match crate::deflate::verify_response(&accepted.extensions, config) {
                Ok(None) => {}
                Ok(Some(params)) => {
                    let compression = Compression::new(params, Role::Client, config);
                    opened.compression = Some(Box::new(compression));
                }
                Err(error) => {
                    return Step::ResponseFailed(ResponseError::ExtensionParameters(error));
                }
            }
        }
        Step::Open(opened, Arc::new(response))
    }
}
