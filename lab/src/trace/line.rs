//! One line of trace text: perf script, ftrace's `trace` file and `trace-cmd report` all write
//! `task ... time: [system:]name: key=value ...`.
//!
//! An event of the page allocator is known by its name alone, so that any choice of columns before it will do; another
//! entry is known by its time. Reads bytes, for tasks may call themselves anything; never allocates for a good line.

use memchr::memmem;
use zonal::{Order, Pfn};

use super::event::{Entries, Event, Line, Loss, Run};
use super::fault::EventFault;
use super::flags;

/// How the page allocator's events begin.
const PAGE_EVENT: &[u8] = b"mm_page_";
/// Events of the kmem system that are not about single pages; ftrace does not print the system.
const KMEM_EVENTS: [&[u8]; 10] = [
    b"kmalloc",
    b"kmalloc_node",
    b"kfree",
    b"kmem_cache_alloc",
    b"kmem_cache_alloc_node",
    b"kmem_cache_free",
    b"rss_stat",
    b"mm_alloc_contig_migrate_range_info",
    b"mm_setup_per_zone_wmarks",
    b"mm_setup_per_zone_lowmem_reserve",
];
/// ftrace's count of entries.
const HEADER: &[u8] = b"entries-in-buffer/entries-written:";
/// How perf prints records that are no samples.
const PERF_RECORD: &[u8] = b"PERF_RECORD_";

/// Understands one line, without its line feed.
pub(crate) fn parse(line: &[u8]) -> Result<Line, EventFault> {
    if line.first() == Some(&b'#') {
        return header(line);
    }
    if let Some((name, fields)) = page_event(line) {
        return page(name, fields).map(Line::Event);
    }
    if line.starts_with(b"CPU")
        && let Some(loss) = loss(line)
    {
        return Ok(Line::Lost(loss));
    }
    match after_time(line) {
        Some(said) if !said.starts_with(PERF_RECORD) => other(said).map(Line::Event),
        Some(record) => Ok(loss(record).map_or(Line::Nothing, Line::Lost)),
        None => Ok(loss(line).map_or(Line::Nothing, Line::Lost)),
    }
}

fn header(line: &[u8]) -> Result<Line, EventFault> {
    let Some(at) = memmem::find(line, HEADER) else { return Ok(Line::Nothing) };
    let wrong = || EventFault::Header(text(line));
    let counts = tokens(&line[at + HEADER.len()..]).next().ok_or_else(wrong)?;
    let slash = memchr::memchr(b'/', counts).ok_or_else(wrong)?;
    let in_buffer = decimal(&counts[..slash]).ok_or_else(wrong)?;
    let written = decimal(&counts[slash + 1..]).ok_or_else(wrong)?;
    Ok(Line::Header(Entries { in_buffer, written }))
}

/// The page allocator's event in a line: its name and what follows.
fn page_event(line: &[u8]) -> Option<(&[u8], &[u8])> {
    memmem::find_iter(line, PAGE_EVENT).find_map(|at| {
        let starts = at == 0 || matches!(line[at - 1], b' ' | b'\t' | b':');
        let name = &line[at..];
        let end = name.iter().position(|&byte| !(byte.is_ascii_lowercase() || byte == b'_'))?;
        (starts && name[end] == b':').then(|| (&name[..end], &name[end + 1..]))
    })
}

fn page(name: &[u8], fields: &[u8]) -> Result<Event, EventFault> {
    match name {
        b"mm_page_alloc" => alloc(name, fields),
        b"mm_page_free" => Ok(Event::Free(run(name, &Fields::of(name, fields)?)?)),
        _ => Fields::of(name, fields).map(|_| Event::OtherKmem),
    }
}

fn alloc(name: &[u8], fields: &[u8]) -> Result<Event, EventFault> {
    let fields = Fields::of(name, fields)?;
    if fields.page.is_some_and(is_nil) {
        required(name, "order", fields.order)?;
        return Ok(Event::Failure);
    }
    let run = run(name, &fields)?;
    if run.first == Pfn::new(0) {
        return Ok(Event::Failure);
    }
    let migratetype = match fields.migratetype {
        Some(value) => Some(decimal(value).ok_or_else(|| not_a_number(name, "migratetype", value))?),
        None => None,
    };
    Ok(Event::Alloc(run, flags::decode(fields.gfp.unwrap_or_default(), migratetype)))
}

