//! The restartable sequences of every processor that has some, compiled and assembled, whichever of them this machine is: the
//! shipping files around a core library of a few lines ([`SHIM`]), so that no target has to be installed.
//!
//! Takes a nightly compiler, and one that is content with those lines. A sequence with an unknown instruction must not
//! assemble: that is tried out, too. The orderings where the processor has weak ones are [`litmus`]'s.

mod litmus;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{Finished, finish};
use crate::outcome::Outcome;
use crate::workspace::Workspace;

const SHIM: &str = include_str!("shim.rs");
/// The shipping files, and where the shim's crate has them.
const SHIPPING: &str = "zonal/src/cache/hand/sequence";
const BESIDE_SHIM: &str = "cache/hand/sequence";
/// `plain` and `locked`.
const SEQUENCES: usize = 2;
/// Where a sequence ends.
const END: &str = "\"3:\",";

/// A processor's file, its target, and what stands before an abort handler: the signature, as glibc registers it, as bytes.
struct Processor {
    file: &'static str,
    target: &'static str,
    signature: &'static [u8],
    /// The bytes of the handler's jump that are the same wherever it leads, and how many come before them.
    jump: (usize, u8),
}

const PROCESSORS: &[Processor] = &[
    Processor {
        file: "aarch64.rs",
        target: "aarch64-unknown-linux-gnu",
        signature: &[0x00, 0xbc, 0x28, 0xd4],
        jump: (3, 0x14),
    },
    Processor {
        file: "x86_64.rs",
        target: "x86_64-unknown-linux-gnu",
        signature: &[0x53, 0x30, 0x05, 0x53],
        jump: (0, 0xe9),
    },
];

/// Compiles them.
///
/// # Errors
/// If files cannot be read or laid out.
pub(crate) fn run(workspace: &Workspace) -> Result<Outcome> {
    let shim = Shim::lay_out(workspace)?;
    let mut outcome = litmus::run(&shim.place)?;
    for processor in PROCESSORS {
        outcome = outcome.and(shim.check(processor)?);
    }
    Ok(outcome)
}

/// The crate of the shim and the sequences.
struct Shim {
    place: PathBuf,
    shipping: PathBuf,
}

impl Shim {
    fn lay_out(workspace: &Workspace) -> Result<Self> {
        let place = workspace.target_for("sequences");
        let files = place.join(BESIDE_SHIM);
        fs::create_dir_all(&files).with_context(|| format!("creating {}", files.display()))?;
        fs::write(place.join("shim.rs"), SHIM).context("writing the shim")?;
        let this = Self { place, shipping: workspace.path(SHIPPING) };
        this.copy("mod.rs", str::to_owned)?;
        Ok(this)
    }

    /// Copies a shipping file, changed in this way.
    fn copy(&self, file: &str, change: impl Fn(&str) -> String) -> Result<()> {
        let from = self.shipping.join(file);
        let text = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
        fs::write(self.place.join(BESIDE_SHIM).join(file), change(&text)).with_context(|| file.to_owned())
    }

    /// Compiles one processor's, and looks at the signatures in what comes of it.
    fn check(&self, processor: &Processor) -> Result<Outcome> {
        let (object, target) = (self.place.join("shim.o"), processor.target);
        let (_, alone) = self.compile(&["--target", target])?;
        if !alone.is_some_and(|alone| alone.status.success()) {
            return Ok(Outcome::skipped(format!("no nightly compiler here takes the shim for {target}")));
        }
        let sequences = ["--target", target, "--cfg", "sequences"];
        self.copy(processor.file, |text| text.replace(END, &format!("\"no_such_instruction\", {END}")))?;
        let (_, sabotaged) = self.compile(&sequences)?;
        if sabotaged.is_some_and(|sabotaged| sabotaged.status.success()) {
            return Ok(Outcome::failed(format!("{target}: an instruction that there is not was assembled")));
        }
        self.copy(processor.file, str::to_owned)?;
        let (command, compiled) = self.compile(&sequences)?;
        match compiled {
            Some(compiled) if compiled.status.success() => processor.judge(&object),
            Some(compiled) => Ok(Outcome::failed(compiled.account(&command))),
            None => Ok(Outcome::failed(format!("{target}: the compiler cannot be started any more"))),
        }
    }

    /// Compiles the shim to an object; `None` if there is no compiler that could.
    fn compile(&self, arguments: &[&str]) -> Result<(Command, Option<Finished>)> {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "rustc", "--edition=2024", "-Copt-level=3", "--emit=obj"]);
        command.args(arguments).arg("shim.rs").current_dir(&self.place);
        // Set by the cargo that runs this program, for the toolchain it is of.
        command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        let finished = finish(&mut command).ok();
        Ok((command, finished))
    }
}

impl Processor {
    /// Whether the object has as many abort handlers behind their signature as there are sequences.
    fn judge(&self, object: &Path) -> Result<Outcome> {
        let bytes = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
        let found = self.handlers(&bytes);
        if found == SEQUENCES {
            return Ok(Outcome::passed(1));
        }
        let target = self.target;
        Ok(Outcome::failed(format!(
            "{target}: {found} abort handlers stand behind the signature, not {SEQUENCES}"
        )))
    }

    fn handlers(&self, object: &[u8]) -> usize {
        let (before, jump) = self.jump;
        let length = self.signature.len();
        let is_handler =
            |bytes: &&[u8]| bytes.starts_with(self.signature) && bytes.get(length + before) == Some(&jump);
        object.windows(length + before + 1).filter(is_handler).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_stand_right_behind_the_signature() {
        let [aarch64, x86_64] = PROCESSORS else { panic!("two processors") };
        let two = b"\x00\xbc\x28\xd4\x01\x02\x03\x14\x00\xbc\x28\xd4\x00\x00\x00\x14\x00\xbc\x28\xd4\x00\x00";
        assert_eq!(aarch64.handlers(two), 2);
        assert_eq!(aarch64.handlers(b"\x00\xbc\x28\xd5\x01\x02\x03\x14\x00\xbc\x28\xd4\x00\x00\x00\x94"), 0);
        assert_eq!(x86_64.handlers(b"\x0f\xb9\x3d\x53\x30\x05\x53\xe9\0\0\0\0\x53\x30\x05\x53\x90"), 1);
    }
}
