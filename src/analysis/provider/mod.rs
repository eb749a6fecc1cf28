//! Where measurements come from. One file per kind of metric server; the only place of this room that does I/O.
//!
//! A provider is asked for a value ([`Provider::measure`]) or for raw samples ([`Provider::samples`]). Neither fails the
//! caller: what goes wrong is an outcome like any other, because a metric server that is down is an everyday thing and
//! decides nothing.

mod address;
mod answer;
mod prometheus;
mod raw;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::api::analysis;

use super::counting::Series;
use super::measured::Measured;

pub use address::{AddressPolicy, Refusal};
pub use prometheus::{BuildError, Limits, Prometheus};

/// Something that can be asked for numbers.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks for the value at `at`. Bounded in time and memory; asks no host that `policy` refuses.
    ///
    /// The outcome's texts hold no host, no query and no part of a response body.
    async fn measure(&self, source: &analysis::Provider, policy: &AddressPolicy, at: Timestamp) -> Measured;

    /// Asks for raw samples: `query`, evaluated at `at`, gives a range of series or their last values. No series is an
    /// empty answer. Bounded likewise.
    ///
    /// # Errors
    /// Why there is no answer, with no host, no query and no part of a response body in it.
    async fn samples(
        &self,
        source: &analysis::Provider,
        policy: &AddressPolicy,
        query: &str,
        at: Timestamp,
    ) -> Result<Vec<Series>, Unread>;
}

/// Why there are no samples. No host, no query and no part of a response body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There are more than may be read at once.
    TooLarge(String),
    /// Anything else.
    Other(String),
}

impl Unread {
    /// In words.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::TooLarge(why) | Self::Other(why) => why,
        }
    }
}

#[cfg(test)]
mod tests;
