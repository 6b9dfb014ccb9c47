//! Runs the cases of an Autobahn fuzzing server: `autobahn_client URL AGENT`; see `autobahn/README.md`.

use std::error::Error;

use framewire::{Client, ClientError};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: autobahn_client URL AGENT")?;
    let agent = arguments.next().unwrap_or_else(|| "framewire".into());
    let count: usize = match Client::connect(&format!("{url}/getCaseCount"))?.recv()? {
        Some(message) => message.as_text().unwrap_or_default().parse()?,
        None => return Err("the fuzzing server named no number of cases".into()),
    };
    for case in 1..=count {
        let client = Client::connect(&format!("{url}/runCase?case={case}&agent={agent}"))?;
        match echo(client) {
            // Many cases break the protocol, or the connection, on purpose; the server judges them.
            Ok(())
            | Err(ClientError::Protocol(_) | ClientError::Lost(_) | ClientError::Send(_)) => {}
            Err(error) => return Err(format!("case {case}: {error}").into()),
        }
    }
    Client::connect(&format!("{url}/updateReports?agent={agent}"))?.recv()?;
    Ok(())
}

fn echo(mut client: Client) -> Result<(), ClientError> {
    while let Some(message) = client.recv()? {
        client.send(message)?;
    }
    Ok(())
}
