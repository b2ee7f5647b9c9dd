//! `zonal proc`: Linux's files about memory, of our allocator, for programs that read a kernel's.
//!
//! The bundled recording is replayed, and what stands then is written: buddyinfo, pagetypeinfo, vmstat and zoneinfo. Programs
//! that take another place for /proc read them there. Figures of page cache, slab and the like are 0. Invariant: all
//! files are of one standstill.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use zonal::{PageAllocator, Platform};

use crate::output::{Format, Verdict, print_json};
use crate::replay;

/// Write buddyinfo, pagetypeinfo, vmstat and zoneinfo as Linux does.
///
/// They show an allocator that has replayed the bundled recording: on the machine that `zonal` replays it on, or on
/// another one. The directory is made if it is not there; files of these names in it are written over.
#[derive(clap::Args, Debug)]
pub(crate) struct ProcArgs {
    /// Where the files go.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Another machine, described in TOML.
    #[arg(long, value_name = "M.toml")]
    machine: Option<PathBuf>,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    buddyinfo: PathBuf,
    pagetypeinfo: PathBuf,
    vmstat: PathBuf,
    zoneinfo: PathBuf,
}

/// `zonal proc`.
pub(crate) fn run(args: &ProcArgs, format: Format) -> Result<Verdict> {
    fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    let written = replay::after_bundled(args.machine.as_deref(), |allocator| args.write(allocator))?;
    match format {
        Format::Json => print_json(&written)?,
        Format::Human => written.list()?,
    }
    Ok(Verdict::Holds)
}

impl ProcArgs {
    fn write<P: Platform>(&self, allocator: &PageAllocator<'_, P>) -> Result<Written> {
        Ok(Written {
            buddyinfo: self.file("buddyinfo", allocator.buddyinfo())?,
            pagetypeinfo: self.file("pagetypeinfo", allocator.pagetypeinfo())?,
            vmstat: self.file("vmstat", allocator.vmstat())?,
            zoneinfo: self.file("zoneinfo", allocator.zoneinfo())?,
        })
    }

    fn file(&self, name: &str, text: impl Display) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text.to_string()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Written {
    fn list(&self) -> Result<()> {
        use std::io::Write;
        let out = &mut std::io::stdout().lock();
        for path in [&self.buddyinfo, &self.pagetypeinfo, &self.vmstat, &self.zoneinfo] {
            writeln!(out, "{}", path.display())?;
        }
        Ok(())
    }
}
