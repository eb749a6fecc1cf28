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
        let resource = target(request.uri().path()).resource.to_owned();
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

/// What an API path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The plural: `/api/v1/namespaces/x/pods/y` and `/apis/group/v1/pods` are both `pods`.
    pub resource: &'a str,
    /// One object, by name.
    pub named: bool,
}

/// What an API path names. Names never become labels, and neither does what is no resource of a few known words' length.
#[must_use]
pub fn target(path: &str) -> Target<'_> {
    let none = Target { resource: "discovery", named: false };
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let versioned = match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.next().and_then(|_| parts.next()),
        _ => None,
    };
    if versioned.is_none() {
        return none;
    }
    let (resource, named) = match (parts.next(), parts.next(), parts.next()) {
        (Some("namespaces"), Some(_), Some(resource)) => (resource, parts.next().is_some()),
        (Some(resource), name, _) => (resource, name.is_some()),
        (None, _, _) => return none,
    };
    if resource.len() <= 63 { Target { resource, named } } else { Target { resource: "other", named } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: bounded labels. A name in a label would make one series per object.
    #[test]
    fn resources() {
        for (path, resource, named) in [
            ("/api/v1/namespaces/shop/pods/web-1", "pods", true),
            ("/api/v1/namespaces/shop", "namespaces", true),
            ("/api/v1/services", "services", false),
            ("/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web/status", "rollouts", true),
            ("/apis/tidegate.dev/v1alpha1", "discovery", false),
            ("/version", "discovery", false),
            ("/api/v1/namespaces/shop/pods", "pods", false),
            ("/apis/gateway.networking.k8s.io/v1/gatewayclasses/x", "gatewayclasses", true),
        ] {
            assert_eq!(target(path), Target { resource, named }, "{path}");
        }
        assert_eq!((verb(&Method::GET, "limit=1&watch=true"), verb(&Method::GET, "")), ("watch", "get"));
    }
}
