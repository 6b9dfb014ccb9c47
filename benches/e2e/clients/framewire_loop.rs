mod measured;

use std::error::Error;

use framewire::handshake::{ClientRequest, Url};
use framewire::{Config, Decision, Handler, IncomingRequest, Message, Peer, Server};
use measured::{Meter, Task};

struct Pipeline {
    task: Task,
    meter: Meter,
    messages: u64,
}

impl Handler for Pipeline {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        for payload in &self.task.payloads {
            peer.send(payload);
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let in_flight = self.task.payloads.len();
        let payload = &self.task.payloads[self.messages as usize % in_flight];
        assert!(
            self.messages >= 10_000 || message == Message::from(payload),
            "an answer is not what was sent"
        );
        self.messages += 1;
        peer.send(payload);
        // The clock is read as often as the other clients read it.
        if self.messages.is_multiple_of(in_flight as u64)
            && self.meter.is_over(self.messages).expect("the process is there")
        {
            std::process::exit(0);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let task = Task::new()?;
    let address = ([127, 0, 0, 1], task.port).into();
    let request = ClientRequest::new(&Url::parse(&format!("ws://{address}/"))?);
    let meter = task.meter();
    let handler = Pipeline { task, meter, messages: 0 };
    let mut event_loop = Server::unbound().into_event_loop(handler)?;
    event_loop.peers().connect(address, request, &Config::new(), ())?;
    event_loop.run()?;
    Ok(())
}
