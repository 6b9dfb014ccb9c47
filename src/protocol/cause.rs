use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why a transport ended a connection, as the program that drives it was told: a [`std::io::Error`] where the
/// system did, the error of TLS where that failed, or whatever else a driver gave to
/// [`abort_with`](crate::Connection::abort_with). It is part of an [`Outcome`](crate::Outcome).
///
/// Any error makes one, and so does a text. It can be asked for everything that
/// `dyn Error + Send + Sync` can, such as `downcast_ref`, and is cheap to clone. Errors cannot be compared; two
/// causes are equal if one is a clone of the other, and only then.
///
/// ```
/// use framewire::Cause;
/// use std::io;
///
/// let cause = Cause::from(io::Error::from(io::ErrorKind::ConnectionReset));
/// assert_eq!(cause.to_string(), "connection reset");
/// let error = cause.downcast_ref::<io::Error>().expect("made of one");
/// assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
/// assert_eq!(cause, cause.clone());
/// ```
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Deref for Cause {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A cause is no [`Error`] itself, so that it does not become the cause of a cause.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(error.into().into())
    }
}
