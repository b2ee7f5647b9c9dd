//! This machine, as the kernel shows it in files.
//!
//! Memory is laid out node after node from frame 0 in whole blocks: sysfs tells sizes, not addresses.

use std::fs;
use std::path::Path;

use zonal::{BLOCK_FRAMES, FRAME_SIZE, MAX_FRAMES, MemoryRange, NodeId};

use super::{MAX_CPUS, MAX_NODES, Machine, MachineError};
use crate::meminfo;

/// Where nodes and CPUs are described.
pub(crate) const DEVICES: &str = "/sys/devices/system";
/// The whole machine's memory.
pub(super) const MEMINFO: &str = "/proc/meminfo";

/// Reads the machine described under `devices`, or one node of `meminfo`'s memory if no node is.
pub(super) fn read(devices: &Path, meminfo: &Path) -> Result<Machine, MachineError> {
    let online = list(&devices.join("cpu/online"))?;
    let cpus = online.iter().max().map_or(0, |highest| highest + 1);
    if cpus > MAX_CPUS {
        return Err(zonal::ConfigError::Cpus { cpus }.into());
    }
    let mut node_of = vec![NodeId(0); cpus];
    let nodes = devices.join("node");
    if !nodes.join("online").exists() {
        return Machine::new(lay_out(&[memory(meminfo)?]), node_of);
    }
    let numbers = list(&nodes.join("online"))?;
    if numbers.len() > MAX_NODES {
        return Err(zonal::ConfigError::Nodes { nodes: numbers.len() }.into());
    }
    let mut sizes = Vec::with_capacity(numbers.len());
    let mut distances = Vec::with_capacity(numbers.len() * numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let directory = nodes.join(format!("node{number}"));
        sizes.push(memory(&directory.join("meminfo"))?);
        distances.extend(row(&directory.join("distance"))?);
        for cpu in list(&directory.join("cpulist"))? {
            if let Some(node) = node_of.get_mut(cpu) {
                *node = NodeId(place as u16);
            }
        }
    }
    Machine::new(lay_out(&sizes), node_of)?.with_distances(distances)
}

/// One range a node, each beginning where the one before ended.
fn lay_out(sizes: &[u64]) -> Vec<MemoryRange> {
    let mut next = 0u64;
    let mut ranges = Vec::with_capacity(sizes.len());
    for (node, bytes) in sizes.iter().enumerate() {
        let frames = (bytes / FRAME_SIZE / BLOCK_FRAMES * BLOCK_FRAMES).min(MAX_FRAMES - next);
        if frames > 0 {
            ranges.push(MemoryRange::new(next, next + frames, node as u16));
        }
        next += frames;
    }
    ranges
}

fn text(path: &Path) -> Result<String, MachineError> {
    fs::read_to_string(path).map_err(|source| MachineError::Read { path: path.to_owned(), source })
}

/// The total of a `meminfo` file.
fn memory(path: &Path) -> Result<u64, MachineError> {
    let text = text(path)?;
    meminfo::bytes(&text, "MemTotal")
        .ok_or_else(|| MachineError::sysfs(path, &text, "a meminfo file with a MemTotal in kB"))
}

/// The numbers of a line such as `10 20 20`.
fn row(path: &Path) -> Result<Vec<u8>, MachineError> {
    let text = text(path)?;
    let row: Result<_, _> = text.split_whitespace().map(str::parse).collect();
    row.map_err(|_| MachineError::sysfs(path, &text, "a row of distances"))
}

/// The numbers of a list such as `0-3,8`, ascending. A range of more numbers than there can be CPUs is refused.
pub(crate) fn list(path: &Path) -> Result<Vec<usize>, MachineError> {
    let text = text(path)?;
    let refused = || MachineError::sysfs(path, &text, "a list of numbers and ranges");
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| refused())?;
        let last: usize = last.parse().map_err(|_| refused())?;
        if last < first || last - first >= MAX_CPUS {
            return Err(refused());
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files below a directory of their own, which goes when the test ends.
    fn files(contents: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in contents {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn nodes_are_numbered_without_gaps() {
        let root = files(&[
            ("cpu/online", "0-2,5\n"),
            ("node/online", "0,2\n"),
            ("node/node0/meminfo", "Node 0 MemTotal:  4096 kB\nNode 0 MemFree: 1 kB\n"),
            ("node/node0/distance", "10 21\n"),
            ("node/node0/cpulist", "0-1\n"),
            ("node/node2/meminfo", "Node 2 MemTotal:  9000 kB\n"),
            ("node/node2/distance", "21 10\n"),
            ("node/node2/cpulist", "2,5\n"),
        ]);
        let machine = read(root.path(), &root.path().join("unused")).unwrap();
        assert_eq!(machine.memory(), [MemoryRange::new(0, 1024, 0), MemoryRange::new(1024, 3072, 1)]);
        assert_eq!(machine.cpus().iter().map(|node| node.0).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 1]);
        assert_eq!(machine.config().topology.distances, [10, 21, 21, 10]);
    }

    #[test]
    fn without_nodes_there_is_one() {
        let root = files(&[("cpu/online", "0\n"), ("meminfo", "MemTotal:  4096 kB\n")]);
        let machine = read(root.path(), &root.path().join("meminfo")).unwrap();
        assert_eq!(machine.memory(), [MemoryRange::new(0, 1024, 0)]);
        assert_eq!(machine.nodes(), 1);
    }

    #[test]
    fn errors_name_file_and_text() {
        let root = files(&[("cpu/online", "0-x\n"), ("meminfo", "MemTotal:  lots\n")]);
        let error = read(root.path(), &root.path().join("meminfo")).unwrap_err().to_string();
        assert!(error.contains("cpu/online") && error.contains("0-x"), "{error}");
        let root = files(&[("cpu/online", "0-4000000000000\n")]);
        assert!(matches!(read(root.path(), root.path()), Err(MachineError::Sysfs { .. })));
        let root = files(&[("cpu/online", "0\n"), ("meminfo", "MemTotal:  lots\n")]);
        let error = read(root.path(), &root.path().join("meminfo")).unwrap_err().to_string();
        assert!(error.contains("meminfo") && error.contains("lots"), "{error}");
        let root = files(&[("cpu/online", "0\n"), ("node/online", "0\n")]);
        let error = read(root.path(), root.path()).unwrap_err().to_string();
        assert!(error.contains("node0/meminfo"), "{error}");
    }
}
