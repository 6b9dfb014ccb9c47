use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use peer::process;
use rustls::{ClientConfig, HandshakeKind};

use crate::connection::upgrade;
use crate::frames::Frames;
use crate::scenario::Scenario;
use crate::stream::{open_tls, trusting};

/// Every client comes once, with a message, and goes; and then every one comes again, in the same order.
pub(crate) fn measure(scenario: &Scenario, port: u16, pid: u32) -> Result<(), Box<dyn Error>> {
    let frames = Frames::of(scenario);
    let clients: Vec<_> = (0..scenario.connections).map(|_| trusting()).collect();
    // What the server does once is done for a client that is not counted.
    visit(scenario, port, &trusting(), &frames)?;
    let mut costs = [0.0; 2];
    let mut resumed = [0; 2];
    for (cost, resumed) in costs.iter_mut().zip(&mut resumed) {
        let before = process::cpu(pid)?;
        for client in &clients {
            if visit(scenario, port, client, &frames)? == HandshakeKind::Resumed {
                *resumed += 1;
            }
        }
        // The last one's end is the server's work as well.
        std::thread::sleep(Duration::from_millis(50));
        *cost = (process::cpu(pid)? - before).as_secs_f64() * 1e6 / clients.len() as f64;
    }
    let share = |resumed: i32| f64::from(resumed) / clients.len() as f64;
    if resumed[0] > 0 {
        return Err("a client has resumed a session that it cannot have had".into());
    }
    let [first, again] = costs;
    println!(
        "{{\"cpu_us\":{again:.2},\"first_us\":{first:.2},\"resumed\":{:.4}}}",
        share(resumed[1])
    );
    Ok(())
}

fn visit(
    scenario: &Scenario,
    port: u16,
    client: &Arc<ClientConfig>,
    frames: &Frames,
) -> Result<HandshakeKind, Box<dyn Error>> {
    let mut stream = open_tls(port, Arc::clone(client))?;
    upgrade(&mut stream, scenario, 0)?;
    stream.write_all(&frames.bytes[..frames.ends[0]])?;
    let mut answer = vec![0; 2 + scenario.length];
    stream.read_exact(&mut answer)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.conn.handshake_kind().ok_or_else(|| "no handshake".into())
}
