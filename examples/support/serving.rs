//! How the example servers run: they say where they listen, end in good order, and report.

#[path = "signals.rs"]
mod signals;

use std::io::{self, Write};

use framewire::{EventLoop, Handler};

/// Prints the address as a URL of this scheme and serves until a signal comes.
pub(crate) fn run<H: Handler>(scheme: &str, mut event_loop: EventLoop<H>) -> io::Result<()> {
    let address = event_loop.local_addr()?;
    signals::shut_down_on_signals(event_loop.handle())?;
    // Last: whoever waits for this line may send a signal next.
    println!("listening on {scheme}://{address}");
    io::stdout().flush()?;
    event_loop.run()?;
    if let Some(report) = event_loop.shutdown_report() {
        println!("{report}");
    }
    Ok(())
}
