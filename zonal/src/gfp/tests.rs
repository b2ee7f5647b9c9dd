//! Flags against tables written from linux-facts 2.1 and 2.2: numbers, zones, and text as kernels print it.

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

#[test]
fn every_bit_has_linux_s_name_and_number() {
    let names = "DMA HIGHMEM DMA32 MOVABLE RECLAIMABLE HIGH IO FS ZERO - DIRECT_RECLAIM KSWAPD_RECLAIM WRITE NOWARN \
                 RETRY_MAYFAIL NOFAIL NORETRY MEMALLOC COMP NOMEMALLOC HARDWALL THISNODE ACCOUNT ZEROTAGS NOLOCKDEP \
                 NO_OBJ_EXT - - - - - -";
    let names: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(names.len(), 32);
    for (bit, name) in names.into_iter().enumerate() {
        let known = Gfp::from_bits(1 << bit);
        assert_eq!(known, Gfp::from_name(name), "bit {bit}");
        assert_eq!(known.is_some(), name != "-", "bit {bit}");
    }
}

/// The numbers that tracers and reports show for them.
#[test]
fn composites_have_linux_s_numbers() {
    let numbers = [
        (Gfp::ATOMIC, 0x820),
        (Gfp::NOWAIT, 0x2800),
        (Gfp::KERNEL, 0xcc0),
        (Gfp::NOIO, 0xc00),
        (Gfp::NOFS, 0xc40),
        (Gfp::USER, 0x10_0cc0),
        (Gfp::HIGHUSER, 0x10_0cc2),
        (Gfp::HIGHUSER_MOVABLE, 0x10_0cca),
        (Gfp::KERNEL_ACCOUNT, 0x40_0cc0),
        (Gfp::TRANSHUGE_LIGHT, 0x1c_20ca),
        (Gfp::TRANSHUGE, 0x1c_24ca),
        (Gfp::RECLAIM, 0xc00),
        (Gfp::DMA, 1),
        (Gfp::DMA32, 4),
    ];
    for (gfp, number) in numbers {
        assert_eq!(gfp.bits(), number, "{gfp}");
        assert_eq!(gfp.forbidden(), 0, "{gfp}");
    }
}

/// linux-facts 2.2, row by row: the number of the bits MOVABLE, DMA32, HIGHMEM, DMA, and the zone, if there is one.
#[test]
fn the_low_bits_name_one_zone() {
    use ZoneKind::{Dma, Dma32, Movable, Normal};
    let zones = [
        Some(Normal),
        Some(Dma),
        Some(Normal), // HIGHMEM: there is none, so Normal
        None,
        Some(Dma32),
        None,
        None,
        None,
        Some(Normal), // MOVABLE alone is a kind, not a zone
        Some(Dma),
        Some(Movable),
        None,
        Some(Dma32),
        None,
        None,
        None,
    ];
    for (bits, zone) in (0..).zip(zones) {
        for others in [Gfp::empty(), Gfp::KERNEL, Gfp::ATOMIC | Gfp::ZERO] {
            let gfp = Gfp::from_bits_retain(bits) | others;
            // What excludes each other is the selectors; MOVABLE goes with each.
            let offending = if zone.is_none() { bits & 0b111 } else { 0 };
            assert_eq!(gfp.forbidden(), offending, "{gfp}");
            if let Some(zone) = zone {
                assert_eq!(gfp.highest_zone(), zone, "{gfp}");
            }
        }
    }
}

#[test]
fn kinds_exclude_each_other() {
    assert_eq!(Gfp::KERNEL.kind(), Kind::Unmovable);
    assert_eq!((Gfp::KERNEL | Gfp::MOVABLE).kind(), Kind::Movable);
    assert_eq!((Gfp::KERNEL | Gfp::RECLAIMABLE).kind(), Kind::Reclaimable);
    let both = Gfp::MOVABLE | Gfp::RECLAIMABLE;
    assert_eq!((Gfp::KERNEL | both).forbidden(), both.bits());
    let unknown = 1 << 9 | 1 << 26 | 1 << 31;
    assert_eq!((Gfp::from_bits_retain(unknown) | both).forbidden(), unknown | both.bits());
    assert_eq!((Gfp::NOFAIL | Gfp::ATOMIC | Gfp::MEMALLOC | Gfp::NOMEMALLOC).forbidden(), 0);
}

#[test]
fn scopes_take_away_what_a_task_must_not_do() {
    let all = Gfp::all().difference(Gfp::RECLAIMABLE);
    assert_eq!(all.within(Scope::empty()), all);
    assert_eq!(all.difference(all.within(Scope::NOIO)), Gfp::IO | Gfp::FS);
    assert_eq!(all.difference(all.within(Scope::NOFS)), Gfp::FS);
    assert_eq!(all.difference(all.within(Scope::PIN)), Gfp::MOVABLE);
    assert_eq!(all.difference(all.within(Scope::BOOT)), Gfp::KERNEL);
    assert_eq!(Gfp::HIGHUSER_MOVABLE.within(Scope::PIN | Scope::NOFS), Gfp::HIGHUSER.difference(Gfp::FS));
    assert_eq!(Gfp::HIGHUSER_MOVABLE.within(Scope::PIN).highest_zone(), ZoneKind::Normal);
    assert_eq!(Gfp::ATOMIC.within(Scope::NOIO | Scope::PIN), Gfp::ATOMIC);
}

/// Lines of kernel logs, and what follows from the order of Linux's table.
#[test]
fn text_as_linux_prints_it() {
    let lines = [
        "0x0()",
        "0x820(GFP_ATOMIC)",
        "0xcc0(GFP_KERNEL)",
        "0xdc0(GFP_KERNEL|__GFP_ZERO)",
        "0xc40(GFP_NOFS)",
        "0x2800(GFP_NOWAIT)",
        "0x800(__GFP_KSWAPD_RECLAIM)",
        "0xc00(GFP_NOIO)",
        "0x1(GFP_DMA)",
        "0xcc4(GFP_KERNEL|GFP_DMA32)",
        "0x100cca(GFP_HIGHUSER_MOVABLE)",
        "0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP)",
        "0x400cc0(GFP_KERNEL_ACCOUNT)",
        "0x500cc0(GFP_USER|__GFP_ACCOUNT)",
        "0x40cc0(GFP_KERNEL|__GFP_COMP)",
        "0xa20(GFP_ATOMIC|0x200)",
        "0x10c0(__GFP_IO|__GFP_FS|__GFP_WRITE)",
        "0x82820(GFP_ATOMIC|__GFP_NOWARN|__GFP_NOMEMALLOC)",
        "0x1d20ca(GFP_TRANSHUGE_LIGHT|__GFP_NORETRY)",
        "0x3c24ca(GFP_TRANSHUGE|__GFP_THISNODE)",
        "0x80000000(0x80000000)",
    ];
    for line in lines {
        let digits: String = line.chars().skip(2).take_while(char::is_ascii_hexdigit).collect();
        let bits = u32::from_str_radix(&digits, 16).unwrap_or_else(|error| panic!("{line}: {error}"));
        let gfp = Gfp::from_bits_retain(bits);
        assert_eq!(gfp.to_string(), line);
        assert_eq!(std::format!("{bits:#x}({})", gfp.names()), line);
    }
}
