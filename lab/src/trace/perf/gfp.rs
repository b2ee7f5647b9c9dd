//! The bits of `gfp_flags`. Kernels number them differently; each recording says how, in the format of its event, where
//! it lists `{ expression, "name" }` for printing.
//!
//! Only entries of one bit count: the others are sums of those. Invariant: a bit whose flag we do not have means nothing.

use zonal::Gfp;

use super::super::flags;

/// A kernel's bits and our flags.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Bits(Vec<(u64, Gfp)>);

impl Bits {
    /// The bits that a `print fmt:` names.
    pub(super) fn of(print_format: &str) -> Self {
        Self(print_format.split('{').filter_map(entry).collect())
    }

    /// The flags of these bits.
    pub(super) fn flags(&self, bits: u64) -> Gfp {
        let set = self.0.iter().filter(|&(bit, _)| bits & bit != 0);
        set.fold(Gfp::empty(), |flags, &(_, flag)| flags | flag)
    }
}

/// `( unsigned long)(( gfp_t)((((1UL))) << (10))), "__GFP_DIRECT_RECLAIM"}, ...`
fn entry(text: &str) -> Option<(u64, Gfp)> {
    let mut parts = text.split('"');
    let expression = parts.next()?;
    let flag = flags::flag(parts.next()?.as_bytes())?;
    let single = flag.bits().is_power_of_two();
    single.then_some(())?;
    Some((bit(expression)?, flag))
}

/// The one bit of an expression: `1 << (10)`, or `0x400u` as kernels before 6.10 have it.
fn bit(expression: &str) -> Option<u64> {
    let number = |text: &str, radix| {
        let end = text.find(|digit: char| !digit.is_digit(radix)).unwrap_or(text.len());
        u64::from_str_radix(&text[..end], radix).ok()
    };
    let mut shifts = expression.split("<< (").skip(1);
    let mut literals = expression.split("0x").skip(1);
    match (shifts.next(), shifts.next(), literals.next(), literals.next()) {
        (Some(shift), None, None, None) => 1u64.checked_shl(u32::try_from(number(shift, 10)?).ok()?),
        (None, None, Some(literal), None) => number(literal, 16).filter(|bits| bits.is_power_of_two()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_new_and_old_kernels() {
        let new = r#"(REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", {( unsigned long)(( gfp_t)(((((1UL))) << (10))|((((1UL))) << (11)))), "GFP_NOIO"}, {( unsigned long)(( gfp_t)((((1UL))) << (9))), "__GFP_HIGHMEM"}, {( unsigned long)(( gfp_t)((((1UL))) << (24))), "__GFP_NO_OBJ_EXT"}, { 0, ((void *)0) } ) : "none""#;
        assert_eq!(Bits::of(new), Bits(vec![(1 << 9, Gfp::HIGHMEM), (1 << 24, Gfp::NO_OBJ_EXT)]));
        let old = r#"{(unsigned long)((( gfp_t)(0x400u|0x800u))), "GFP_NOIO"}, {(unsigned long)(( gfp_t)0x04u), "GFP_DMA32"}, {(unsigned long)(( gfp_t)0x200u), "__GFP_NOWARN"}"#;
        let bits = Bits::of(old);
        assert_eq!(bits, Bits(vec![(4, Gfp::DMA32), (0x200, Gfp::NOWARN)]));
        assert_eq!(bits.flags(0x204), Gfp::DMA32 | Gfp::NOWARN);
        assert_eq!(bits.flags(0x1_0001), Gfp::empty());
    }

    #[test]
    fn what_is_no_bit_is_no_flag() {
        for text in [
            "",
            "{",
            "{\"",
            "{(1 << (64)), \"__GFP_DMA\"}",
            "{0x6, \"__GFP_DMA\"}",
            "{1 << (x), \"__GFP_DMA\"}",
        ] {
            assert_eq!(Bits::of(text), Bits::default(), "{text}");
        }
    }
}
