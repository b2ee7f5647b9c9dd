//! The ladder of a request, line by line, before a platform that does what the test says: who is served, down to where,
//! and what is done for it before it fails. Each test has a planted fault that it catches (`zonal/mutants.toml`).

#[path = "../support/mod.rs"]
mod support;

mod apart;
mod classes;
mod daemons;
mod near;
mod protections;
mod rebuilds;
mod reserves;
mod rungs;
mod sets;
mod short;
mod stage;