/// An entry that is not about a page: `name: ...` or `system:name: ...`, or a function's name.
fn other(said: &[u8]) -> Result<Event, EventFault> {
    let word = tokens(said).next().unwrap_or_default();
    let Some(name) = word.strip_suffix(b":") else { return Ok(Event::Foreign) };
    let of_kmem = name.strip_prefix(b"kmem:");
    match of_kmem.or_else(|| KMEM_EVENTS.contains(&name).then_some(name)) {
        Some(name) => Fields::of(name, said).map(|_| Event::OtherKmem),
        None => Ok(Event::Foreign),
    }
}

/// What follows the time of an entry, `4657.592015:` or, with a counting clock, `4657592015:`.
fn after_time(line: &[u8]) -> Option<&[u8]> {
    let is_time = |word: &[u8]| {
        let Some(number) = word.strip_suffix(b":") else { return false };
        let dots = number.iter().filter(|&&byte| byte == b'.').count();
        let digits = number.iter().filter(|byte| byte.is_ascii_digit()).count();
        digits > 0 && dots <= 1 && digits + dots == number.len()
    };
    let time = tokens(line).find(|word| is_time(word))?;
    // A subslice of `line`, so the distance of the two starts is its place there.
    let at = time.as_ptr().addr() - line.as_ptr().addr() + time.len();
    Some(line[at..].trim_ascii_start())
}

/// `CPU:1 [LOST 123 EVENTS]`, `CPU:1 [LOST EVENTS]`, `CPU:1 [123 EVENTS DROPPED]`, `PERF_RECORD_LOST lost 123`.
fn loss(line: &[u8]) -> Option<Loss> {
    let lossy = [b"[LOST ".as_slice(), b"EVENTS DROPPED]", b"PERF_RECORD_LOST"];
    if !lossy.iter().any(|mark| memmem::find(line, mark).is_some()) {
        return None;
    }
    let said = memchr::memchr(b'[', line).map_or(line, |bracket| &line[bracket..]);
    let words = || said.split(|byte| b" []:\t".contains(byte)).filter(|word| !word.is_empty());
    let count = words().zip(words().skip(1)).find_map(|(word, next)| match (word, next) {
        (b"LOST" | b"lost", count) => decimal(count),
        (count, b"EVENTS") => decimal(count),
        _ => None,
    });
    let again = memmem::find(line, b"PERF_RECORD_LOST_SAMPLES").is_some();
    Some(count.map_or(Loss::Unknown, if again { Loss::Recounted } else { Loss::Counted }))
}

/// The fields read of an event, as they stand there; orders are checked.
#[derive(Default)]
struct Fields<'l> {
    page: Option<&'l [u8]>,
    pfn: Option<&'l [u8]>,
    order: Option<Order>,
    migratetype: Option<&'l [u8]>,
    gfp: Option<&'l [u8]>,
}

impl<'l> Fields<'l> {
    fn of(event: &[u8], text: &'l [u8]) -> Result<Self, EventFault> {
        let mut fields = Self::default();
        for word in tokens(text) {
            let Some(equals) = memchr::memchr(b'=', word) else { continue };
            let (key, value) = (&word[..equals], &word[equals + 1..]);
            match key {
                b"page" => fields.page = Some(value),
                b"pfn" => fields.pfn = Some(value),
                b"order" => fields.order = Some(order(event, key, value)?),
                b"migratetype" => fields.migratetype = Some(value),
                b"gfp_flags" => fields.gfp = Some(value),
                key if key.ends_with(b"_order") => drop(order(event, key, value)?),
                _ => {}
            }
        }
        Ok(fields)
    }
}

fn run(event: &[u8], fields: &Fields<'_>) -> Result<Run, EventFault> {
    let value = required(event, "pfn", fields.pfn)?;
    let order = required(event, "order", fields.order)?;
    let pfn = number(value).ok_or_else(|| not_a_number(event, "pfn", value))?;
    Run::new(pfn, order).ok_or_else(|| EventFault::PfnTooHigh {
        event: text(event),
        value: text(value),
        order: order.get(),
    })
}

fn required<T>(event: &[u8], field: &'static str, value: Option<T>) -> Result<T, EventFault> {
    value.ok_or_else(|| EventFault::Missing { event: text(event), field })
}

fn order(event: &[u8], key: &[u8], value: &[u8]) -> Result<Order, EventFault> {
    let order = decimal(value).and_then(|order| u8::try_from(order).ok()).and_then(Order::new);
    order.ok_or_else(|| EventFault::Order { event: text(event), field: text(key), value: text(value) })
}

