//! Errors of the loops, with a bounded category for metrics and events.

use std::future::Future;
use std::time::Duration;

use super::leader::fence::NotLeading;

/// Deadline of one call to the API server. A call that hangs must never hang a loop.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a pass of a loop ended early. The next pass begins anew with what it then sees.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or failed.
    #[error("failed to {what}: {source}")]
    Kube {
        /// What was tried.
        what: String,
        /// What came back.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer within [`CALL_DEADLINE`].
    #[error("failed to {what}: no answer from the API server within {} s", CALL_DEADLINE.as_secs())]
    Deadline {
        /// What was tried.
        what: String,
    },
    /// Something changed between look and act: look again.
    #[error("failed to {what}: it changed meanwhile")]
    Changed {
        /// What was tried.
        what: String,
    },
    /// This replica is not the leader, or not any more: the one that is does it.
    #[error("failed to {what}: this replica is not the leader")]
    NotLeading {
        /// What was tried.
        what: String,
    },
    /// The pass panicked. A defect, but only of this object's pass.
    #[error("a pass panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Anything else, in words.
    #[error("failed to {what}: {why}")]
    Other {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: String,
    },
}

impl Error {
    /// One of a handful of words.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Kube { source, .. } => match status_code(source) {
                Some(403) => "forbidden",
                Some(404) => "not_found",
                Some(409) => "conflict",
                Some(422) => "invalid",
                Some(429) => "throttled",
                Some(500..) => "server",
                Some(_) => "refused",
                None => "unreachable",
            },
            Self::Deadline { .. } => "deadline",
            Self::Changed { .. } => "changed",
            Self::NotLeading { .. } => "not_leading",
            Self::Panicked { .. } => "panic",
            Self::Other { .. } => "other",
        }
    }

    /// Does it only mean that somebody else was faster?
    #[must_use]
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Changed { .. }) || self.category() == "conflict"
    }
}

/// HTTP status of the API server's refusal; none when it was not reached.
#[must_use]
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Runs one call under the deadline. `what` completes "failed to ...".
pub async fn within<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Service(error))) if error.is::<NotLeading>() => Err(Error::NotLeading { what: what.to_owned() }),
        Ok(Err(source)) => Err(Error::Kube { what: what.to_owned(), source: Box::new(source) }),
        Err(_) => Err(Error::Deadline { what: what.to_owned() }),
    }
}

/// Like [`within`]; an object that does not exist is `None`.
pub async fn find<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<Option<T>, Error> {
    match within(what, call).await {
        Ok(value) => Ok(Some(value)),
        Err(Error::Kube { source, .. }) if status_code(&source) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
