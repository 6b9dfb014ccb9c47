//! Python's `ssl`, which is OpenSSL, as the other side: it shares nothing with rustls.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::support::{Authority, Echo, LONG, next_outcome, pattern};
use crate::untimed::{untimed, untimed_client, untimed_server};
use framewire::{ClientError, ProxyError};

/// The script as a process, which is killed when this is dropped.
struct Python(Child);

impl Python {
    fn run(arguments: &[&str]) -> Self {
        let child = Command::new("python3")
            .args(["-c", include_str!("openssl.py")])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("these tests need python3, for its OpenSSL"))
    }

    fn output(&mut self) -> BufReader<&mut std::process::ChildStdout> {
        BufReader::new(self.0.stdout.as_mut().unwrap())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It has ended by itself where all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Files of this process that are removed when this is dropped.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("framewire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, content) in files {
            std::fs::write(folder.join(file), content).unwrap();
        }
        Self(folder)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_openssl_client_speaks_with_the_loop() {
    let authority = Authority::new();
    let files = Files::new("client", &[("root.pem", &authority.pem())]);
    let (server, seen) = Echo::over(authority.server(), untimed());
    let port = server.address.port().to_string();
    for version in ["TLSv1.2", "TLSv1.3"] {
        for ending in ["notify", "abrupt"] {
            let mut python =
                Python::run(&["client", &port, version, ending, &files.path("root.pem")]);
            let mut said = String::new();
            python.output().read_to_string(&mut said).unwrap();
            assert_eq!(said.trim(), format!("{version} http/1.1 ok"), "{ending}");
            assert!(python.0.wait().unwrap().success());
            let outcome = next_outcome(&seen);
            assert!(outcome.was_clean(), "{version} {ending}: {outcome:?}");
        }
    }
}

#[test]
fn a_client_speaks_with_an_openssl_server() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let files = Files::new("server", &[("chain.pem", &identity.chain), ("key.pem", &identity.key)]);
    for version in ["TLSv1.2", "TLSv1.3"] {
        for ending in ["notify", "abrupt"] {
            let (chain, key) = (files.path("chain.pem"), files.path("key.pem"));
            let mut python = Python::run(&["server", version, ending, &chain, &key]);
            let mut port = String::new();
            python.output().read_line(&mut port).unwrap();
            let url = format!("wss://127.0.0.1:{}/", port.trim());
            let builder = untimed_client(&url).config(untimed().no_deflate());
            let builder = builder.tls(authority.client()).tls_server_name("localhost");
            let mut client = builder.connect().unwrap();
            client.set_read_timeout(Some(LONG));
            for (seed, size) in [0, 1, 125, 126, 65_536, 1 << 20].into_iter().enumerate() {
                let sent = pattern(size, seed as u32);
                client.send(&sent[..]).unwrap();
                let received = client.recv().unwrap().unwrap();
                assert!(received.as_bytes() == sent, "{version} {ending}: {size} bytes");
            }
            let outcome = client.close(1000, "").unwrap();
            assert!(outcome.was_clean(), "{version} {ending}: {outcome:?}");
            assert!(python.0.wait().unwrap().success());
        }
    }
}

/// A proxy that is reached over TLS, to servers with TLS of their own and without.
#[test]
fn a_client_goes_through_an_openssl_proxy() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let files = Files::new("proxy", &[("chain.pem", &identity.chain), ("key.pem", &identity.key)]);
    let mut python = Python::run(&["proxy", &files.path("chain.pem"), &files.path("key.pem")]);
    let mut told = python.output();
    let mut port = String::new();
    told.read_line(&mut port).unwrap();
    let proxy = |userinfo: &str| format!("https://{userinfo}127.0.0.1:{}", port.trim());
    let (plain, _seen) = Echo::start(untimed_server());
    let (secure, _seen) = Echo::over(authority.server(), untimed());
    for (address, scheme) in [(plain.address, "ws"), (secure.address, "wss")] {
        let builder = || untimed_client(&format!("{scheme}://{address}/")).tls(authority.client());
        let mut client = builder().proxy(&proxy("a:b@")).unwrap().connect().unwrap();
        let mut target = String::new();
        told.read_line(&mut target).unwrap();
        assert_eq!(target.trim(), address.to_string());
        client.set_read_timeout(Some(LONG));
        for (seed, size) in [0, 1, 20_000, 65_536, 3 << 20].into_iter().enumerate() {
            let sent = pattern(size, seed as u32);
            client.send(&sent[..]).unwrap();
            let received = client.recv().unwrap().unwrap();
            assert!(received.as_bytes() == sent, "{scheme}: {size} bytes");
        }
        assert!(client.close(1000, "").unwrap().was_clean(), "{scheme}");

        // What the proxy says, and who the proxy is, is told as its fault.
        let error = builder().proxy(&proxy("")).unwrap().connect().unwrap_err();
        assert!(
            matches!(&error, ClientError::Proxy(error) if error.status() == Some(407)),
            "{error}"
        );
        let stranger = builder().tls(Authority::new().client()).proxy(&proxy("a:b@")).unwrap();
        let error = stranger.connect().unwrap_err();
        assert!(matches!(&error, ClientError::Proxy(ProxyError::Tls(..))), "{error:?}");
        assert!(!error.is_retryable(), "it is not trusted the next time either");
        assert!(error.to_string().contains(port.trim()), "{error}");
    }
}
