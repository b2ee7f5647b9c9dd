//! What memory is used for: figures that Linux prints beside the allocator's own and that only the embedder knows.
//!
//! Nothing here counts. An embedder without page cache, slab and the rest leaves everything out, and 0 is printed.

use crate::frame::{NodeId, ZoneId};

macro_rules! stats {
    ($(#[$doc:meta])* $enum:ident: $($name:ident $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $enum {
            $(#[doc = concat!("Linux: `", $text, "`.")] $name,)*
        }

        impl $enum {
            /// All, in the order of Linux's texts.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name Linux prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

stats! {
    /// A figure of a zone, in frames.
    ZoneStat:
    InactiveAnon "nr_zone_inactive_anon",
    ActiveAnon "nr_zone_active_anon",
    InactiveFile "nr_zone_inactive_file",
    ActiveFile "nr_zone_active_file",
    Unevictable "nr_zone_unevictable",
    WritePending "nr_zone_write_pending",
    Mlock "nr_mlock",
    Bounce "nr_bounce",
    Zspages "nr_zspages",
}

stats! {
    /// A figure of a node: frames, or events so far.
    NodeStat:
    InactiveAnon "nr_inactive_anon",
    ActiveAnon "nr_active_anon",
    InactiveFile "nr_inactive_file",
    ActiveFile "nr_active_file",
    Unevictable "nr_unevictable",
    SlabReclaimable "nr_slab_reclaimable",
    SlabUnreclaimable "nr_slab_unreclaimable",
    IsolatedAnon "nr_isolated_anon",
    IsolatedFile "nr_isolated_file",
    WorkingsetNodes "workingset_nodes",
    WorkingsetRefaultAnon "workingset_refault_anon",
    WorkingsetRefaultFile "workingset_refault_file",
    WorkingsetActivateAnon "workingset_activate_anon",
    WorkingsetActivateFile "workingset_activate_file",
    WorkingsetRestoreAnon "workingset_restore_anon",
    WorkingsetRestoreFile "workingset_restore_file",
    WorkingsetNodereclaim "workingset_nodereclaim",
    AnonPages "nr_anon_pages",
    Mapped "nr_mapped",
    FilePages "nr_file_pages",
    Dirty "nr_dirty",
    Writeback "nr_writeback",
    WritebackTemp "nr_writeback_temp",
    Shmem "nr_shmem",
    ShmemHugepages "nr_shmem_hugepages",
    ShmemPmdmapped "nr_shmem_pmdmapped",
    FileHugepages "nr_file_hugepages",
    FilePmdmapped "nr_file_pmdmapped",
    AnonTransparentHugepages "nr_anon_transparent_hugepages",
    VmscanWrite "nr_vmscan_write",
    VmscanImmediateReclaim "nr_vmscan_immediate_reclaim",
    Dirtied "nr_dirtied",
    Written "nr_written",
    ThrottledWritten "nr_throttled_written",
    KernelMiscReclaimable "nr_kernel_misc_reclaimable",
    FollPinAcquired "nr_foll_pin_acquired",
    FollPinReleased "nr_foll_pin_released",
    KernelStack "nr_kernel_stack",
    PageTablePages "nr_page_table_pages",
    SecPageTablePages "nr_sec_page_table_pages",
    IommuPages "nr_iommu_pages",
    Swapcached "nr_swapcached",
    PgpromoteSuccess "pgpromote_success",
    PgpromoteCandidate "pgpromote_candidate",
    PgdemoteKswapd "pgdemote_kswapd",
    PgdemoteDirect "pgdemote_direct",
    PgdemoteKhugepaged "pgdemote_khugepaged",
}

/// Who knows what memory is used for. Called while a report is printed: in whatever context that is.
pub trait Usage {
    /// A zone's figure.
    fn zone(&self, zone: ZoneId, stat: ZoneStat) -> u64 {
        let _ = (zone, stat);
        0
    }

    /// A node's figure.
    fn node(&self, node: NodeId, stat: NodeStat) -> u64 {
        let _ = (node, stat);
        0
    }
}

/// Nobody: every figure is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Usage for Unknown {}
