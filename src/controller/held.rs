//! What is known and not yet written. Not everything that changes in a status is worth a write of its own: what can wait
//! is kept here until something that cannot wait takes it along, or until its time has come. Whoever starts anew without
//! it looks again; so nothing may be kept here that a look at the cluster would not find.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Times of last writes are dropped when there are this many and they are older than the pace.
const TIDY_AT: usize = 1024;

/// Statuses of one kind, by uid of their object, as far as they are ahead of what is recorded.
#[derive(Debug)]
pub struct Held<S> {
    /// The first thing that can wait does so this long: others often come soon after it.
    first: Duration,
    /// What can wait is written no sooner than this after the last write.
    pace: Duration,
    inner: Mutex<Inner<S>>,
}

#[derive(Debug)]
struct Inner<S> {
    ahead: HashMap<String, Ahead<S>>,
    written: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Ahead<S> {
    /// What it is ahead of.
    recorded: S,
    status: S,
    due: Instant,
}

impl<S: Clone + PartialEq> Held<S> {
    /// Statuses written at this pace.
    #[must_use]
    pub fn new(first: Duration, pace: Duration) -> Self {
        Self { first, pace, inner: Mutex::new(Inner { ahead: HashMap::new(), written: HashMap::new() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status to go on from: what is held, if it was made from what is recorded now; else what is recorded.
    #[must_use]
    pub fn base(&self, uid: &str, recorded: &S) -> S {
        let inner = self.inner();
        let held = inner.ahead.get(uid).filter(|held| held.recorded == *recorded);
        held.map_or(recorded, |held| &held.status).clone()
    }

    /// Keeps a status that can wait. Answers how long it may: zero when it has waited long enough.
    pub fn keep(&self, uid: &str, recorded: &S, status: &S, now: Instant) -> Duration {
        let mut inner = self.inner();
        let due = match inner.ahead.get(uid).filter(|held| held.recorded == *recorded) {
            Some(held) => held.due,
            None => inner.written.get(uid).map_or(now, |written| *written + self.pace).max(now + self.first),
        };
        inner.ahead.insert(uid.to_owned(), Ahead { recorded: recorded.clone(), status: status.clone(), due });
        due.saturating_duration_since(now)
    }

    /// How long what is held for this object may still wait; none when nothing is held.
    #[must_use]
    pub fn waits(&self, uid: &str, recorded: &S, now: Instant) -> Option<Duration> {
        let inner = self.inner();
        let held = inner.ahead.get(uid).filter(|held| held.recorded == *recorded)?;
        Some(held.due.saturating_duration_since(now))
    }

    /// The object's status was written, whole.
    pub fn wrote(&self, uid: &str, now: Instant) {
        let mut inner = self.inner();
        inner.ahead.remove(uid);
        if inner.written.len() >= TIDY_AT {
            inner.written.retain(|_, at| now.saturating_duration_since(*at) < self.pace);
        }
        inner.written.insert(uid.to_owned(), now);
    }

    /// The object is as it is recorded, is gone, or will not change any more.
    pub fn drop_ahead(&self, uid: &str) {
        self.inner().ahead.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const PACE: Duration = Duration::from_secs(3);

    /// Protects: how often what can wait is written. Alone, soon; after a write, at the pace; and what comes while it
    /// waits does not put it off.
    #[test]
    fn pace() {
        let held = Held::new(FIRST, PACE);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(held.waits("a", &0, start), None);
        assert_eq!(held.keep("a", &0, &1, start), FIRST);
        assert_eq!(held.keep("a", &0, &2, at(400)), Duration::from_millis(100));
        assert_eq!((held.base("a", &0), held.waits("a", &0, at(450))), (2, Some(Duration::from_millis(50))));
        assert_eq!(held.keep("a", &0, &3, at(500)), Duration::ZERO);
        held.wrote("a", at(500));
        assert_eq!((held.base("a", &3), held.waits("a", &3, at(500))), (3, None));
        assert_eq!(held.keep("a", &3, &4, at(600)), Duration::from_millis(2900));
        assert_eq!(held.keep("b", &0, &1, at(600)), FIRST, "each object has its own");
        assert_eq!(held.keep("a", &3, &5, at(9000)), Duration::ZERO);
    }

    /// Protects: nothing that was held over a status is taken for one that somebody else wrote meanwhile.
    #[test]
    fn held_over_what_it_was_made_from() {
        let held = Held::new(FIRST, PACE);
        let now = Instant::now();
        held.keep("a", &0, &1, now);
        assert_eq!((held.base("a", &7), held.waits("a", &7, now)), (7, None));
        assert_eq!(held.keep("a", &7, &8, now + PACE), FIRST, "and its time begins anew");
        held.drop_ahead("a");
        assert_eq!(held.base("a", &7), 7);
    }

    /// Protects: memory. Of an object that was written long ago nothing is left.
    #[test]
    fn forgets() {
        let held = Held::new(FIRST, PACE);
        let now = Instant::now();
        for number in 0..3 * TIDY_AT {
            held.wrote(&number.to_string(), now);
        }
        held.wrote("last", now + PACE);
        assert_eq!(held.inner().written.len(), 1);
        held.keep("x", &0, &1, now);
        held.wrote("x", now);
        assert!(held.inner().ahead.is_empty());
    }
}
