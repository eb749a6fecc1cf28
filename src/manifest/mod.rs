//! Files from Git into objects, with limits, and the identity of their content. Pure.

pub mod digest;
