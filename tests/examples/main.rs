//! The example servers as programs: started, talked to, told to end.

mod broadcast;
mod chat;
mod express_like;
mod hmr_channel;
mod house;
mod rooms;
#[cfg(unix)]
mod signals;
#[path = "../untimed.rs"]
mod untimed;
mod upgrade_by_protocol;
mod upload;
