//! `cargo run --release -p stepping --example step [CASE [HANDLER]]`: interrupts the operations and prints what was found; `-` is all.

use std::error::Error;
use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arg = |nth| std::env::args().nth(nth).filter(|arg| arg != "-");
    let options = stepping::Options { case: arg(1), handler: arg(2), ..stepping::Options::default() };
    let report = stepping::run(&options)?;
    print!("{report}");
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    Err("instructions are stepped on x86-64 Linux only".into())
}
