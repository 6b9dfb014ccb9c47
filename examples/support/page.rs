//! The pages of the example servers.

use framewire::Response;

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
