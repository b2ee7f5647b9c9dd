//! `cargo run --release -p stepping --example step [CASE]`: interrupts the operations and prints what was found.

use std::error::Error;
use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = stepping::Options { case: std::env::args().nth(1), ..stepping::Options::default() };
    let report = stepping::run(&options)?;
    print!("{report}");
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    Err("instructions are stepped on x86-64 Linux only".into())
}
