//! Counts every call to the API server, on its way out: verb, resource and answer. All labels are bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::telemetry::Metrics;

/// Puts [`Counting`] around the client's HTTP service.
#[derive(Clone, Debug)]
pub struct CountLayer(pub Arc<Metrics>);

impl<S> Layer<S> for CountLayer {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, metrics: Arc::clone(&self.0) }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counting<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = verb(request.method(), request.uri().query().unwrap_or(""));
        let resource = resource(request.uri().path()).to_owned();
        let metrics = Arc::clone(&self.metrics);
        let call = self.inner.call(request);
        Box::pin(async move {
            let answer = call.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics.api_request(verb, &resource, code);
            answer
        })
    }
}

fn verb(method: &Method, query: &str) -> &'static str {
    match *method {
        Method::GET if query.contains("watch=true") => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The plural in an API path: `/api/v1/namespaces/x/pods/y` and `/apis/group/v1/pods` are both `pods`. Names never become
/// labels, and neither does what is no resource of a few known words' length.
fn resource(path: &str) -> &str {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let versioned = match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.next().and_then(|_| parts.next()),
        _ => None,
    };
    if versioned.is_none() {
        return "discovery";
    }
    let found = match (parts.next(), parts.next(), parts.next()) {
        (Some("namespaces"), Some(_), Some(resource)) => resource,
        (Some(resource), _, _) => resource,
        (None, _, _) => "discovery",
    };
    if found.len() <= 63 { found } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: bounded labels. A name in a label would make one series per object.
    #[test]
    fn resources() {
        for (path, wanted) in [
            ("/api/v1/namespaces/shop/pods/web-1", "pods"),
            ("/api/v1/namespaces/shop", "namespaces"),
            ("/api/v1/services", "services"),
            ("/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web/status", "rollouts"),
            ("/apis/tidegate.dev/v1alpha1", "discovery"),
            ("/version", "discovery"),
        ] {
            assert_eq!(resource(path), wanted, "{path}");
        }
        assert_eq!((verb(&Method::GET, "limit=1&watch=true"), verb(&Method::GET, "")), ("watch", "get"));
    }
}
