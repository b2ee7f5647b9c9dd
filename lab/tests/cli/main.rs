//! The program as its users meet it: command lines, files, exit statuses.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bare;
mod caches;
mod conform;
mod machine;
mod oracle;
mod perf_data;
mod proc;
mod recordings;
mod refusals;
mod storm;
mod support;
