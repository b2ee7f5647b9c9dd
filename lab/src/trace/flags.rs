//! `gfp_flags` as tracers print and number them, to flags our allocator takes.
//!
//! What decides zone, kind and node is kept; flags about the content (zeroing) are dropped, because the replay measures
//! the allocator and not `memset`. Names and numbers that mean nothing here are passed over. Invariant: the result is
//! never forbidden.

use zonal::Gfp;

/// Flags about what is in the frames, not about which frames.
const CONTENT: Gfp = Gfp::ZERO.union(Gfp::ZEROTAGS);
/// Both kinds that a flag can ask for.
const KINDS: Gfp = Gfp::MOVABLE.union(Gfp::RECLAIMABLE);

/// The flags of a recorded request. Its migratetype decides the kind where the names do not.
pub(super) fn decode(text: &[u8], migratetype: Option<u64>) -> Gfp {
    settle(text.split(|&byte| byte == b'|').filter_map(flag).fold(Gfp::empty(), Gfp::union), migratetype)
}

/// The flags of a request that named these. Its migratetype decides the kind where they do not.
pub(super) fn settle(named: Gfp, migratetype: Option<u64>) -> Gfp {
    let gfp = named.difference(CONTENT);
    let kind = match migratetype {
        Some(1) => Gfp::MOVABLE,
        Some(2) => Gfp::RECLAIMABLE,
        _ => Gfp::empty(),
    };
    if gfp.forbidden() != 0 {
        Gfp::KERNEL.union(kind)
    } else if gfp.intersects(KINDS) {
        gfp
    } else {
        gfp.union(kind)
    }
}

/// One name, with or without the underscores of newer kernels.
pub(super) fn flag(name: &[u8]) -> Option<Gfp> {
    let name = name.strip_prefix(b"__").unwrap_or(name).strip_prefix(b"GFP_")?;
    Some(match name {
        b"ATOMIC" => Gfp::ATOMIC,
        b"KERNEL" => Gfp::KERNEL,
        b"KERNEL_ACCOUNT" => Gfp::KERNEL_ACCOUNT,
        b"NOWAIT" => Gfp::NOWAIT,
        b"NOIO" => Gfp::NOIO,
        b"NOFS" => Gfp::NOFS,
        b"USER" => Gfp::USER,
        b"HIGHUSER" => Gfp::HIGHUSER,
        b"HIGHUSER_MOVABLE" => Gfp::HIGHUSER_MOVABLE,
        b"TEMPORARY" => Gfp::KERNEL.union(Gfp::RECLAIMABLE),
        b"TRANSHUGE" => Gfp::TRANSHUGE,
        b"TRANSHUGE_LIGHT" => Gfp::TRANSHUGE_LIGHT,
        single => return Gfp::from_name(std::str::from_utf8(single).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_old_and_new_kernels() {
        assert_eq!(
            decode(b"GFP_HIGHUSER_MOVABLE|__GFP_COMP", Some(1)),
            Gfp::HIGHUSER_MOVABLE.union(Gfp::COMP)
        );
        assert_eq!(decode(b"GFP_KERNEL|GFP_NOWARN", Some(0)), Gfp::KERNEL.union(Gfp::NOWARN));
        assert_eq!(decode(b"GFP_DMA32", None), Gfp::DMA32);
        assert_eq!(decode(b"GFP_NOFS|__GFP_RECLAIMABLE", Some(2)), Gfp::NOFS.union(Gfp::RECLAIMABLE));
        assert_eq!(decode(b"GFP_TRANSHUGE_LIGHT|__GFP_THISNODE", Some(1)).kind(), zonal::Kind::Movable);
    }

    #[test]
    fn content_flags_are_dropped() {
        assert_eq!(decode(b"GFP_KERNEL|__GFP_ZERO|__GFP_ZEROTAGS", Some(0)), Gfp::KERNEL);
    }

    #[test]
    fn the_migratetype_decides_where_names_do_not() {
        assert_eq!(decode(b"0x2000000|__GFP_NEWER", Some(1)), Gfp::MOVABLE);
        assert_eq!(decode(b"", Some(2)), Gfp::RECLAIMABLE);
        assert_eq!(decode(b"GFP_KERNEL", Some(5)), Gfp::KERNEL);
    }

    #[test]
    fn flags_that_exclude_each_other_leave_the_migratetype() {
        assert_eq!(decode(b"__GFP_MOVABLE|__GFP_RECLAIMABLE", Some(2)), Gfp::KERNEL.union(Gfp::RECLAIMABLE));
        assert_eq!(decode(b"GFP_DMA|GFP_DMA32", None), Gfp::KERNEL);
    }
}
