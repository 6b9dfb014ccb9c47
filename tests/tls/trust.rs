use framewire::rustls::{AlertDescription, CertificateError};
use framewire::{Client, ClientError, TlsClient, TlsError, TlsServer};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use crate::support::{Authority, Echo, Identity, LONG, Running, Seen, next_outcome};
use crate::untimed::{untimed, untimed_client};

/// Why a client cannot connect, which it is to find out by itself and not by a deadline.
fn refusal(server: &Running, tls: TlsClient, name: &str) -> TlsError {
    let builder = untimed_client(&server.url());
    let error = builder.tls(tls).tls_server_name(name).connect().unwrap_err();
    match error {
        ClientError::Tls(error) => error,
        error => panic!("{error:?}"),
    }
}

fn open(server: &Running, tls: TlsClient, name: &str) -> Client {
    let builder = untimed_client(&server.url());
    let mut client = builder.tls(tls).tls_server_name(name).connect().unwrap();
    client.set_read_timeout(Some(LONG));
    client.send("hello").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("hello"));
    client
}

fn tls_server(identity: &Identity) -> TlsServer {
    TlsServer::from_pem(&identity.chain, &identity.key).unwrap()
}

#[test]
fn the_name_of_the_url_counts() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    // The name, which is resolved to the address, is asked for by SNI; an address cannot be.
    let url = format!("wss://localhost:{}/", server.address.port());
    let mut client = untimed_client(&url).tls(authority.client()).connect().unwrap();
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Seen::Open(Some("localhost".into()), false));
    assert!(client.close(1000, "").unwrap().was_clean());
}

// req: W008
#[test]
fn a_wrong_name_is_refused() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), untimed());
    let error = refusal(&server, authority.client(), "other.example");
    assert!(
        matches!(error.certificate(), Some(CertificateError::NotValidForNameContext { .. })),
        "{error:?}"
    );
    let text = ClientError::Tls(error).to_string();
    assert!(text.contains("other.example") && text.contains("localhost"), "{text}");
    // And the one that fits is not.
    open(&server, authority.client(), "localhost");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    let expired = authority.issue_with(&["localhost"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (server, _seen) = Echo::over(tls_server(&expired), untimed());
    let error = refusal(&server, authority.client(), "localhost");
    assert!(
        matches!(error.certificate(), Some(CertificateError::ExpiredContext { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("expired"), "{error}");

    let early = authority.issue_with(&["localhost"], |params| {
        params.not_before = date_time_ymd(3001, 1, 1);
        params.not_after = date_time_ymd(3002, 1, 1);
    });
    let (server, _seen) = Echo::over(tls_server(&early), untimed());
    let error = refusal(&server, authority.client(), "localhost");
    assert!(
        matches!(error.certificate(), Some(CertificateError::NotValidYetContext { .. })),
        "{error:?}"
    );
}

// req: W008
#[test]
fn an_unknown_root_is_refused() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), untimed());
    // By those who trust somebody else of the same name, and by those who trust the web.
    let web = TlsClient::new();
    for tls in [Authority::new().client(), web.clone()] {
        let error = refusal(&server, tls, "localhost");
        let why = error.certificate();
        // Two authorities of one name differ in their keys only.
        assert!(
            matches!(why, Some(CertificateError::UnknownIssuer | CertificateError::BadSignature)),
            "{error:?}"
        );
    }
    let error = refusal(&server, web.clone(), "localhost");
    assert_eq!(
        ClientError::Tls(error).to_string(),
        "invalid peer certificate: no trusted root has issued it"
    );
    open(&server, web.add_roots_pem(authority.pem()).unwrap(), "localhost");
    // The default is the web.
    let error = untimed_client(&server.url()).connect().unwrap_err();
    assert!(matches!(error, ClientError::Tls(_)), "{error:?}");
    assert!(!error.is_retryable());
}

// req: W008
#[test]
fn the_client_chooses_among_certificates_by_name() {
    let authority = Authority::new();
    let [first, exact, wild] = [
        authority.issue(&["default.example", "127.0.0.1"]),
        authority.issue(&["a.example"]),
        authority.issue(&["*.b.example"]),
    ];
    let tls = tls_server(&first)
        .certificate_for("A.example", &exact.chain, &exact.key)
        .unwrap()
        .certificate_for("*.b.example", &wild.chain, &wild.key)
        .unwrap();
    let (server, seen) = Echo::over(tls, untimed());
    for name in ["a.example", "x.b.example", "default.example", "127.0.0.1"] {
        let mut client = open(&server, authority.client(), name);
        let asked = (name != "127.0.0.1").then(|| name.to_owned());
        assert_eq!(seen.recv_timeout(LONG).unwrap(), Seen::Open(asked, false));
        assert!(client.close(1000, "").unwrap().was_clean());
        assert!(next_outcome(&seen).was_clean());
    }
    // The wild card is one label.
    for name in ["b.example", "x.y.b.example", "c.example"] {
        let error = refusal(&server, authority.client(), name);
        assert!(error.to_string().contains("default.example"), "{name}: {error}");
    }
}

#[test]
fn clients_with_and_without_a_certificate() {
    let servers = Authority::new();
    let clients = Authority::new();
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let known = clients.issue_with(&["somebody"], for_clients);
    let stranger = Authority::new().issue_with(&["somebody"], for_clients);
    let with = |identity: &Identity| {
        servers.client().client_certificate_pem(&identity.chain, &identity.key).unwrap()
    };

    let tls = servers.server().require_client_certificate(clients.pem()).unwrap();
    let (server, seen) = Echo::over(tls, untimed());
    open(&server, with(&known), "localhost");
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Seen::Open(Some("localhost".into()), true));
    // The client has done its part of TLS 1.3 by the time that the server says no. It hears it.
    let error = refusal(&server, servers.client(), "localhost");
    assert_eq!(error.alert(), Some(AlertDescription::CertificateRequired), "{error:?}");
    let error = refusal(&server, with(&stranger), "localhost");
    assert!(error.alert().is_some(), "{error:?}");

    let tls = servers.server().request_client_certificate(clients.pem()).unwrap();
    let (server, seen) = Echo::over(tls, untimed());
    for (tls, is_known) in [(with(&known), true), (servers.client(), false)] {
        let mut client = open(&server, tls, "localhost");
        let name = Some("localhost".into());
        assert_eq!(seen.recv_timeout(LONG).unwrap(), Seen::Open(name, is_known));
        assert!(client.close(1000, "").unwrap().was_clean());
        assert!(next_outcome(&seen).was_clean());
    }
    let error = refusal(&server, with(&stranger), "localhost");
    assert!(error.alert().is_some(), "{error:?}");
}

