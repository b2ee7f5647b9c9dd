//! The number of the CPU a thread runs on, cheap enough to be read at the start of every operation.
//!
//! glibc registers an area per thread in which the kernel keeps the number (rseq): reading it is one load. Where that
//! is missing (an older C library, valgrind, a thread that is not registered) the answer comes from `sched_getcpu`.
//! Nothing here locks, allocates or initialises on the way, so a signal handler may call it.

use std::ffi::CStr;
use std::num::NonZeroIsize;

/// Where `struct rseq` keeps `cpu_id`; negative there means "not registered".
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CPU_ID: isize = 4;

/// How this process learns the CPU number. Found once, before any allocator needs it.
#[derive(Clone, Copy, Debug)]
pub struct CpuReader {
    /// Offset of the thread's rseq area from its thread pointer, where there is one. Never 0: that is the C library's
    /// own thread descriptor.
    area: Option<NonZeroIsize>,
}

impl CpuReader {
    /// Asks the C library where its rseq areas are.
    pub fn find() -> Self {
        // SAFETY: glibc documents `__rseq_size` as `const unsigned int`, `__rseq_offset` as `const ptrdiff_t`; both are
        // constant once the program runs.
        let (size, offset) =
            unsafe { (constant::<u32>(c"__rseq_size"), constant::<isize>(c"__rseq_offset")) };
        let registered = size.is_some_and(|size| size > 0);
        Self { area: offset.filter(|_| registered && thread_area::READABLE).and_then(NonZeroIsize::new) }
    }

    /// Where a thread's rseq area is, from its thread pointer.
    pub(crate) fn area(self) -> Option<NonZeroIsize> {
        self.area
    }

    /// The CPU this thread runs on, or 0 where nobody knows.
    #[inline]
    pub fn now(self) -> usize {
        if let Some(area) = self.area {
            // SAFETY: glibc reserves a `struct rseq` at this offset from every thread's thread pointer, so the four
            // bytes of `cpu_id` are readable; `find` saw that it does.
            let number = unsafe { thread_area::load_cpu_id(area.get()) };
            if number as i32 >= 0 {
                return number;
            }
        }
        ask_kernel()
    }
}

#[cold]
fn ask_kernel() -> usize {
    // SAFETY: `sched_getcpu` has no preconditions; it reads the number through the vDSO or a system call.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// The value of a constant the C library exports, or `None` if it has none of that name.
///
/// # Safety
/// A symbol of that name is a `T` that nobody writes.
unsafe fn constant<T: Copy>(name: &CStr) -> Option<T> {
    // SAFETY: the name is NUL-terminated; looking a symbol up in the program's own libraries changes nothing.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.cast::<T>();
    // SAFETY: null is excluded, and the caller vouches for type and constancy.
    (!symbol.is_null()).then(|| unsafe { symbol.read() })
}

#[cfg(target_arch = "x86_64")]
mod thread_area {
    /// Whether [`load_cpu_id`] works here.
    pub(super) const READABLE: bool = true;

    /// Loads `cpu_id` of the area at `area` from the thread pointer, as an unsigned number.
    ///
    /// # Safety
    /// The area is readable in every thread.
    #[inline]
    pub(super) unsafe fn load_cpu_id(area: isize) -> usize {
        let value: usize;
        // SAFETY: `fs` is the thread pointer on x86-64 Linux, and the caller vouches for the bytes. The kernel changes
        // them at any time: one aligned load is atomic, and the block is not `pure`, so it is not merged with another. A load
        // of 32 bits clears those above.
        unsafe {
            core::arch::asm!(
                "mov {value:e}, dword ptr fs:[{area} + {cpu_id}]",
                value = lateout(reg) value,
                area = in(reg) area,
                cpu_id = const super::CPU_ID,
                options(nostack, preserves_flags, readonly),
            );
        }
        value
    }
}

#[cfg(target_arch = "aarch64")]
mod thread_area {
    /// Whether [`load_cpu_id`] works here.
    pub(super) const READABLE: bool = true;

    /// Loads `cpu_id` of the area at `area` from the thread pointer, as an unsigned number.
    ///
    /// # Safety
    /// The area is readable in every thread.
    #[inline]
    pub(super) unsafe fn load_cpu_id(area: isize) -> usize {
        let pointer: *const u8;
        // SAFETY: `tpidr_el0` is the thread pointer on AArch64 Linux; reading it has no effect.
        unsafe {
            core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        // SAFETY: the caller vouches for the bytes. The kernel changes them at any time: the load is volatile and aligned.
        unsafe { pointer.offset(area + super::CPU_ID).cast::<u32>().read_volatile() as usize }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod thread_area {
    /// Whether [`load_cpu_id`] works here.
    pub(super) const READABLE: bool = false;

    /// Never called, as [`READABLE`] says.
    ///
    /// # Safety
    /// None needed.
    pub(super) unsafe fn load_cpu_id(_area: isize) -> usize {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_kernel_on_every_cpu() {
        let reader = CpuReader::find();
        let here = rustix::thread::sched_getaffinity(None).unwrap();
        for cpu in (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| here.is_set(cpu)) {
            let mut only = rustix::thread::CpuSet::new();
            only.set(cpu);
            rustix::thread::sched_setaffinity(None, &only).unwrap();
            assert_eq!(reader.now(), cpu);
            assert_eq!(CpuReader { area: None }.now(), cpu);
        }
        rustix::thread::sched_setaffinity(None, &here).unwrap();
    }

    #[test]
    fn an_unregistered_thread_asks_the_kernel() {
        // A word of the thread's own that holds -1 stands for an area that was never registered.
        thread_local!(static NOT_REGISTERED: i64 = const { -1 });
        let address = NOT_REGISTERED.with(|word| std::ptr::from_ref(word) as isize);
        let pointer: isize;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the first word of the thread descriptor is its own address on x86-64 Linux.
        unsafe {
            core::arch::asm!("mov {}, fs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `tpidr_el0` is the thread pointer on AArch64 Linux; reading it has no effect.
        unsafe {
            core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            pointer = 0;
        }
        if thread_area::READABLE {
            let reader = CpuReader { area: NonZeroIsize::new(address - pointer) };
            let here = rustix::thread::sched_getaffinity(None).unwrap();
            assert!(here.is_set(reader.now()));
        }
    }
}
