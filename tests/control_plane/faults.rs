//! The controller's wire to the API server: every write on it is written down, judged by the invariants on the states
//! before and after it, and can be made to fail: before it was applied, or after, with the answer lost.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::FutureExt;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use serde_json::Value;
use tidegate::api::Rollout;
use tidegate::controller::rollout::observe::observe;
use tidegate::rollout::Observed;
use tidegate::rollout::invariant::{Actor, State, Violation, check};
use tidegate::rollout::spec::{ValidatedRollout, validate};
use tokio::time::Instant;

use crate::tap::Gate;
use tower::{BoxError, Layer, Service};

/// One write as it went over the wire.
#[derive(Clone, Debug)]
pub struct Write {
    /// `create`, `patch` or `delete`.
    pub verb: &'static str,
    /// Plural, such as `replicasets`.
    pub resource: String,
    /// Name of the object.
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
    /// What was sent.
    pub body: Value,
    /// What the API server said; none when it was never asked. Not what the controller was told.
    pub code: Option<u16>,
    /// When.
    pub at: Instant,
}

impl Write {
    /// What was done to which object, without what.
    pub fn object(&self) -> String {
        format!("{} {} {} {}", self.verb, self.resource, self.name, self.subresource).trim().to_owned()
    }
}

/// When a write is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The API server never sees it.
    Before,
    /// The API server did it; the answer is lost.
    Applied,
}

/// What is done to the wire.
type Trap = Box<dyn Fn(&Write) -> bool + Send>;

/// Which write fails; after it nothing goes over this wire any more: the process behind it is dead. Or, with `Breaks`,
/// which requests fail again and again, by a part of their path. Or, with `Holds`, which write waits before it is sent.
enum Plan {
    Nothing,
    Nth { left: usize, when: When },
    Trap(Trap),
    Breaks(String),
    Holds { left: usize, trap: Trap, gate: Gate },
}

/// The Rollout whose states are judged.
pub struct Judge {
    /// Somebody who sees everything.
    pub admin: Client,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub rollout: String,
}

/// A wire: what went over it, and what is done to it.
pub struct Wire {
    plan: Mutex<Plan>,
    dead: AtomicBool,
    journal: Arc<Journal>,
    judge: Option<Judge>,
}

/// What went over the wires of one controller, also over several of its lives.
#[derive(Default)]
pub struct Journal {
    writes: Mutex<Vec<Write>>,
    recorded: Mutex<String>,
    under_way: AtomicUsize,
    violations: Mutex<Vec<(String, Violation)>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// A wire on which nothing fails.
    pub fn new(journal: &Arc<Journal>, judge: Option<Judge>) -> Arc<Self> {
        Self::with(journal, judge, Plan::Nothing)
    }

    /// A wire that dies at its n-th write, counted from 0. Records that only count pods are not counted: how many there
    /// are is chance, and what they say is read off the cluster anew by every pass.
    pub fn dies_at(journal: &Arc<Journal>, judge: Option<Judge>, nth: usize, when: When) -> Arc<Self> {
        Self::with(journal, judge, Plan::Nth { left: nth, when })
    }

    /// A wire that dies with the first write that `trap` names. That write is applied.
    pub fn dies_after(journal: &Arc<Journal>, judge: Option<Judge>, trap: impl Fn(&Write) -> bool + Send + 'static) -> Arc<Self> {
        Self::with(journal, judge, Plan::Trap(Box::new(trap)))
    }

    /// A wire over which nothing goes whose path has this part.
    pub fn breaks(journal: &Arc<Journal>, judge: Option<Judge>, part: &str) -> Arc<Self> {
        Self::with(journal, judge, Plan::Breaks(part.to_owned()))
    }

    /// A wire on which the `nth` write (counted from 0) of those that `trap` names waits before it is sent: its sender is
    /// stopped between its decision and its effect. Records that only count pods are not counted.
    pub fn holds(
        journal: &Arc<Journal>,
        judge: Option<Judge>,
        nth: usize,
        trap: impl Fn(&Write) -> bool + Send + 'static,
    ) -> (Arc<Self>, Gate) {
        let gate = Gate::default();
        (Self::with(journal, judge, Plan::Holds { left: nth, trap: Box::new(trap), gate: gate.clone() }), gate)
    }

    /// The gate at which this write waits, if it is the one.
    fn gate(&self, write: &Write) -> Option<Gate> {
        let mut plan = self.plan.lock().unwrap();
        let Plan::Holds { left, trap, gate } = &mut *plan else { return None };
        if !self.journal.is_news(write) || !trap(write) {
            return None;
        }
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let gate = gate.clone();
        *plan = Plan::Nothing;
        Some(gate)
    }

    fn is_broken(&self, path: &str) -> bool {
        self.is_dead() || matches!(&*self.plan.lock().unwrap(), Plan::Breaks(part) if path.contains(part))
    }

