//! Which nodes a request may have its frames from, beyond what it says itself: who asks is in a [`cpuset::Cpuset`], and has a
//! [`mempolicy::Mempolicy`].
//!
//! Both are the embedder's values, lent to a request by its [`reach::Context`]; the allocator keeps none of them. Both may
//! change while requests are under way, each by one store of a word with a generation ([`published`]). A request reads them
//! zone by zone and waits for nobody; where it would fail, kill or give up it compares the generations with those that it
//! began with, and begins again if something has changed.

pub(crate) mod cpuset;
pub(crate) mod mempolicy;
pub(crate) mod nodemask;
pub(crate) mod published;
pub(crate) mod reach;
pub(crate) mod turns;