#[test]
fn what_cannot_be_a_certificate_or_a_key_is_said_so() {
    let authority = Authority::new();
    let [one, other] = [authority.issue(&["localhost"]), authority.issue(&["localhost"])];
    let of = |chain: &str, key: &str| TlsServer::from_pem(chain, key).unwrap_err();
    assert!(matches!(of("", &one.key), TlsError::NoCertificate));
    assert!(matches!(of(&one.key, &one.key), TlsError::NoCertificate));
    assert!(matches!(of(&one.chain, "no key"), TlsError::NoKey));
    let error = of(&one.chain, &other.key);
    assert!(matches!(error, TlsError::Tls(_)) && error.to_string().contains("key"), "{error}");
    let cut = &one.chain[..one.chain.len() / 2];
    assert!(matches!(of(cut, &one.key), TlsError::Pem(_)));
    assert!(matches!(TlsClient::with_roots_pem(""), Err(TlsError::NoCertificate)));
    let missing = std::env::temp_dir().join("no-such-file-of-framewire.pem");
    let error = TlsServer::from_pem_files(&missing, &missing).unwrap_err();
    assert!(error.to_string().contains("no-such-file-of-framewire.pem"), "{error}");
    let folder = std::env::temp_dir().join(format!("framewire-pem-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, &one.chain).unwrap();
    std::fs::write(&key, &other.key).unwrap();
    for (chain, key, named) in [(&chain, &chain, &chain), (&key, &key, &key), (&chain, &key, &key)]
    {
        let error = TlsServer::from_pem_files(chain, key).unwrap_err();
        assert!(matches!(error, TlsError::InFile(..)), "{error:?}");
        assert!(error.to_string().starts_with(named.to_str().unwrap()), "{error}");
    }
    let error = TlsClient::with_roots_pem_file(&key).unwrap_err();
    assert!(error.to_string().starts_with(key.to_str().unwrap()), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
    for name in ["", "*", "*.", "a b", "a.*.example"] {
        let error = authority.server().certificate_for(name, &one.chain, &one.key).unwrap_err();
        assert!(matches!(error, TlsError::ServerName(_)), "{name:?}: {error:?}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    let error = untimed_client(&url).tls_server_name("a b").connect().unwrap_err();
    assert!(matches!(error, ClientError::Tls(TlsError::ServerName(_))), "{error:?}");
}

#[test]
fn the_roots_of_the_platform_do_not_include_ours() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), untimed());
    match TlsClient::with_platform_roots() {
        Ok(tls) => {
            let error = refusal(&server, tls.clone(), "localhost");
            assert_eq!(error.certificate(), Some(&CertificateError::UnknownIssuer));
            open(&server, tls.add_roots_pem(authority.pem()).unwrap(), "localhost");
        }
        // A bare container has none.
        Err(error) => assert!(matches!(error, TlsError::NoPlatformRoots(_)), "{error:?}"),
    }
}
