//! The decision: one snapshot in, one status and a list of effects out. Pure.
