use std::sync::Arc;

use crate::handshake::Response;
use crate::protocol::Prepared;
use crate::wire::CloseFrame;

use super::adopt::Adoption;
use super::answers::Answerer;
use super::audience::Selection;
use super::listener::ListenerIndex;
use super::shutdown::ShutdownOrder;
use super::slab::PeerId;
use super::socket::Socket;

/// What is asked of a loop.
#[derive(Debug)]
pub(super) enum Command {
    /// What is for one connection, and so for the loop that has it.
    Peer(PeerId, PeerCommand),
    /// To those of an audience that this loop has.
    Publish(Selection<Arc<str>>, Prepared),
    Shutdown(ShutdownOrder),
    /// Decisions wait in a queue of their own, which has the type of the sessions.
    Decided,
    /// The function with this ticket waits in a queue of its own, which has the type of the handler.
    Call(u64),
    Adopt(Box<Adoption>),
    /// Which connections are open.
    List(Answerer<Vec<PeerId>>),
    /// A connection that another loop has accepted.
    Serve(Socket, ListenerIndex),
}

/// What is asked of a loop for one of its connections.
#[derive(Debug)]
pub(super) enum PeerCommand {
    Send(Prepared),
    SendLatest(Box<str>, Prepared),
    Subscribe(Arc<str>),
    Unsubscribe(Box<str>),
    Close(CloseFrame),
    CloseWithoutCode,
    Abort,
    Pause,
    Resume,
    /// The answer to its plain request, which waits for it.
    Answer(Response),
}

/// What a command counts beside its message.
const OVERHEAD: usize = 128;

impl Command {
    /// How many bytes of the queue it takes: those of a message or a function, which anybody may send any number
    /// of.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Peer(_, PeerCommand::Send(prepared) | PeerCommand::SendLatest(_, prepared))
            | Self::Publish(_, prepared) => prepared.len() + OVERHEAD,
            Self::Call(_) => OVERHEAD,
            _ => 0,
        }
    }

    /// Whether it is answered even by a loop that comes to its end: a client waits for that, or somebody for the report.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Shutdown(_) | Self::Adopt(_) | Self::Serve(..))
    }
}
