//! Calls of clients that want an answer: Vite's `vite:invoke`.

use serde_json::{Value, json};

use super::hmr::{Hmr, Listener};

/// Answers calls by the function, which gets the name and the arguments, until the listener is taken
/// [off](Hmr::off). A call without an id, or with one that is none of a call, is ignored. Clients wait 60 s.
pub(crate) fn answer<T: 'static>(
    hmr: &Hmr<T>,
    function: impl Fn(&str, &[Value]) -> Result<Value, String> + Send + Sync + 'static,
) -> Listener<T> {
    let listener = Listener::new(move |call: &Value, client| {
        let Some(id) = call["id"].as_str().and_then(|id| id.strip_prefix("send:")) else { return };
        let name = call["name"].as_str().unwrap_or_default();
        let arguments = call["data"].as_array().map_or(&[][..], Vec::as_slice);
        let data = match function(name, arguments) {
            Ok(result) => json!({ "result": result }),
            Err(message) => json!({ "error": { "name": "Error", "message": message } }),
        };
        let answer = json!({ "id": format!("response:{id}"), "name": name, "data": data });
        client.send_event("vite:invoke", &answer);
    });
    hmr.on("vite:invoke", &listener);
    listener
}
