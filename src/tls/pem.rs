use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File(path.to_owned(), Arc::new(error)))
}

/// All certificates, one at least.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(syntax)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate) } else { Ok(certificates) }
}

/// A chain, the owner's certificate first, with the owner's key.
pub(super) fn certified_key(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(chain)?;
    pair(chain, private_key(key)?)
}

/// The same in files; an error says in which.
pub(super) fn certified_key_of(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = certificates(&read_file(chain)?).map_err(|error| error.in_file(chain))?;
    let private = private_key(&read_file(key)?).map_err(|error| error.in_file(key))?;
    pair(certificates, private).map_err(|error| error.in_file(key))
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound => TlsError::NoKey,
        error => syntax(error),
    })
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
}

/// Adds certificates to those that are trusted to issue others.
pub(super) fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(())
}

fn syntax(error: Error) -> TlsError {
    // The library's own text shows a line as a list of numbers.
    TlsError::Pem(match error {
        Error::IllegalSectionStart { line } => {
            format!("a section cannot start with {:?}", String::from_utf8_lossy(&line))
        }
        Error::MissingSectionEnd { end_marker } => {
            format!("no line {:?}", String::from_utf8_lossy(&end_marker))
        }
        error => error.to_string(),
    })
}
