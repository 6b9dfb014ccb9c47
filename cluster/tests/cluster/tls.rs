use std::net::TcpListener;
use std::path::Path;
use std::sync::{Condvar, Mutex, Once};
use std::time::Duration;

use framewire_cluster::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use crate::world::{Node, Redis, config};

/// What the cluster has said, of all tests.
static LOG: Log = Log { lines: Mutex::new(Vec::new()), more: Condvar::new() };

struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    fn begin(&'static self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(self).unwrap();
            log::set_max_level(log::LevelFilter::Info);
        });
    }

    /// Waits for a line that has all of these in it.
    fn says(&self, parts: &[&str]) {
        let has = |lines: &mut Vec<String>| {
            !lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
        };
        let lines = self.lines.lock().unwrap();
        let (lines, waited) =
            self.more.wait_timeout_while(lines, Duration::from_secs(60), has).unwrap();
        assert!(!waited.timed_out(), "{parts:?} is not said: {lines:#?}");
    }
}

impl log::Log for Log {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.lines.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        self.more.notify_all();
    }

    fn flush(&self) {}
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A Redis that speaks TLS alone over TCP, asks for certificates, and has a user; and where it listens.
fn start(authority: &Authority) -> Option<(Redis, String)> {
    LOG.begin();
    // Redis takes no port 0 for one that is free.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (certificate, key) = authority.issue("127.0.0.1");
    let redis = Redis::stopped()?.with(|folder: &Path| {
        let file = |name: &str, content: &str| {
            std::fs::write(folder.join(name), content).unwrap();
            folder.join(name).display().to_string()
        };
        let mut arguments = vec!["--tls-port".to_owned(), port.to_string()];
        for (name, content) in [
            ("--tls-cert-file", &certificate),
            ("--tls-key-file", &key),
            ("--tls-ca-cert-file", &authority.pem()),
        ] {
            arguments.extend([name.to_owned(), file(&name[2..], content)]);
        }
        arguments
    });
    redis.ask(&["ACL", "SETUSER", "ann", "on", ">right", "~framewire:*", "&framewire:*", "+@all"]);
    Some((redis, format!("127.0.0.1:{port}")))
}

fn with_identity(url: String, authority: &Authority) -> Config {
    let (certificate, key) = authority.issue("a node");
    config(url).tls_roots(authority.pem()).tls_identity(certificate, key)
}

#[test]
fn a_redis_with_certificates_of_ones_own_is_spoken_with_by_tls() {
    let authority = Authority::new();
    let Some((_redis, address)) = start(&authority) else { return };
    // One address of two is dead.
    let nodes = [
        format!("rediss://ann:right@{address}"),
        format!("rediss://ann:right@127.0.0.1:1,{address}"),
    ]
    .map(|url| Node::with(with_identity(url, &authority)));
    let [mut writer, mut reader] = nodes.each_ref().map(|node| node.linked_client(""));
    reader.subscribes("room");
    writer.publishes("room", 1);
    assert_eq!(reader.gets("room", 1), [1]);
}

#[test]
fn a_redis_that_somebody_else_vouches_for_is_not_spoken_with() {
    let authority = Authority::new();
    let Some((_redis, address)) = start(&authority) else { return };
    let other = Authority::new();
    let (certificate, key) = authority.issue("a node");
    let wrong = config(format!("rediss://ann:right@{address}"))
        .tls_roots(other.pem())
        .tls_identity(certificate, key);
    let node = Node::with(wrong);
    LOG.says(&["WARN cannot hear Redis", "invalid peer certificate"]);
    let mut client = node.client();
    assert_eq!(client.welcome["linked"], false);
    assert_eq!(client.asks(json!({ "publish": "news", "data": 1 }))["error"]["code"], "away");
}

#[test]
fn a_node_that_has_no_certificate_is_told_so() {
    let authority = Authority::new();
    let Some((_redis, address)) = start(&authority) else { return };
    let node =
        Node::with(config(format!("rediss://ann:right@{address}")).tls_roots(authority.pem()));
    LOG.says(&["WARN cannot hear Redis", "CertificateRequired"]);
    assert!(!node.cluster.is_linked());
}

#[test]
fn a_wrong_password_over_tls_is_told() {
    let authority = Authority::new();
    let Some((redis, address)) = start(&authority) else { return };
    let node = Node::with(with_identity(format!("rediss://ann:wrong@{address}"), &authority));
    LOG.says(&["WARN cannot hear Redis", "Password authentication failed"]);
    let mut client = node.client();
    assert_eq!(client.welcome["linked"], false);
    redis.ask(&["ACL", "SETUSER", "ann", ">wrong"]);
    client.hears(|told| told["linked"] == true);
    client.publishes("room", 1);
}

#[test]
fn what_is_no_certificate_is_an_error_at_once() {
    LOG.begin();
    let error = Config::new("rediss://127.0.0.1").tls_identity("nothing", "nothing").connect();
    assert!(error.is_err(), "{error:?}");
    // And so are certificates without TLS.
    let error = Config::new("redis://127.0.0.1").tls_roots(Authority::new().pem()).connect();
    assert!(error.unwrap_err().to_string().contains("rediss"));
}
