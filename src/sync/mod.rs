//! Which objects Git wants, in which order they are applied, and what is left to prune.
pub mod project;
