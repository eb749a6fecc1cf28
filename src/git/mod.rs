//! Commits, and the commit that takes a bad one back.
