//! How the example servers end: in good order at SIGTERM or SIGINT, at once at the second of them.

use std::io;

use framewire::Handle;

/// Shuts the loop down when a signal comes. Elsewhere than on Unix the system ends the program.
#[cfg(unix)]
pub(crate) fn shut_down_on_signals(handle: Handle) -> io::Result<()> {
    use std::time::Duration;

    use framewire::CloseCode;
    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        let mut deadline = Duration::from_secs(10);
        for _ in signals.forever() {
            // The code and the reason may be sent, so there is no error.
            let _ = handle.shutdown(CloseCode::GOING_AWAY, "the server goes away", deadline);
            deadline = Duration::ZERO;
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn shut_down_on_signals(_: Handle) -> io::Result<()> {
    Ok(())
}
