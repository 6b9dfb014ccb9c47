//! The pages of the example servers.

use framewire::Response;

/// The style of a page: what all of them have, then its own.
pub(crate) fn style(own: &str) -> Response {
    asset("text/css", [include_str!("page.css"), own].concat())
}

/// The module that says in words how a connection has ended.
pub(crate) fn closing() -> Response {
    asset("text/javascript", include_str!("closing.js"))
}

/// A page or what belongs to it. It may load and run what comes from the same server, and nothing else.
pub(crate) fn asset(kind: &str, text: impl Into<Vec<u8>>) -> Response {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
        img-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    Response::new(200)
        .header("Content-Type", format!("{kind}; charset=utf-8"))
        .and_then(|response| response.header("Content-Security-Policy", policy))
        .and_then(|response| response.header("X-Content-Type-Options", "nosniff"))
        .map_or_else(|_| Response::new(500), |response| response.body(text))
}
