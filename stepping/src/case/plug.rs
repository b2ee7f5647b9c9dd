//! Rebuilds of the zonelists, and a section that comes and goes. Nobody's frames are in the way but those that handlers take.

use zonal::OnlineType;

use super::{Case, KERNEL, case, new};
use crate::call::Call;
use crate::stage::{Ground, Stage};

/// The same with a section that may be plugged in.
const fn pluggable(case: Case) -> Case {
    Case { ground: Ground::PLUGGABLE, ..case }
}

pub(super) const CASES: &[Case] = &[
    case("rebuild", |stage| {
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Rebuild)
    }),
    pluggable(new("online", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Online(OnlineType::Movable))
    })),
    pluggable(new("offline", |stage| {
        stage.pages.add_memory(Stage::section()).ok()?;
        stage.pages.online_memory(Stage::section(), OnlineType::Kernel).ok()?;
        stage.plugged.set(Stage::section().frames());
        stage.hold(4, KERNEL).into_iter().for_each(|pfn| stage.spare(pfn));
        Some(Call::Offline)
    })),
];
