//! Where measurements come from. One file per kind of metric server; the only place of this room that does I/O.
//!
//! A provider has one verb, [`Provider::measure`], which never fails: what goes wrong is an outcome like any other,
//! because a metric server that is down is an everyday thing and decides nothing.

mod address;
mod answer;
mod prometheus;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::api::analysis;

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
}

#[cfg(test)]
mod tests;
