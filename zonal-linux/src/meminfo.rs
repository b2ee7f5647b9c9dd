//! The one line of a `meminfo` file that is asked for, the machine's or a node's.

/// The bytes behind `name` in the text of a `meminfo` file, which counts in KiB.
pub(crate) fn bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once(name)?.1.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What the kernel says can be taken without swapping, or `None` where it does not say.
pub(crate) fn available() -> Option<u64> {
    bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn both_forms() {
        let machine = "MemTotal:       24684096 kB\nMemAvailable:   1 kB\nHugePages_Total:       7\n";
        assert_eq!(bytes(machine, "MemTotal"), Some(24_684_096 << 10));
        assert_eq!(bytes(machine, "MemAvailable"), Some(1 << 10));
        assert_eq!(bytes("Node 3 MemTotal:        4548824 kB\n", "MemTotal"), Some(4_548_824 << 10));
        assert_eq!(bytes(machine, "HugePages_Total"), None);
        assert_eq!(bytes(machine, "SwapTotal"), None);
        assert_eq!(bytes("MemTotal: 99999999999999999 kB", "MemTotal"), None);
    }
}
