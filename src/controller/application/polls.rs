//! What is remembered of looks at branches, so that a Git server is asked no more often than it should be: each interval
//! while it answers, and not by every pass while it does not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::source::{Branch, interval};
use crate::api::application::Application;
use crate::git::client::{FetchError, PushError};
use crate::git::revision::CommitId;

/// A sync that failed is tried again after this at the latest, however long the interval is: an hour's interval says how
/// old the cluster may be, not how long a server's short outage shall last.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a branch is looked at for. Each remembers by itself, because their credentials differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To apply its tip.
    Sync,
    /// To push a revert onto it.
    WriteBack,
}

/// Why a Git server gave no answer, in words, with the reason for either kind of condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Reason for the condition `Fetched`.
    pub fetched: &'static str,
    /// Reason for a write-back.
    pub write_back: &'static str,
    /// In words.
    pub message: String,
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self { fetched: error.reason(), write_back: error.write_back_reason(), message: error.to_string() }
    }
}

impl From<PushError> for Failed {
    fn from(error: PushError) -> Self {
        Self { fetched: crate::api::condition::application::UNREACHABLE, write_back: error.reason(), message: error.to_string() }
    }
}

/// When each Application's branch was last looked at, and what came of it.
#[derive(Debug, Default)]
pub struct Polls(Mutex<HashMap<(String, String, Purpose), Poll>>);

#[derive(Clone, Debug)]
struct Poll {
    at: Instant,
    /// How long it counts.
    counts: Duration,
    seen: Seen,
    outcome: Result<CommitId, Failed>,
}

/// Under what a branch was looked at. A mirror is shared by all who use its remote, so a tip is worth something only to
/// who fetched it with the same address and the same credentials; and who mended either is not told of an old failure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: Option<String>,
    generation: Option<i64>,
    secret: Option<String>,
    /// While another replica was the leader, it may have deployed a newer tip than the one known here.
    term: u64,
}

impl Seen {
    fn of(app: &Application, branch: &Branch) -> Self {
        Self { uid: app.uid(), generation: app.metadata.generation, secret: branch.secret.clone(), term: branch.term }
    }
}

impl Polls {
    /// What came of the last look, while that counts, for this very Application and generation of its spec, with the
    /// credentials as they are now.
    #[must_use]
    pub fn known(&self, app: &Application, branch: &Branch, purpose: Purpose, now: Instant) -> Option<Result<CommitId, Failed>> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let poll = map.get(&key(app, purpose))?;
        let counts = now.saturating_duration_since(poll.at) < poll.counts && poll.seen == Seen::of(app, branch);
        counts.then(|| poll.outcome.clone())
    }

    /// A look that began at `began` ended now. Its success counts for the interval of the Application; its failure for
    /// `pause`, and at least as long as it took: a server that hangs does not get all of our time.
    pub fn note(
        &self,
        app: &Application,
        branch: &Branch,
        purpose: Purpose,
        outcome: Result<CommitId, Failed>,
        pause: Duration,
        (began, now): (Instant, Instant),
    ) {
        let counts = match outcome {
            Ok(_) => interval(app),
            Err(_) => pause.max(now.saturating_duration_since(began)),
        };
        let poll = Poll { at: now, counts, seen: Seen::of(app, branch), outcome };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(app, purpose), poll);
    }

    /// Look again at the next pass.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for purpose in [Purpose::Sync, Purpose::WriteBack] {
            map.remove(&(namespace.to_owned(), name.to_owned(), purpose));
        }
    }
}

/// After which time a sync that failed to fetch tries again.
#[must_use]
pub fn pause(app: &Application) -> Duration {
    interval(app).min(LONGEST_PAUSE)
}

fn key(app: &Application, purpose: Purpose) -> (String, String, Purpose) {
    (app.metadata.namespace.clone().unwrap_or_default(), app.metadata.name.clone().unwrap_or_default(), purpose)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::git::client::{Access, Client, Limits, RemoteUrl};

    fn app(generation: i64, interval: &str) -> Application {
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "1", "generation": generation},
            "spec": {
                "source": {
                    "repoURL": "https://git.example/shop.git", "revision": {"branch": "main"}, "path": ".", "interval": interval,
                },
                "destination": {"namespace": "shop", "serviceAccountName": "deployer"},
            },
        }))
        .unwrap()
    }

    fn branch(secret: &str) -> Branch {
        let url = RemoteUrl::parse("https://git.example/shop.git", false).unwrap();
        Branch {
            mirror: Client::new(std::path::Path::new("/nonexistent"), Limits::default()).mirror(&url),
            access: Arc::new(Access::anonymous()),
            name: "main".parse().unwrap(),
            path: "apps".parse().unwrap(),
            secret: Some(secret.to_owned()),
            term: 1,
        }
    }

    fn failed() -> Result<CommitId, Failed> {
        Err(FetchError::Timeout.into())
    }

    /// Protects: Git servers from being asked by every pass, and people from waiting longer than the interval, or than a
    /// minute, for a server that is back.
    #[test]
    fn how_long_an_outcome_counts() {
        #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
        let start = Instant::now();
        let second = Duration::from_secs;
        let tip = Ok(CommitId::from_bytes([7; 20]));
        // Interval, outcome, how long the look took, for how many seconds from its end on it counts.
        for (interval, outcome, took, counts) in [
            ("10s", tip.clone(), 5, 10),
            ("1h", tip.clone(), 5, 3600),
            ("10s", failed(), 0, 10),
            ("1h", failed(), 0, 60),
            ("1h", failed(), 120, 120),
        ] {
            let (polls, app) = (Polls::default(), app(1, interval));
            let end = start + second(took);
            polls.note(&app, &branch("a"), Purpose::Sync, outcome.clone(), pause(&app), (start, end));
            let known = |at: Instant| polls.known(&app, &branch("a"), Purpose::Sync, at);
            let last = end + second(counts) - Duration::from_millis(1);
            assert_eq!((known(end), known(last)), (Some(outcome.clone()), Some(outcome)), "{interval} {took}");
            assert_eq!(known(end + second(counts)), None, "{interval} {took}");
        }
    }

    /// Protects: whoever mended spec or credentials from being told of what was before, and each purpose from the other's
    /// credentials.
    #[test]
    fn for_whom_an_outcome_counts() {
        #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
        let now = Instant::now();
        let polls = Polls::default();
        polls.note(&app(1, "1h"), &branch("a"), Purpose::Sync, failed(), Duration::from_secs(5), (now, now));
        assert_eq!(polls.known(&app(1, "1h"), &branch("a"), Purpose::Sync, now), Some(failed()));
        assert_eq!(polls.known(&app(2, "1h"), &branch("a"), Purpose::Sync, now), None);
        assert_eq!(polls.known(&app(1, "1h"), &branch("b"), Purpose::Sync, now), None);
        assert_eq!(polls.known(&app(1, "1h"), &branch("a"), Purpose::WriteBack, now), None);
        assert_eq!(polls.known(&app(1, "1h"), &Branch { term: 2, ..branch("a") }, Purpose::Sync, now), None);
        polls.forget("shop", "shop");
        assert_eq!(polls.known(&app(1, "1h"), &branch("a"), Purpose::Sync, now), None);
    }
}
