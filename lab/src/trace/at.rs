//! Where and when a line of trace text was written: `task-1 [001] ..... 6.988258: name: ...`, in perf script as in ftrace.

/// A CPU and a moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct At {
    /// The CPU's number there.
    pub(crate) cpu: usize,
    /// Microseconds since that machine's clock began.
    pub(crate) micros: u64,
}

impl At {
    /// What a line says. A task may call itself anything without a space in it, so the CPU is the last such word before the time.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let mut cpu = None;
        for word in line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
            if let [b'[', number @ .., b']'] = word
                && let Some(number) = decimal(number)
            {
                cpu = Some(number);
            } else if let (Some(cpu), [time @ .., b':']) = (cpu, word)
                && let Some(micros) = micros(time)
            {
                return Some(Self { cpu: cpu as usize, micros });
            }
        }
        None
    }
}

/// Seconds and six places.
fn micros(time: &[u8]) -> Option<u64> {
    let dot = time.iter().position(|&byte| byte == b'.')?;
    let (seconds, [_, fraction @ ..]) = time.split_at(dot) else { return None };
    (fraction.len() == 6).then_some(())?;
    decimal(seconds)?.checked_mul(1_000_000)?.checked_add(decimal(fraction)?)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_text_say_where_and_when() {
        let at = |cpu, micros| Some(At { cpu, micros });
        let perf = b"       perf-exec 14653 [000]  4657.592131:         kmem:mm_page_alloc: page=0x1e60b4";
        assert_eq!(At::of(perf), at(0, 4_657_592_131));
        assert_eq!(
            At::of(b"   init-1       [001] .....     6.988258: mm_page_alloc: page=0"),
            at(1, 6_988_258)
        );
        // A task called `[7]`.
        assert_eq!(At::of(b" [7]-12 [003] d..1. 0.000001: mm_page_free: page=0"), at(3, 1));
        for unplaced in [&b""[..], b"no CPU 6.988258: x", b"[001] no time: x", b"[001] 6.98: x"] {
            assert_eq!(At::of(unplaced), None);
        }
    }
}
