//! What the watches have shown so far: how new each kind was, and which version of each object.
//!
//! Nothing of an object is kept but two numbers: 16 bytes each, whatever its size.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// The newest resourceVersion that was shown, by kind (plural).
///
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<&'static str, u64>>);

impl Seen {
    /// This version of the kind was shown.
    pub fn reached(&self, plural: &'static str, version: u64) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = map.entry(plural).or_insert(0);
        *known = (*known).max(version);
    }

    /// The newest version that was shown; none for a kind that is not watched, or that could not be listed yet.
    #[must_use]
    pub fn newest(&self, plural: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(plural).copied()
    }
}

/// Versions of the objects of one kind, so that a list that comes again tells only what changed meanwhile.
#[derive(Debug, Default)]
pub struct Versions {
    hasher: RandomState,
    known: HashMap<u64, u64>,
    /// During a list: what was in it so far.
    listed: Option<HashSet<u64>>,
}

impl Versions {
    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }

    /// A list begins.
    pub fn begin_list(&mut self) {
        self.listed = Some(HashSet::with_capacity(self.known.len()));
    }

    /// An object in a list, or an event about it: true when this version of it was not known.
    pub fn note(&mut self, namespace: &str, name: &str, version: u64) -> bool {
        let hash = self.hash(namespace, name);
        if let Some(listed) = &mut self.listed {
            listed.insert(hash);
        }
        self.known.insert(hash, version) != Some(version)
    }

    /// An object was deleted.
    pub fn forget(&mut self, namespace: &str, name: &str) {
        let hash = self.hash(namespace, name);
        self.known.remove(&hash);
    }

    /// The list is complete: true when something that was known is not in it.
    pub fn end_list(&mut self) -> bool {
        let Some(listed) = self.listed.take() else { return false };
        let before = self.known.len();
        self.known.retain(|hash, _| listed.contains(hash));
        self.known.len() < before
    }

    /// Is this object known?
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.known.contains_key(&self.hash(namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a list that comes again wakes nobody but for what changed, and what vanished meanwhile is noticed.
    #[test]
    fn lists_that_come_again() {
        let mut versions = Versions::default();
        versions.begin_list();
        assert!(versions.note("shop", "a", 1) && versions.note("shop", "b", 2) && versions.note("other", "a", 3));
        assert!(!versions.end_list());
        assert!(versions.note("shop", "b", 5), "an event with a new version");
        assert!(!versions.note("shop", "b", 5), "the same event twice");
        versions.begin_list();
        assert!(!versions.note("shop", "a", 1) && !versions.note("shop", "b", 5));
        assert!(versions.end_list(), "other/a vanished");
        assert!(!versions.contains("other", "a") && versions.contains("shop", "a"));
        versions.forget("shop", "a");
        versions.begin_list();
        assert!(versions.note("shop", "a", 1), "it was deleted, and is back");
    }

    /// Protects: what was shown once is not forgotten for something older that comes late.
    #[test]
    fn the_newest_counts() {
        let seen = Seen::default();
        seen.reached("services", 7);
        seen.reached("services", 5);
        assert_eq!((seen.newest("services"), seen.newest("gateways")), (Some(7), None));
    }
}
