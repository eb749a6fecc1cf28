//! The one place that every write to the API server goes through: it is refused when this replica may not act. Whoever
//! adds an effect somewhere cannot forget to ask.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower::{BoxError, Layer, Service};

use super::Leadership;

/// Puts [`Fenced`] around a client's HTTP service. The outermost layer: what is refused is not even counted.
#[derive(Clone, Debug)]
pub struct FenceLayer(pub Leadership);

/// Why a write was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica is not the leader (any more)")]
pub struct NotLeading;

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, leadership: self.0.clone() }
    }
}

/// A service whose writes are sent by the leader only.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    inner: S,
    leadership: Leadership,
}

impl<S, B, R> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    R: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if writes(request.method(), request.uri().query().unwrap_or("")) && !self.leadership.holds() {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let call = self.inner.call(request);
        Box::pin(async move { call.await.map_err(Into::into) })
    }
}

/// Does a request change anything? A dry run does not.
fn writes(method: &Method, query: &str) -> bool {
    !method.is_safe() && !query.split('&').any(|part| part == "dryRun=All")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    /// Protects: whatever a standby's loops try, only what changes nothing gets out; a leader's all does.
    #[tokio::test]
    async fn a_standby_writes_nothing() {
        let (standby, alone) = (Leadership::standby(), Leadership::default());
        for (method, path, changes) in [
            (Method::GET, "/api/v1/pods?watch=true", false),
            (Method::POST, "/apis/apps/v1/namespaces/shop/replicasets?dryRun=All&fieldManager=x", false),
            (Method::POST, "/apis/apps/v1/namespaces/shop/replicasets?fieldManager=dryRun", true),
            (Method::PATCH, "/apis/apps/v1/namespaces/shop/replicasets/web", true),
            (Method::PUT, "/apis/apps/v1/namespaces/shop/replicasets/web", true),
            (Method::DELETE, "/apis/apps/v1/namespaces/shop/replicasets/web", true),
        ] {
            for (leadership, leads) in [(&standby, false), (&alone, true)] {
                let inner = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())));
                let service = ServiceBuilder::new().layer(FenceLayer(leadership.clone())).service(inner);
                let request = Request::builder().method(&method).uri(path).body(()).unwrap();
                let refused = service.oneshot(request).await.err().map(|error| *error.downcast_ref::<NotLeading>().unwrap());
                assert_eq!(refused, (changes && !leads).then_some(NotLeading), "{method} {path}, leads: {leads}");
            }
        }
    }
}
