/// What is sent, by how many, and how much of it at once.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the server is to do.
    pub(crate) mode: &'static str,
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    pub(crate) length: usize,
    pub(crate) in_flight: usize,
    pub(crate) content: Content,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Echo,
    /// Each message comes back on every connection; the deliveries are counted.
    Broadcast,
    Memory,
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
            "deflate-nct" => {
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
            }
            _ => None,
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
        kind: Kind::Broadcast,
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
    Scenario { name: "mem", title: "memory", kind: Kind::Memory, connections: 10_000, ..ECHO },
    Scenario {
        name: "memzn",
        title: "memory, deflate, each by itself",
        mode: "deflate-nct",
        kind: Kind::Memory,
        connections: 5000,
        length: 1024,
        content: Content::Json,
        ..ECHO
    },
    Scenario {
        name: "memz",
        title: "memory, deflate, takeover",
        mode: "deflate",
        kind: Kind::Memory,
        connections: 5000,
        length: 1024,
        content: Content::Json,
        ..ECHO
    },
];
