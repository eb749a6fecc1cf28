//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Context;

/// The runtime counts as stuck when its heart did not beat for this long.
const STUCK_AFTER_SECONDS: i64 = 60;

/// What the probes are told.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    beat: AtomicI64,
}

impl Health {
    /// The watches are up.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Is it ready?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Beats while the runtime makes progress: liveness is about progress, not about reachability.
pub async fn heart(ctx: Arc<Context>) {
    loop {
        ctx.health.beat.store(ctx.uptime_seconds(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Serves until `stop` resolves.
pub async fn serve(
    ctx: Arc<Context>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let metrics = Arc::clone(&ctx);
    let ready = Arc::clone(&ctx);
    let router = Router::new()
        .route(
            "/metrics",
            get(move || async move {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                metrics.metrics.leader.set(i64::from(metrics.leadership.holds()));
                ([(header::CONTENT_TYPE, kind)], metrics.metrics.text())
            }),
        )
        .route(
            "/readyz",
            get(move || async move {
                if ready.health.is_ready() {
                    (StatusCode::OK, "ready").into_response()
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "the first look at the cluster is not done yet").into_response()
                }
            }),
        )
        .route(
            "/healthz",
            get(move || async move {
                let silent = ctx.uptime_seconds() - ctx.health.beat.load(Ordering::Relaxed);
                if silent < STUCK_AFTER_SECONDS {
                    (StatusCode::OK, "alive".to_owned()).into_response()
                } else {
                    (StatusCode::INTERNAL_SERVER_ERROR, format!("no progress for {silent} s")).into_response()
                }
            }),
        );
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
