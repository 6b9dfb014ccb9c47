use std::fmt;

use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::quic::PacketKey;
use rustls::server::ProducesTickets;
use rustls::{Tls13CipherSuite, crypto};

use super::provider;

/// How many random bytes each ticket begins with.
const SALT: usize = 32;

/// Session tickets under keys that several servers have.
///
/// A ticket is a salt and what was encrypted by it. The key of its own that each ticket has is derived from the shared
/// one and the salt (HKDF, RFC 5869), so servers that know nothing of each other never use a nonce twice. The ciphers
/// are those of rustls, in the form that it offers to QUIC: the only one without the records of TLS around it.
pub(super) struct SharedTickets {
    /// The first is for new tickets.
    keys: Vec<[u8; 32]>,
    /// What else servers must have in common.
    context: Vec<u8>,
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("SharedTickets").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl SharedTickets {
    pub(super) fn new(keys: Vec<[u8; 32]>, context: Vec<u8>) -> Self {
        Self { keys, context }
    }

    /// The cipher of the ticket with this salt.
    fn cipher(&self, key: &[u8; 32], salt: &[u8]) -> Option<Box<dyn PacketKey>> {
        let suite: &Tls13CipherSuite = TLS13_CHACHA20_POLY1305_SHA256.tls13()?;
        let expander = suite.hkdf_provider.extract_from_secret(Some(salt), key);
        let derived = expander.expand_block(&[b"framewire session ticket", &self.context]);
        let derived = <[u8; 32]>::try_from(derived.as_ref()).ok()?;
        // Each ticket has a key of its own, so the nonce need not be unique.
        Some(
            suite
                .quic?
                .packet_key(AeadKey::from(derived), Iv::from([0; crypto::cipher::NONCE_LEN])),
        )
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    /// As long as those of rustls. The keys end them sooner, or later; that is for those who give them.
    fn lifetime(&self) -> u32 {
        12 * 60 * 60
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = vec![0; SALT];
        provider().secure_random.fill(&mut ticket).ok()?;
        let cipher = self.cipher(self.keys.first()?, &ticket)?;
        ticket.extend_from_slice(plain);
        let (salt, text) = ticket.split_at_mut(SALT);
        let tag = cipher.encrypt_in_place(0, salt, text).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (salt, encrypted) = ticket.split_at_checked(SALT)?;
        self.keys.iter().find_map(|key| {
            let mut text = encrypted.to_vec();
            let length = self.cipher(key, salt)?.decrypt_in_place(0, salt, &mut text).ok()?.len();
            text.truncate(length);
            Some(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &[u8], context: &str) -> SharedTickets {
        SharedTickets::new(keys.iter().map(|&key| [key; 32]).collect(), context.into())
    }

    #[test]
    fn a_ticket_is_opened_with_its_key_wherever_that_stands_and_with_no_other() {
        let ticket = tickets(&[1, 2], "").encrypt(b"session").unwrap();
        for (keys, context, opens) in [
            (&[1][..], "", true),
            (&[3, 1], "", true),
            (&[2], "", false),
            (&[], "", false),
            (&[1], "other", false),
        ] {
            let plain = tickets(keys, context).decrypt(&ticket);
            assert_eq!(plain.as_deref(), opens.then_some(&b"session"[..]), "{keys:?} {context}");
        }
        assert!(!tickets(&[], "").enabled());
        assert_eq!(tickets(&[], "").encrypt(b"session"), None);
    }

    #[test]
    fn no_two_tickets_are_alike_and_none_that_was_changed_is_opened() {
        let tickets = tickets(&[1], "");
        for length in [0, 1, 1000] {
            let plain = vec![7; length];
            let ticket = tickets.encrypt(&plain).unwrap();
            assert_ne!(tickets.encrypt(&plain), Some(ticket.clone()));
            assert_eq!(tickets.decrypt(&ticket), Some(plain));
            for at in 0..ticket.len() {
                let mut changed = ticket.clone();
                changed[at] ^= 0x10;
                assert_eq!(tickets.decrypt(&changed), None, "{at} of {length}");
                assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} of {length}");
            }
            let longer = [&ticket[..], &[0]].concat();
            assert_eq!(tickets.decrypt(&longer), None);
        }
    }

    #[test]
    fn keys_stay_out_of_logs() {
        let shown = format!("{:?}", tickets(&[251], ""));
        assert!(!shown.contains("251") && shown.contains("keys: 1"), "{shown}");
    }
}
