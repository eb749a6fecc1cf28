//! A tap on the connection to the API server: records every call, holds one back, or never answers one.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::Notify;
use tower::{Layer, Service};

/// One call of the loop to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    pub path: String,
    /// As whom, when not as the controller itself.
    pub user: Option<String>,
}

impl Call {
    /// Method, kind and name of what a call wrote; none for a call that wrote nothing. Events are not counted.
    pub fn write(&self) -> Option<String> {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let written = self.method != "GET" && !query.contains("dryRun") && !path.contains("/events");
        written.then(|| {
            let parts: Vec<&str> = path.split('/').skip_while(|part| *part != "namespaces").skip(2).collect();
            format!("{} {}", self.method, parts.join("/"))
        })
    }
}

#[derive(Default)]
struct Rules {
    log: Vec<Call>,
    hold: Option<(String, Gate)>,
    end_after: Option<(usize, Arc<Notify>)>,
}

/// What happens to calls on their way to the API server.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Rules>>);

/// A call that waits.
#[derive(Clone, Default)]
pub struct Gate {
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    pub fn open(&self) {
        self.open.notify_one();
    }

    /// Arrives at the gate, and waits until it is opened.
    pub async fn pass(&self) {
        self.reached.notify_one();
        self.open.notified().await;
    }
}

impl Tap {
    /// Calls since the last time this was asked.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    /// What was written since the last time this, or [`Self::take`], was asked.
    pub fn writes(&self) -> Vec<String> {
        self.take().iter().filter_map(Call::write).collect()
    }

    /// The next call whose method and path begin with this, and that is no dry run, waits until its gate is opened.
    pub fn hold(&self, begins: &str) -> Gate {
        let gate = Gate::default();
        self.0.lock().unwrap().hold = Some((begins.to_owned(), gate.clone()));
        gate
    }

    /// The `nth` call from now (0 is the next) is carried out, and its answer never comes. Told when it is so far.
    pub fn end_after(&self, nth: usize) -> Arc<Notify> {
        let reached = Arc::new(Notify::new());
        self.0.lock().unwrap().end_after = Some((nth, Arc::clone(&reached)));
        reached
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;
    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

pub struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S, B> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().unwrap().to_string();
        let user = request.headers().get("Impersonate-User").map(|user| user.to_str().unwrap().to_owned());
        let call = Call { method: request.method().to_string(), path, user };
        let (gate, end) = {
            let mut rules = self.tap.0.lock().unwrap();
            let line = format!("{} {}", call.method, call.path);
            let held =
                rules.hold.as_ref().is_some_and(|(begins, _)| line.starts_with(begins.as_str()) && !line.contains("dryRun"));
            let gate = if held { rules.hold.take().map(|(_, gate)| gate) } else { None };
            let end = match rules.end_after.take() {
                Some((0, reached)) => Some(reached),
                Some((more, reached)) => {
                    rules.end_after = Some((more - 1, reached));
                    None
                }
                None => None,
            };
            rules.log.push(call);
            (gate, end)
        };
        // Nothing is sent before this is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.pass().await;
            }
            let answer = answer.await;
            if let Some(reached) = end {
                reached.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}
