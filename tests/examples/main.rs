//! The example servers as programs: started, talked to, told to end.

#[cfg(unix)]
mod signals;
