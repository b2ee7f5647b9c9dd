//! What a request may have and when it may fail, written the slow and obvious way from the description of Linux's contract
//! (linux-facts 2.1, 2.2, 2.5, 2.6, 2.9).
//!
//! A request is a mask in Linux's numbers, an order and who asks. From these follow the highest zone ([`highest_zone`]),
//! the tests it makes of a zone one after the other ([`grants`]), and what has to happen before it may fail
//! ([`failure`]). A zone is given by its figures at one moment ([`ZoneNow`]). It never says which zone serves a request.
//!
//! Invariant: a later grant admits whatever an earlier one admits.
//!
//! ```
//! use zonal_testkit::Class;
//! use zonal_testkit::contract::{Asker, ZoneNow, admitting, mask};
//!
//! let zone =
//!     ZoneNow { free: 1537, marks: [4096, 8290, 12_484], longest: Some(0), ..ZoneNow::default() };
//! let atomic = mask::HIGH | mask::KSWAPD_RECLAIM;
//! assert_eq!(admitting(&[zone], atomic, 0, Asker::default()), Some(0));   // 3/8 of 4096 are left
//! let zone = ZoneNow { free: 1536, ..zone };
//! assert_eq!(admitting(&[zone], atomic, 0, Asker::default()), None);
//! ```

mod failure;
mod grant;
pub mod mask;
mod zone;

pub use failure::{Failure, failure, kills};
pub use grant::{Asker, Grant, Level, grants};
pub use mask::highest_zone;
pub use zone::ZoneNow;

/// The first of these zones that admits the request, by any of its tests: as long as there is one, it must not be
/// refused. The zones are those its mask, its node and its place allow.
pub fn admitting(zones: &[ZoneNow], mask: u32, order: u8, asker: Asker) -> Option<usize> {
    let highest = highest_zone(mask)?;
    let grants = grants(mask, order, asker);
    zones.iter().position(|zone| grants.iter().any(|grant| zone.admits(*grant, highest, order)))
}

#[cfg(test)]
mod tests;
