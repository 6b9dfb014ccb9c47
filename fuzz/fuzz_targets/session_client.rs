//! A client's whole connection: any stream of a server, any application.

#![no_main]

use framewire::Role;
use framewire_fuzz::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|session: Session<'_>| session.check(Role::Client));
