//! Sends every message back, over tokio's readiness, a task for each connection: `over_tokio [ADDR]`.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use drivers::Shared;
use framewire::{NonBlocking, Outcome};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9006".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on ws://{}", listener.local_addr()?);
        io::stdout().flush()?;
        let shared = Rc::new(RefCell::new(Shared::new()));
        loop {
            let (socket, _) = listener.accept().await?;
            spawn_local(echo(Socket(socket), Rc::clone(&shared)));
        }
    })
}

async fn echo(socket: Socket, shared: Rc<RefCell<Shared>>) -> io::Result<Outcome> {
    let socket = NonBlocking::with_shutdown(socket, |socket| {
        socket2::SockRef::from(&socket.0).shutdown(Shutdown::Write)
    });
    let mut driver = shared.borrow().connection(socket);
    loop {
        shared.borrow_mut().turn(&mut driver);
        if let Some(outcome) = driver.outcome() {
            return Ok(outcome);
        }
        if driver.has_more() {
            yield_now().await;
            continue;
        }
        let interest = match (driver.is_stopped(), driver.wants_write()) {
            (true, _) => Interest::WRITABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::READABLE,
        };
        let wait = shared.borrow().wait(&driver).unwrap_or(Duration::MAX);
        if let Ok(ready) = timeout(wait, driver.transport().get_ref().0.ready(interest)).await {
            let ready = ready?;
            if ready.is_readable() {
                driver.set_readable();
            }
            if ready.is_writable() {
                driver.set_writable();
            }
        }
    }
}

/// What tokio lets do to a socket without waiting, under the names of the standard library.
struct Socket(TcpStream);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
