//! Which instructions of a program are locked read-modify-writes, out of `objdump --disassemble`.
//!
//! On x86 that is every instruction with a `lock` prefix, and `xchg` with memory, which locks without one.

use std::collections::BTreeSet;

/// The addresses of the locked instructions in a listing.
pub(crate) fn locked_instructions(listing: &str) -> BTreeSet<u64> {
    listing.lines().filter_map(locked_at).collect()
}

fn locked_at(line: &str) -> Option<u64> {
    let (address, instruction) = line.trim_start().split_once(":\t")?;
    let instruction = instruction.trim_start();
    let is_locked = instruction.split_whitespace().any(|word| word == "lock");
    let is_exchange = instruction.starts_with("xchg") && instruction.contains('(');
    if !is_locked && !is_exchange {
        return None;
    }
    u64::from_str_radix(address, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_prefixes_and_exchanges_with_memory_count() {
        let listing = "0000000000013ea0 <main>:\n   13ea7:\tlock cmpxchg %rdx,0x41e70(%rip)        # 55d20 <lock>\n   \
                       13eb3:\txchg   %rax,0x41e66(%rip)\n   13eb9:\txchg   %ax,%ax\n   13ebb:\tmov    %rax,(%rdx)\n   \
                       13ebe:\txacquire lock orl $0x0,(%rsp)\n";
        assert_eq!(locked_instructions(listing), BTreeSet::from([0x13ea7, 0x13eb3, 0x13ebe]));
    }
}
