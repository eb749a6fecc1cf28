//! At most one replica acts. The others watch, answer probes, and are ready to take over.
//!
//! ```text
//! election (pure) <- lease (I/O: reads, writes, renews) -> Leadership { term, until } -> pass:  begins, or is cut
//!                                                                                     -> fence: each write, as it is sent
//!                                                                                     -> push:  just before the pack goes
//! ```
//! [`Leadership`] ends by the local monotonic clock, whoever else is stuck: nothing has to happen for it to end. An effect
//! that was under way at that moment can still arrive; it carries what it expects to find, and then fails its test.

pub mod election;
pub mod fence;
pub mod lease;

use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use tokio::sync::watch;

/// May this replica act? Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Leadership(Arc<watch::Sender<Term>>);

/// A time in which a replica acts without a break. A pass belongs to the term in which it began.
#[derive(Clone, Copy, Debug)]
struct Term {
    number: u64,
    until: Until,
    sealed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Nobody else is there.
    Always,
    /// As long as the Lease says, on this machine's monotonic clock.
    At(Instant),
    /// Not leading.
    Over,
}

impl Term {
    fn holds(&self) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the age of a lease, on the monotonic clock")]
        let in_time = |at: Instant| Instant::now() < at;
        !self.sealed
            && match self.until {
                Until::Always => true,
                Until::At(at) => in_time(at),
                Until::Over => false,
            }
    }
}

impl Default for Leadership {
    /// The only replica: it always may.
    fn default() -> Self {
        Self::starting(Until::Always)
    }
}

impl Leadership {
    /// One of several replicas: it may not, until it is told.
    #[must_use]
    pub fn standby() -> Self {
        Self::starting(Until::Over)
    }

    fn starting(until: Until) -> Self {
        Self(Arc::new(watch::Sender::new(Term { number: 1, until, sealed: false })))
    }

    /// May this replica act now?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.borrow().holds()
    }

    /// The number of the present term, or of the last one. It grows.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.0.borrow().number
    }

    /// It may until `until`, or, with none, not any more. What was over and begins again is a new term.
    pub fn set(&self, until: Option<Instant>) {
        self.0.send_modify(|term| {
            let held = term.holds();
            term.until = until.map_or(Until::Over, Until::At);
            if !held && term.holds() {
                term.number = term.number.saturating_add(1);
            }
        });
    }

    /// This replica ends: from now on it may nothing.
    pub fn seal(&self) {
        self.0.send_modify(|term| term.sealed = true);
    }

    /// Resolves once this replica is to end.
    pub async fn sealed(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|term| term.sealed).await;
    }

    /// Resolves once this term is over.
    pub async fn over(&self, number: u64) {
        let mut changes = self.0.subscribe();
        loop {
            let term = *changes.borrow_and_update();
            if term.number != number || !term.holds() {
                return;
            }
            match term.until {
                Until::At(at) => tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
                Until::Always | Until::Over => {
                    let _ = changes.changed().await;
                }
            }
        }
    }

    /// Something for each term that begins from now on.
    pub fn begins(&self) -> impl Stream<Item = ()> + Send + 'static {
        let (changes, known) = (self.0.subscribe(), self.term());
        // The sender is kept, so that the stream does not end before its reader.
        futures::stream::unfold((self.clone(), changes, known), |(own, mut changes, known)| async move {
            let term = *changes.wait_for(|term| term.number != known).await.ok()?;
            Some(((), (own, changes, term.number)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use std::time::Duration;

    fn after(milliseconds: u64) -> Option<Instant> {
        #[expect(clippy::disallowed_methods, reason = "what is tested is the clock")]
        let now = Instant::now();
        Some(now + Duration::from_millis(milliseconds))
    }

    /// Protects: the end of a term by the clock alone, also when nobody renews, writes or wakes anybody.
    #[tokio::test]
    async fn a_term_ends_by_itself() {
        let leadership = Leadership::standby();
        assert!(!leadership.holds());
        leadership.set(after(50));
        let term = leadership.term();
        assert!(leadership.holds());
        assert_eq!(leadership.over(term).now_or_never(), None);
        leadership.over(term).await;
        assert!(!leadership.holds());
        assert_eq!(leadership.term(), term, "nobody said anything");
    }

    /// Protects: passes of an older term. A renewal goes on with it; what was over and comes back is another one.
    #[tokio::test]
    async fn terms_are_told_apart() {
        let leadership = Leadership::standby();
        let mut begins = std::pin::pin!(leadership.begins());
        leadership.set(after(60_000));
        let first = leadership.term();
        assert_eq!(begins.next().now_or_never(), Some(Some(())));
        leadership.set(after(120_000));
        assert_eq!((leadership.term(), leadership.over(first).now_or_never()), (first, None));
        leadership.set(None);
        assert_eq!((leadership.holds(), leadership.over(first).now_or_never()), (false, Some(())));
        leadership.set(after(60_000));
        assert_eq!((leadership.term(), leadership.over(first).now_or_never()), (first + 1, Some(())));
        assert_eq!(begins.next().now_or_never(), Some(Some(())));
        assert_eq!(begins.next().now_or_never(), None);
    }

    /// Protects: the end of a process. Whatever its Lease says, it does nothing any more.
    #[tokio::test]
    async fn nothing_after_the_seal() {
        for leadership in [Leadership::default(), Leadership::standby()] {
            let term = leadership.term();
            leadership.seal();
            leadership.sealed().await;
            leadership.over(term).await;
            leadership.set(after(60_000));
            assert!(!leadership.holds());
        }
    }
}
