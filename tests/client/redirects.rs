//! attack: HC06

use std::io::Write;

use framewire::{ClientError, RedirectError};

use super::support::*;

/// Answers each request with the redirect that is its turn, and gives back the requests.
fn redirecting(locations: Vec<String>) -> Scripted<Vec<String>> {
    Scripted::new(move |listener| {
        let answer = |location: String| {
            let mut stream = accept(listener);
            let request = read_head(&mut stream);
            let response =
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(response.as_bytes()).unwrap();
            request
        };
        locations.into_iter().map(answer).collect()
    })
}

/// A page that wants a cookie before it lets anybody in.
#[test]
fn a_cookie_that_a_redirect_sets_is_sent_back() {
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        read_head(&mut stream);
        let answer = b"HTTP/1.1 302 Found\r\nLocation: /in\r\nSet-Cookie: pass=1; Path=/\r\n\
            Content-Length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
        upgrade(&mut accept(listener))
    });
    let builder = untimed_client(&server.url("/")).redirects(1).header("Cookie", "a=b").unwrap();
    let client = builder.connect().unwrap();
    assert_eq!(header(&server.join(), "Cookie"), Some("a=b; pass=1"));
    drop(client);
}

#[test]
fn redirects_are_answers_unless_they_are_asked_for() {
    let server = redirecting(vec!["/b".into()]);
    let error = refused(untimed_client(&server.url("/a")));
    assert_eq!(error.status(), Some(302));
    assert!(!error.is_retryable());
    assert_eq!(server.join().len(), 1);
}

#[test]
fn a_redirect_leads_to_another_origin_without_credentials() {
    let target = Scripted::new(|listener| upgrade(&mut accept(listener)));
    let server = redirecting(vec!["../b?c".into(), target.url("/d")]);
    let url = server.url("/x/y").replace("ws://", "ws://user:pass@");
    let builder = untimed_client(&url).redirects(2);
    let builder = builder.header("Cookie", "a=1").unwrap().header("X-Kept", "yes").unwrap();
    let client = builder.subprotocols(Vec::<String>::new()).unwrap().connect().unwrap();

    let asked = server.join();
    let last = target.join();
    drop(client);
    assert!(asked[0].starts_with("GET /x/y HTTP/1.1\r\n"));
    assert!(asked[1].starts_with("GET /b?c HTTP/1.1\r\n"));
    assert!(last.starts_with("GET /d HTTP/1.1\r\n"));
    for request in &asked {
        assert_eq!(header(request, "Authorization"), Some("Basic dXNlcjpwYXNz"));
        assert_eq!(header(request, "Cookie"), Some("a=1"));
    }
    for name in ["Authorization", "Cookie"] {
        assert_eq!(header(&last, name), None);
    }
    assert_eq!(header(&last, "X-Kept"), Some("yes"));
    let keys = [&asked[0], &asked[1], &last].map(|request| header(request, "Sec-WebSocket-Key"));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{keys:?}");
}

#[test]
fn a_loop_of_redirects_ends_after_ten() {
    for (asked, followed) in [(1, 1), (10, 10), (255, 10)] {
        let server = redirecting(vec!["/again".into(); followed + 1]);
        let error = refused(untimed_client(&server.url("/")).redirects(asked));
        assert!(matches!(error, ClientError::TooManyRedirects), "{error:?}");
        assert_eq!(server.join().len(), followed + 1);
    }
}

#[test]
fn redirects_to_where_nobody_may_send_a_client() {
    let cases = [
        ("ftp://127.0.0.1/", "scheme \"ftp\""),
        ("ws://127.0.0.1:0/", "port \"0\""),
        ("ws+unix:/run/secret.sock:/", "Unix socket"),
    ];
    for (location, expected) in cases {
        let server = redirecting(vec![location.into()]);
        let error = refused(untimed_client(&server.url("/")).redirects(5));
        assert!(matches!(error, ClientError::Redirect(_)), "{location}: {error:?}");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        assert!(!error.is_retryable());
        server.join();
    }
    let server = redirecting(vec!["ws+unix:/run/secret.sock".into()]);
    let error = refused(untimed_client(&server.url("/")).redirects(5));
    assert!(matches!(error, ClientError::Redirect(RedirectError::UnixSocket)), "{error:?}");
    server.join();
}