fn not_a_number(event: &[u8], field: &'static str, value: &[u8]) -> EventFault {
    EventFault::NotANumber { event: text(event), field, value: text(value) }
}

/// `(nil)` and `(null)`, or nothing but zeroes.
fn is_nil(page: &[u8]) -> bool {
    matches!(page, b"(nil)" | b"(null)") || number(page.strip_prefix(b"0x").unwrap_or(page)) == Some(0)
}

/// Decimal, or hexadecimal after `0x`.
fn number(word: &[u8]) -> Option<u64> {
    match word.strip_prefix(b"0x") {
        Some(digits) => radix(digits, 16),
        None => decimal(word),
    }
}

fn decimal(word: &[u8]) -> Option<u64> {
    radix(word, 10)
}

fn radix(word: &[u8], radix: u64) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |number, &byte| {
        let digit = u64::from(char::from(byte).to_digit(radix as u32)?);
        number.checked_mul(radix)?.checked_add(digit)
    })
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zonal::Gfp;

    fn run_of(first: u64, order: u8) -> Run {
        Run { first: Pfn::new(first), order: Order::new(order).unwrap() }
    }

    fn said(line: &str) -> Result<Line, String> {
        parse(line.as_bytes()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn perf_script() {
        let line = "  perf 14652 [001]  4657.592015:  kmem:mm_page_alloc: page=0x19983c pfn=0x19983c order=0 \
                    migratetype=0 gfp_flags=GFP_KERNEL";
        assert_eq!(said(line), Ok(Line::Event(Event::Alloc(run_of(0x19983c, 0), Gfp::KERNEL))));
        let line = "perf-exec 14653 [001]  4657.592936:          kmem:mm_page_free: page=0x188cb6 pfn=0x188cb6 order=3";
        assert_eq!(said(line), Ok(Line::Event(Event::Free(run_of(0x188cb6, 3)))));
    }

    #[test]
    fn ftrace_and_decimal_frames() {
        let line = "   a b-1  [001] .....  6.988258: mm_page_alloc: page=0000000050681f44 pfn=523034 order=1 \
                    migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE";
        assert_eq!(said(line), Ok(Line::Event(Event::Alloc(run_of(523_034, 1), Gfp::HIGHUSER_MOVABLE))));
    }

    #[test]
    fn trace_cmd_pads_after_the_name() {
        let line = " cat-201 [000]  6.99: mm_page_free:         page=0xffffea pfn=9546 order=1";
        assert_eq!(said(line), Ok(Line::Event(Event::Free(run_of(9546, 1)))));
    }

    #[test]
    fn failures_by_page_and_by_frame() {
        for page_and_pfn in [
            "page=(nil) pfn=0x0",
            "page=(null) pfn=18446744073709551615",
            "page=0000000000000000 pfn=0x0",
            "page=0x0 pfn=0x12",
            "page=00000000dead0000 pfn=0x0",
            "page=0xffffea0000000000 pfn=0",
        ] {
            let line = format!(
                "x-1 [0] 1.0: mm_page_alloc: {page_and_pfn} order=4 migratetype=0 gfp_flags=GFP_KERNEL"
            );
            assert_eq!(said(&line), Ok(Line::Event(Event::Failure)), "{line}");
        }
    }

    #[test]
    fn every_order_of_every_kmem_event_is_checked() {
        for (line, reason) in [
            ("1.0: mm_page_alloc: page=(nil) pfn=0x0 order=19", "mm_page_alloc: order=19 is outside 0..=18"),
            ("1.0: mm_page_free: page=1 pfn=0x8 order=-1", "mm_page_free: order=-1 is outside 0..=18"),
            (
                "1.0: mm_page_free_batched: page=1 pfn=0x8 order=300",
                "mm_page_free_batched: order=300 is outside 0..=18",
            ),
            ("1.0: mm_page_pcpu_drain: pfn=0x8 order=x", "mm_page_pcpu_drain: order=x is outside 0..=18"),
            (
                "1.0: mm_page_alloc_zone_locked: pfn=0x8 order=19 migratetype=1",
                "mm_page_alloc_zone_locked: order=19 is outside 0..=18",
            ),
            (
                "1.0: mm_page_alloc_extfrag: pfn=0x8 alloc_order=0 fallback_order=20",
                "mm_page_alloc_extfrag: fallback_order=20 is outside 0..=18",
            ),
        ] {
            assert_eq!(said(line), Err(reason.to_owned()));
        }
        let line = "1.0: mm_page_free: page=1 pfn=0x8 order=18";
        assert_eq!(said(line), Ok(Line::Event(Event::Free(run_of(8, 18)))));
    }

    #[test]
    fn acting_events_need_their_fields() {
        for (line, reason) in [
            ("1.0: mm_page_alloc: page=1 order=0", "mm_page_alloc has no pfn"),
            ("1.0: mm_page_alloc: page=(nil) pfn=0x0", "mm_page_alloc has no order"),
            ("1.0: mm_page_free: page=1 pfn=0x8", "mm_page_free has no order"),
            ("1.0: mm_page_free:", "mm_page_free has no pfn"),
            ("1.0: mm_page_free: pfn=0xzz order=0", "mm_page_free: pfn=0xzz is not a number"),
            ("1.0: mm_page_free: pfn= order=0", "mm_page_free: pfn= is not a number"),
            (
                "1.0: mm_page_alloc: page=1 pfn=0x8 order=0 migratetype=m",
                "mm_page_alloc: migratetype=m is not a number",
            ),
            (
                "1.0: mm_page_free: pfn=0xffffffffff order=1",
                "mm_page_free: pfn=0xffffffffff with order 1 ends above 52 address bits",
            ),
        ] {
            assert_eq!(said(line), Err(reason.to_owned()));
        }
    }

    #[test]
    fn other_events_are_told_by_their_time() {
        assert_eq!(said("k-4 [001] ..... 7.325646: mm_compaction_end: a=1"), Ok(Line::Event(Event::Foreign)));
        assert_eq!(said("k-4 [001] ..... 7.325646: do_exit <-sys_exit"), Ok(Line::Event(Event::Foreign)));
        assert_eq!(said("k 4 [001] 7.32: kmem:kfree: call_site=x"), Ok(Line::Event(Event::OtherKmem)));
        assert_eq!(said("k-4 [001] ..... 7325646: kmalloc: order=2"), Ok(Line::Event(Event::OtherKmem)));
        assert_eq!(said("   ffffffff8112 __alloc_pages+0x1 ([kernel.kallsyms])"), Ok(Line::Nothing));
        assert_eq!(said("  ffffffff8112 mm_page_alloc+0x1 ([kernel.kallsyms])"), Ok(Line::Nothing));
        assert_eq!(said(" => mm_page_alloc"), Ok(Line::Nothing));
        assert_eq!(said(""), Ok(Line::Nothing));
        assert_eq!(said("# mm_page_alloc: page=1"), Ok(Line::Nothing));
    }

    #[test]
    fn losses() {
        for (line, loss) in [
            ("CPU:1 [LOST 123 EVENTS]", Loss::Counted(123)),
            ("CPU:0 [LOST EVENTS]", Loss::Unknown),
            ("CPU:3 [17 EVENTS DROPPED]", Loss::Counted(17)),
            ("CPU 3: [EVENTS DROPPED]", Loss::Unknown),
            ("  perf 1 [001] 4657.59: PERF_RECORD_LOST lost 5", Loss::Counted(5)),
            ("PERF_RECORD_LOST_SAMPLES lost 9", Loss::Recounted(9)),
        ] {
            assert_eq!(said(line), Ok(Line::Lost(loss)), "{line}");
        }
        assert_eq!(said("perf 1 [001] 4657.59: PERF_RECORD_COMM: x:1/1"), Ok(Line::Nothing));
    }

    #[test]
    fn headers() {
        let header = |in_buffer, written| Ok(Line::Header(Entries { in_buffer, written }));
        assert_eq!(said("# entries-in-buffer/entries-written: 12/34   #P:2"), header(12, 34));
        assert!(said("# entries-in-buffer/entries-written: 12").is_err());
        assert!(said("# entries-in-buffer/entries-written: x/1").is_err());
        assert_eq!(said("# tracer: nop"), Ok(Line::Nothing));
    }

    #[test]
    fn hostile_bytes_are_no_panic() {
        for line in [
            b"\xff\xfe: mm_page_free: pfn=\xff order=0".as_slice(),
            b"mm_page_",
            b"mm_page_:",
            b"=",
            b":",
            b".",
        ] {
            let _ = parse(line);
        }
    }
}