    fn with(journal: &Arc<Journal>, judge: Option<Judge>, plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan: Mutex::new(plan), dead: AtomicBool::new(false), journal: Arc::clone(journal), judge })
    }

    /// Is nothing going over it any more?
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Does this write fail? Whoever asks first kills the wire before the write is sent, so that nobody reacts to it.
    fn fails(&self, write: &Write) -> Option<When> {
        let mut plan = self.plan.lock().unwrap();
        let fails = match &mut *plan {
            Plan::Nothing | Plan::Breaks(_) | Plan::Holds { .. } => None,
            Plan::Nth { .. } if !self.journal.is_news(write) => None,
            Plan::Nth { left: 0, when } => Some(*when),
            Plan::Nth { left, .. } => {
                *left -= 1;
                None
            }
            Plan::Trap(trap) => trap(write).then_some(When::Applied),
        };
        if fails.is_some() {
            *plan = Plan::Nothing;
            self.dead.store(true, Ordering::SeqCst);
        }
        fails
    }
}

/// A request under way, watches aside.
struct UnderWay(Arc<Journal>);

impl UnderWay {
    fn new(journal: &Arc<Journal>) -> Self {
        journal.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(journal))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Journal {
    /// Is no request under way but watches?
    pub fn is_silent(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    fn push(&self, write: Write) {
        if let Some(line) = line(&write).filter(|line| line.starts_with("record ") && write.code.is_some()) {
            *self.recorded.lock().unwrap() = line;
        }
        self.writes.lock().unwrap().push(write);
    }

    /// Does the write belong into the story?
    fn is_news(&self, write: &Write) -> bool {
        line(write).is_some_and(|line| line != *self.recorded.lock().unwrap())
    }

    /// Everything that the API server did, in order.
    pub fn applied(&self) -> Vec<Write> {
        let writes = self.writes.lock().unwrap();
        writes.iter().filter(|write| write.code.is_some_and(|code| code < 300)).cloned().collect()
    }

    /// Number of all writes so far, also of failed ones.
    pub fn len(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    /// Broken invariants, each with the write after which it was found.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().iter().map(|(write, violation)| format!("{write}: {violation}")).collect()
    }

    /// What was done, one line a write, with images for hashes: what is recorded of pods and waiting is left out, and of
    /// the runs' statuses all but the verdict Failed.
    pub fn story(&self, images: &BTreeMap<String, String>) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut recorded = String::new();
        for write in self.applied() {
            let Some(mut line) = line(&write) else { continue };
            for (hash, image) in images {
                line = line.replace(hash, image);
            }
            if line.starts_with("record ") {
                if line == recorded {
                    continue;
                }
                recorded.clone_from(&line);
            }
            lines.push(line);
        }
        lines
    }
}

/// A write in words.
fn line(write: &Write) -> Option<String> {
    let name = &write.name;
    let operations = write.body.as_array().cloned().unwrap_or_default();
    let changes: Vec<&Value> = operations.iter().filter(|operation| operation["op"] != "test").collect();
    let first = changes.first().map(|change| change["value"].clone()).unwrap_or_default();
    Some(match (write.verb, write.resource.as_str(), write.subresource.as_str()) {
        ("create", "replicasets", _) => format!("create ReplicaSet {name} with {} pods", write.body["spec"]["replicas"]),
        ("create", "analysisruns", _) => format!("create AnalysisRun {name}"),
        ("patch", "replicasets", "") if changes[0]["path"] == "/spec/replicas" => format!("ReplicaSet {name}: {first} pods"),
        ("patch", "replicasets", "") => format!("ReplicaSet {name}: revision {first}"),
        ("patch", "services", "") => format!("Service {name} selects {}", first.as_str()?),
        ("patch", "httproutes", "") => {
            let weights = changes.iter().filter(|change| change["path"].as_str().is_some_and(|path| path.ends_with("/weight")));
            let weights: Vec<String> = weights.map(|change| change["value"].to_string()).collect();
            let weights = (!weights.is_empty()).then(|| weights.join("/"));
            let ours = |change: &&&Value| {
                change["path"].as_str().is_some_and(|path| path.starts_with("/spec/rules/") && !path.ends_with("/weight"))
            };
            let rules = changes.iter().filter(ours).map(|change| match change["value"]["name"].as_str() {
                Some(name) => format!("rule {name}"),
                None => "a rule less".to_owned(),
            });
            format!("HTTPRoute {name}: {}", weights.into_iter().chain(rules).collect::<Vec<_>>().join(", "))
        }
        ("patch", "analysisruns", "") => format!("end AnalysisRun {name}: {}", first.as_str()?),
        ("patch", "rollouts", "status") => record(&first),
        ("patch", "analysisruns", "status") if first["phase"] == "Failed" => format!("verdict of AnalysisRun {name}: Failed"),
        ("patch", "analysisruns", "status") => return None,
        (verb, resource, sub) => format!("{verb} {resource} {name} {sub}"),
    })
}

/// What a status says of the way: not of pods, waiting and times.
fn record(status: &Value) -> String {
    let hash = |key: &str| status[key]["hash"].as_str().unwrap_or("none").to_owned();
    let mut text = format!("record stable {}, canary {}", hash("stable"), hash("canary"));
    if !status["canary"].is_null() && !status["stable"].is_null() {
        text += &format!(", attempt {}, step {}", status["attempt"], status["currentStepIndex"]);
    }
    if status["abort"] == true {
        text += ", stopped";
    }
    if !status["promoting"].is_null() {
        text += ", promoting";
    }
    text
}

/// Puts a [`Wire`] around a client.
#[derive(Clone)]
pub struct OnWire(pub Arc<Wire>);

impl<S> Layer<S> for OnWire {
    type Service = Wired<S>;

