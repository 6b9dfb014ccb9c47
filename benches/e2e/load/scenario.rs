/// What is sent, by how many, and how much of it at once.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the server is to do.
    pub(crate) mode: &'static str,
    pub(crate) kind: Kind,
    /// How many are opened; where that is so, behind those that only stand by.
    pub(crate) connections: usize,
    pub(crate) length: usize,
    /// Messages under way on each connection; of [`Kind::Scattered`], on all of them together.
    pub(crate) in_flight: usize,
    pub(crate) content: Content,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Echo,
    /// An answer has the next message sent on another connection, so that each lies idle for long.
    Scattered,
    /// So many messages a second, at times of chance, whether the answers have come or not.
    Paced {
        rate: u32,
    },
    /// Each message comes back on every connection but those that stand by; the deliveries are counted.
    Broadcast {
        standing_by: usize,
    },
    /// Clients come, go, and come back with the tickets of their TLS sessions.
    Resumption,
    Memory,
    /// A client is what is measured: it does so itself.
    Client,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Content {
    Binary,
    Json,
    NonAscii,
}

impl Scenario {
    /// What the request offers.
    pub(crate) fn extensions(&self) -> Option<&'static str> {
        match self.mode {
            "deflate" => Some("permessage-deflate"),
            "deflate-nct" | "bcast-deflate-nct" => {
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
            }
            _ => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.mode == "tls"
    }

    /// What the request of the connection with this number asks for. Those of the path `/crowd` stand by.
    pub(crate) fn path(&self, connection: usize) -> &'static str {
        match self.mode {
            "route" if connection < self.connections => "/few",
            "route" => "/crowd",
            _ => "/chat",
        }
    }
}

const ECHO: Scenario = Scenario {
    name: "",
    title: "",
    mode: "echo",
    kind: Kind::Echo,
    connections: 64,
    length: 20,
    in_flight: 1,
    content: Content::Binary,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "e64", title: "20 B, one at a time", ..ECHO },
    Scenario { name: "e512", title: "20 B, 512 connections", connections: 512, ..ECHO },
    Scenario { name: "p32", title: "20 B, 32 at once", in_flight: 32, ..ECHO },
    Scenario { name: "k1", title: "1 KiB, 8 at once", length: 1024, in_flight: 8, ..ECHO },
    Scenario { name: "k16", title: "16 KiB, 4 at once", length: 16_384, in_flight: 4, ..ECHO },
    Scenario { name: "m1", title: "1 MiB", connections: 4, length: 1 << 20, ..ECHO },
    Scenario {
        name: "a16",
        title: "16 KiB of ASCII text, 4 at once",
        length: 16_384,
        in_flight: 4,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "u16",
        title: "16 KiB of non-ASCII text, 4 at once",
        length: 16_384,
        in_flight: 4,
        content: Content::NonAscii,
        ..ECHO
    },
    Scenario {
        name: "bc1",
        title: "128 B to 1000 connections",
        mode: "bcast",
        kind: Kind::Broadcast { standing_by: 0 },
        connections: 1000,
        length: 128,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "z1n",
        title: "1 KiB JSON, deflate, each by itself",
        mode: "deflate-nct",
        length: 1024,
        in_flight: 8,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "z1c",
        title: "1 KiB JSON, deflate, takeover",
        mode: "deflate",
        length: 1024,
        in_flight: 8,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "z16n",
        title: "16 KiB JSON, deflate, each by itself",
        mode: "deflate-nct",
        length: 16_384,
        in_flight: 4,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "z16c",
        title: "16 KiB JSON, deflate, takeover",
        mode: "deflate",
        length: 16_384,
        in_flight: 4,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "mem",
        title: "10,000 connections",
        kind: Kind::Memory,
        connections: 10_000,
        ..ECHO
    },
    Scenario {
        name: "memzn",
        title: "deflate, each by itself",
        mode: "deflate-nct",
        kind: Kind::Memory,
        connections: 5000,
        length: 1024,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "memz",
        title: "deflate, takeover",
        mode: "deflate",
        kind: Kind::Memory,
        connections: 5000,
        length: 1024,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "many",
        title: "20 B, 19,000 connections in turn",
        kind: Kind::Scattered,
        connections: 19_000,
        in_flight: 64,
        ..ECHO
    },
    Scenario {
        name: "lat",
        title: "128 B, 20,000 a second over 500 connections",
        kind: Kind::Paced { rate: 20_000 },
        connections: 500,
        length: 128,
        ..ECHO
    },
    Scenario {
        name: "zbc",
        title: "1 KiB JSON to 1000 connections, deflate",
        mode: "bcast-deflate-nct",
        kind: Kind::Broadcast { standing_by: 0 },
        connections: 1000,
        length: 1024,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "rbc",
        title: "128 B to the 10 of a route, beside 1000 of another",
        mode: "route",
        kind: Kind::Broadcast { standing_by: 1000 },
        connections: 10,
        length: 128,
        content: Content::Json,
        ..ECHO
    },
    Scenario { name: "tls20", title: "TLS, 20 B, one at a time", mode: "tls", ..ECHO },
    Scenario {
        name: "tls1m",
        title: "TLS, 1 MiB",
        mode: "tls",
        connections: 4,
        length: 1 << 20,
        ..ECHO
    },
    Scenario {
        name: "tlsr",
        title: "TLS, 1000 clients",
        mode: "tls",
        kind: Kind::Resumption,
        connections: 1000,
        ..ECHO
    },
    Scenario { name: "cli20", title: "a client, 20 B, 32 at once", in_flight: 32, ..CLIENT },
    Scenario {
        name: "cli1k",
        title: "a client, 1 KiB, 8 at once",
        length: 1024,
        in_flight: 8,
        ..CLIENT
    },
    Scenario { name: "two-e64", title: "20 B, one at a time, 2 × 32 connections", ..HALF },
    Scenario { name: "two-p32", title: "20 B, 32 at once, the same", in_flight: 32, ..HALF },
    Scenario {
        name: "two-k1",
        title: "1 KiB, 8 at once, the same",
        length: 1024,
        in_flight: 8,
        ..HALF
    },
    Scenario {
        name: "two-k16",
        title: "16 KiB, 4 at once, the same",
        length: 16_384,
        in_flight: 4,
        ..HALF
    },
];

const CLIENT: Scenario = Scenario { mode: "client", kind: Kind::Client, connections: 1, ..ECHO };

/// The load of one of two generators.
const HALF: Scenario = Scenario { mode: "loops", connections: 32, ..ECHO };
