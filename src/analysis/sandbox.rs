//! A place for foreign parsers and evaluators: their own stack, a deadline, and no panic that reaches us.
//!
//! A thread cannot be killed. One that is late is left behind, and counted until it ends: at [`MAX_LIVE`] nothing
//! more is started, so that they cannot pile up. What runs here must be bounded by its guard; this is the second wall.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Recursive parsers of foreign crates take kilobytes of stack per level in debug builds.
const STACK: usize = 8 * 1024 * 1024;
/// Threads alive at once, late ones included. More than any runtime's workers need at the same moment.
const MAX_LIVE: usize = 64;
/// How long a new thread may wait for a processor before its own deadline begins to run.
const START: Duration = Duration::from_secs(2);

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    /// Too many threads are alive, or the system gives no more.
    #[error("the evaluator is busy")]
    Busy,
    /// The deadline passed.
    #[error("it took too long")]
    Late,
    /// It panicked.
    #[error("the evaluator failed")]
    Broken,
}

/// One of the places for live threads; dropped when its thread ends.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(live: &'static AtomicUsize) -> Option<Self> {
        let more = |now: usize| (now < MAX_LIVE).then_some(now + 1);
        live.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(live))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs `work` on a thread of its own and waits at most `deadline` for it, counted from when the thread runs.
pub(crate) fn run<T, F>(deadline: Duration, work: F) -> Result<T, Stopped>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    run_counted(&LIVE, deadline, work)
}

fn run_counted<T, F>(live: &'static AtomicUsize, deadline: Duration, work: F) -> Result<T, Stopped>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let place = Place::take(live).ok_or(Stopped::Busy)?;
    let (running, runs) = sync_channel(1);
    let (answer, answers) = sync_channel(1);
    let body = move || {
        let _place = place;
        // Nobody waits any more when a send fails; then there is nothing to tell.
        let _ = running.send(());
        let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
    };
    thread::Builder::new().name("sandbox".to_owned()).stack_size(STACK).spawn(body).map_err(|_| Stopped::Busy)?;
    wait(&runs, START)?;
    wait(&answers, deadline)?.map_err(|_| Stopped::Broken)
}

fn wait<T>(from: &Receiver<T>, limit: Duration) -> Result<T, Stopped> {
    from.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => Stopped::Late,
        RecvTimeoutError::Disconnected => Stopped::Broken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, Barrier};

    /// Protects: a panic and a hang in foreign code become values, and a result comes through.
    #[test]
    fn outcomes() {
        let long = Duration::from_secs(20);
        assert_eq!(run(long, || 7), Ok(7));
        assert_eq!(run::<(), _>(long, || panic!("expected in this test")), Err(Stopped::Broken));
        let (open, closed) = sync_channel::<()>(1);
        assert_eq!(run(Duration::from_millis(20), move || closed.recv().is_ok()), Err(Stopped::Late));
        drop(open);
    }

    /// Protects: the process against piled-up threads. The places come back when late threads end.
    #[test]
    fn late_threads_are_bounded() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let gate = Arc::new(Barrier::new(MAX_LIVE + 1));
        for _ in 0..MAX_LIVE {
            let gate = Arc::clone(&gate);
            let late = run_counted(&COUNT, Duration::ZERO, move || gate.wait().is_leader());
            assert_eq!(late, Err(Stopped::Late));
        }
        assert_eq!(run_counted(&COUNT, Duration::from_secs(20), || 1), Err(Stopped::Busy));
        gate.wait();
        while COUNT.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        assert_eq!(run_counted(&COUNT, Duration::from_secs(20), || 1), Ok(1));
    }
}