    fn layer(&self, inner: S) -> Wired<S> {
        Wired { inner, wire: Arc::clone(&self.0) }
    }
}

/// A client on a [`Wire`].
pub struct Wired<S> {
    inner: S,
    wire: Arc<Wire>,
}

impl<S, B> Service<Request<Body>> for Wired<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let wire = Arc::clone(&self.wire);
        if wire.is_broken(request.uri().path()) {
            return lost().boxed();
        }
        let write = write(&request);
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let under_way = (!watches).then(|| UnderWay::new(&wire.journal));
        // The request is sent when the future is first polled, not here.
        let sending = self.inner.call(request);
        async move {
            let _under_way = under_way;
            let Some(mut write) = write else {
                let answer = sending.await.map_err(Into::into)?;
                return if wire.is_dead() { lost().await } else { Ok(answer) };
            };
            if let Some(gate) = wire.gate(&write) {
                gate.pass().await;
            }
            let fails = wire.fails(&write);
            if fails == Some(When::Before) {
                wire.journal.push(write);
                return lost().await;
            }
            let before = wire.state(&write).await;
            let answer = sending.await.map_err(Into::into)?;
            write.code = Some(answer.status().as_u16());
            wire.journal.push(write.clone());
            wire.judge(&write, before).await;
            if fails.is_some() { lost().await } else { Ok(answer) }
        }
        .boxed()
    }
}

async fn lost<B>() -> Result<Response<B>, BoxError> {
    Err("the connection was reset".into())
}

impl Wire {
    /// What the judge sees, when this write is for him.
    async fn state(&self, write: &Write) -> Option<(ValidatedRollout, Observed)> {
        let judge = self.judge.as_ref()?;
        if write.resource == "analysisruns" && write.subresource == "status" {
            return None;
        }
        let rollouts: Api<Rollout> = Api::namespaced(judge.admin.clone(), &judge.namespace);
        let rollout = validate(&rollouts.get(&judge.rollout).await.ok()?).ok()?;
        #[expect(clippy::disallowed_methods, reason = "what is seen is seen now")]
        let observed = observe(&judge.admin, &rollout, jiff::Timestamp::now()).await.ok()?;
        Some((rollout, observed))
    }

    async fn judge(&self, write: &Write, before: Option<(ValidatedRollout, Observed)>) {
        let (Some(before), Some(seen)) = (before, self.state(write).await) else { return };
        // Only what was written is taken as changed by it; what others did meanwhile is theirs.
        let mut after = before.clone();
        match write.resource.as_str() {
            "rollouts" => after.0 = seen.0,
            "httproutes" => after.1.routes = seen.1.routes,
            "services" => (after.1.stable_service, after.1.canary_service) = (seen.1.stable_service, seen.1.canary_service),
            "replicasets" => after.1.replica_sets = seen.1.replica_sets,
            _ => after.1.runs = seen.1.runs,
        }
        let found = check(State::seen(&before.0, &before.1), State::seen(&after.0, &after.1), Actor::Engine);
        let what = write.object();
        self.journal.violations.lock().unwrap().extend(found.into_iter().map(|violation| (what.clone(), violation)));
    }
}

/// A request as a write; none for reads, trials and events.
fn write(request: &Request<Body>) -> Option<Write> {
    let verb = match *request.method() {
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => return None,
    };
    if request.uri().query().is_some_and(|query| query.contains("dryRun")) {
        return None;
    }
    let body = request.body().try_clone()?.collect().now_or_never()?.ok()?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    // .../namespaces/<namespace>/<resource>/<name>/<subresource>
    let mut path = request.uri().path().split('/').skip_while(|part| *part != "namespaces").skip(2);
    let resource = path.next()?.to_owned();
    if resource == "events" {
        return None;
    }
    let name = path.next().map(str::to_owned);
    let name = name.or_else(|| body["metadata"]["name"].as_str().map(str::to_owned)).unwrap_or_default();
    Some(Write { verb, resource, name, subresource: path.next().unwrap_or("").to_owned(), body, code: None, at: Instant::now() })
}
