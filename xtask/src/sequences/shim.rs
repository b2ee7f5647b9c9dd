//! As much of a core library as the restartable sequences need, and around them what they name of the crate: they compile for
//! a processor whose core library nobody has installed. Not part of `xtask`.

#![feature(auto_traits, decl_macro, lang_items, no_core, rustc_attrs)]
#![no_core]
#![crate_type = "lib"]
#![allow(internal_features)]

extern crate self as core;

#[lang = "pointee_sized"]
pub trait PointeeSized {}
#[lang = "meta_sized"]
pub trait MetaSized: PointeeSized {}
#[lang = "sized"]
pub trait Sized: MetaSized {}
#[lang = "freeze"]
pub auto trait Freeze {}
#[lang = "legacy_receiver"]
pub trait LegacyReceiver {}
#[lang = "copy"]
pub trait Copy: Sized {}

impl<T: PointeeSized> LegacyReceiver for &T {}
impl<T: PointeeSized> Copy for &T {}
impl<T: PointeeSized> Copy for *mut T {}
impl Copy for isize {}
impl Copy for u32 {}
impl Copy for u64 {}

pub mod arch {
    #[rustc_builtin_macro]
    pub macro asm() {}
}

#[rustc_builtin_macro]
macro_rules! concat {
    () => {};
}

pub mod sync {
    pub struct AtomicU64(u64);

    impl AtomicU64 {
        pub fn as_ptr(&self) -> *mut u64 {
            &self.0 as *const u64 as *mut u64
        }
    }
}

pub mod cache {
    pub mod hand {
        use crate::sync::AtomicU64;

        pub enum Try {
            Done,
            Other,
            NotAlone,
            Elsewhere,
            Restarted,
        }

        #[cfg(sequences)]
        mod sequence;

        #[cfg(sequences)]
        #[unsafe(no_mangle)]
        pub unsafe fn plain(at: (isize, &AtomicU64), word: &AtomicU64, from: u64, to: u64) -> Try {
            unsafe { sequence::plain(at, word, from, to) }
        }

        #[cfg(sequences)]
        #[unsafe(no_mangle)]
        pub unsafe fn locked(at: (isize, u32), word: &AtomicU64, from: u64, to: u64) -> Try {
            unsafe { sequence::locked(at, word, from, to) }
        }
    }
}
