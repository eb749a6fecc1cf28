//! What is around every pass: a span, a stopwatch, a net for panics, and backoff. An object that fails again and again
//! is looked at less and less often, and the others not at all less. A standby begins no pass, and one that is under way
//! when the leadership ends is cut.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::Timestamp;
use tracing::Instrument;

use super::Context;
use super::error::Error;

/// Pause after a lost race: long enough for the winner's write to be visible.
const RACE_PAUSE: Duration = Duration::from_millis(100);
/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Failures in a row, by kind, namespace and name. An entry goes with the first success.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(&'static str, String, String), u32>>);

impl Failures {
    fn count(&self, kind: &'static str, namespace: &str, name: &str) -> u32 {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry((kind, namespace.to_owned(), name.to_owned())).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// The object is well again, or gone.
    pub fn clear(&self, kind: &'static str, namespace: &str, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, namespace.to_owned(), name.to_owned()));
    }
}

/// Runs one pass and says after what time the next is due; none when only a change can matter.
pub async fn run(
    ctx: &Context,
    kind: &'static str,
    namespace: &str,
    name: &str,
    pass: impl Future<Output = Result<Option<Timestamp>, Error>>,
) -> Option<Duration> {
    let term = ctx.leadership.term();
    if !ctx.leadership.holds() {
        // The loops look at everything when a term begins.
        return None;
    }
    let span = tracing::info_span!("reconcile", kind, namespace, name);
    #[expect(clippy::disallowed_methods, reason = "a stopwatch")]
    let started = Instant::now();
    let result = async {
        let result = tokio::select! {
            biased;
            () = ctx.leadership.over(term) => Err(Error::NotLeading { what: "finish a pass".to_owned() }),
            result = AssertUnwindSafe(pass).catch_unwind() => result.unwrap_or_else(|panic| Err(panicked(&*panic))),
        };
        match &result {
            Err(error) if error.is_race() => tracing::debug!(%error, "looking again"),
            Err(error @ Error::NotLeading { .. }) => tracing::info!(%error, "left to the leader"),
            Err(error) => tracing::warn!(%error, category = error.category(), "pass failed"),
            Ok(_) => {}
        }
        result
    }
    .instrument(span)
    .await;
    ctx.metrics.pass(kind, started.elapsed(), result.as_ref().err().map(Error::category));
    match result {
        Ok(next) => {
            ctx.failures.clear(kind, namespace, name);
            next.map(|next| until(ctx.now(), next, ctx.nets.look_again))
        }
        Err(error) if error.is_race() => Some(RACE_PAUSE),
        Err(Error::NotLeading { .. }) => None,
        Err(_) => {
            let count = ctx.failures.count(kind, namespace, name);
            Some(BACKOFF.0.saturating_mul(1 << count.min(6).saturating_sub(1)).min(BACKOFF.1))
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Error::Panicked { message: message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default() }
}

/// The time until `next`, at most `at_most`.
fn until(now: Timestamp, next: Timestamp, at_most: Duration) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO).min(at_most).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use kube::Client;
    use kube::client::Body;

    use super::*;

    const AT_MOST: Duration = Duration::from_secs(60);
    use crate::controller::flags::ControllerArgs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ControllerArgs,
    }

    /// A context whose API server never answers: these passes do not ask it.
    fn context() -> (Context, impl Sized) {
        let (service, server) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let args = Line::try_parse_from(["tidegate"]).unwrap().args;
        (Context::new(Client::new(service, "default"), args).unwrap(), server)
    }

    /// Protects: everything else, from a pass that panics: it is caught, counted by its kind, and tried again later and
    /// later, while another object's pass goes on as always; the first good pass ends the count.
    #[tokio::test]
    async fn a_panic_is_caught_and_counted() {
        let (ctx, _server) = context();
        async fn defect() -> Result<Option<Timestamp>, Error> {
            panic!("a defect")
        }
        let bad = async |name: &str| run(&ctx, "Rollout", "shop", name, defect()).await;
        let after = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(bad("web").await, after(1));
        assert_eq!(bad("web").await, after(2));
        assert_eq!(bad("api").await, after(1));
        assert_eq!(run(&ctx, "Rollout", "shop", "web", async { Ok(None) }).await, None);
        assert_eq!(bad("web").await, after(1));
        let text = ctx.metrics.text();
        let count = r#"tidegate_reconcile_errors_total{kind="Rollout",reason="panic"} 4"#;
        assert!(text.lines().any(|line| line == count), "{text}");
    }

    /// Protects: a pause that ends in an hour is still looked at every minute (a lost event costs a minute, not hours),
    /// and one that is over is looked at now.
    #[test]
    fn when_to_look_again() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(until(now, at("2026-01-01T00:00:03Z"), AT_MOST), Duration::from_secs(3));
        assert_eq!(until(now, at("2026-01-01T01:00:00Z"), AT_MOST), AT_MOST);
        assert_eq!(until(now, at("2025-01-01T01:00:00Z"), AT_MOST), Duration::from_millis(1));
    }
}
