//! From the loop of Rollouts to the loop of AnalysisRuns: which measurements a Rollout waits for. Only a hint about what to
//! write soon; whoever starts anew without it hears of it with the next look at the Rollout.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::queue::{Key, Wakes, Why};

/// By uid of the run: since when usable measurements are waited for.
#[derive(Debug, Default)]
pub struct Wanted {
    since: Mutex<HashMap<String, Timestamp>>,
    wakes: Mutex<Option<Wakes>>,
}

impl Wanted {
    /// Whom to wake when something is wanted.
    pub fn connect(&self, runs: Wakes) {
        *self.wakes.lock().unwrap_or_else(PoisonError::into_inner) = Some(runs);
    }

    /// Measurements of this run that began at `since` or later are waited for.
    pub fn ask(&self, namespace: &str, run: &str, uid: &str, since: Timestamp) {
        let mut map = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if map.insert(uid.to_owned(), since) != Some(since)
            && let Some(wakes) = &*self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
        {
            wakes.wake(Key::new(namespace, run), Why::Event);
        }
    }

    /// Since when measurements of this run are waited for.
    #[must_use]
    pub fn since(&self, uid: &str) -> Option<Timestamp> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied()
    }

    /// The run has ended.
    pub fn forget(&self, uid: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
