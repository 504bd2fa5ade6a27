//! Bugs that a simulation plants, to prove that its checks find them.
//!
//! Only the crate `backwire-simulation` plants bugs, and has the table of them. Without the feature
//! `planted-bugs` there are none, and the compiler removes what asks for them.

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: core::cell::Cell<Option<&'static str>> = const { core::cell::Cell::new(None) };
}

/// Plants a bug in this thread, instead of the one before.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<&'static str>) {
    PLANTED.set(bug);
}

/// Whether this thread has this bug.
#[cfg(feature = "planted-bugs")]
pub fn has(bug: &str) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this thread has this bug. There are none.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn has(_bug: &str) -> bool {
    false
}
