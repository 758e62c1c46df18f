//! The built-in platforms: one value each, in a file of its own that names its sources.

pub(crate) mod cisco_ios;
pub(crate) mod frr;
pub(crate) mod linux;
