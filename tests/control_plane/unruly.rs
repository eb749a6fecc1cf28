//! An API server that behaves badly by plan: each line of a plan names a call and what becomes of it.
//!
//! ```text
//! # the second weight is applied, and the answer is 503
//! patch httproutes 2 503-applied
//! # of the events of every watch, each second one is lost
//! watch * every 2 drop
//! ```
//! Calls are counted from 1, by verb and resource: `get`, `list`, `try` (a dry run), `create`, `patch`, `delete`, and
//! `watch`, whose events are counted. A subresource is part of the resource: `rollouts/status`.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body as Answer, Bytes, HttpBody};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, Layer, Service};

/// How much later a late event comes.
const LATE: Duration = Duration::from_secs(2);

/// What becomes of a call, or of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status. `applied`: the API server did it all the same.
    Status { code: u16, applied: bool },
    /// The connection is reset.
    Reset { applied: bool },
    /// No answer, ever.
    Hang { applied: bool },
    /// Done, and the answer ends in its middle.
    Truncated,
    /// A list as it was the first time.
    Stale,
    /// An event that never comes.
    Drop,
    /// An event that comes twice.
    Duplicate,
    /// An event that comes later, and holds up what follows.
    Late,
    /// An event that comes after the next one.
    Swap,
    /// In place of the event: the history is gone, list again.
    Expired,
    /// In place of the event: the watch ends.
    Cut,
}

impl Fault {
    /// What can become of a write.
    pub const OF_WRITES: [Self; 14] = [
        Self::Status { code: 409, applied: false },
        Self::Status { code: 429, applied: false },
        Self::Status { code: 500, applied: false },
        Self::Status { code: 500, applied: true },
        Self::Status { code: 503, applied: false },
        Self::Status { code: 503, applied: true },
        Self::Status { code: 504, applied: false },
        Self::Status { code: 504, applied: true },
        Self::Reset { applied: false },
        Self::Reset { applied: true },
        Self::Truncated,
        Self::Status { code: 410, applied: false },
        Self::Status { code: 403, applied: false },
        Self::Status { code: 404, applied: false },
    ];
    /// What can become of a read.
    pub const OF_READS: [Self; 6] = [
        Self::Status { code: 429, applied: false },
        Self::Status { code: 500, applied: false },
        Self::Status { code: 410, applied: false },
        Self::Status { code: 403, applied: false },
        Self::Reset { applied: false },
        Self::Truncated,
    ];
}

const WORDS: [(&str, Fault); 9] = [
    ("truncated", Fault::Truncated),
    ("stale", Fault::Stale),
    ("drop", Fault::Drop),
    ("duplicate", Fault::Duplicate),
    ("late", Fault::Late),
    ("swap", Fault::Swap),
    ("expired", Fault::Expired),
    ("cut", Fault::Cut),
    ("reset", Fault::Reset { applied: false }),
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if let Some((_, fault)) = WORDS.iter().find(|(known, _)| *known == word) {
            return Ok(*fault);
        }
        let (what, applied) = word.strip_suffix("-applied").map_or((word, false), |what| (what, true));
        match what {
            "reset" => Ok(Self::Reset { applied }),
            "hang" => Ok(Self::Hang { applied }),
            code => code.parse().map(|code| Self::Status { code, applied }).map_err(|_| format!("there is no fault '{word}'")),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let applied = |applied: bool| if applied { "-applied" } else { "" };
        match *self {
            Self::Status { code, applied: done } => write!(f, "{code}{}", applied(done)),
            Self::Reset { applied: done } => write!(f, "reset{}", applied(done)),
            Self::Hang { applied: done } => write!(f, "hang{}", applied(done)),
            other => f.write_str(WORDS.iter().find(|(_, fault)| *fault == other).unwrap().0),
        }
    }
}

/// Verb and resource of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub verb: String,
    pub resource: String,
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which calls; `*` stands for every resource.
    pub of: Kind,
    /// The `nth` of them, or every `nth`.
    pub nth: usize,
    pub every: bool,
    pub fault: Fault,
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (verb, resource, every, nth, fault) = match words[..] {
            [verb, resource, "every", nth, fault] => (verb, resource, true, nth, fault),
            [verb, resource, nth, fault] => (verb, resource, false, nth, fault),
            _ => return Err(format!("'{text}' is not VERB RESOURCE [every] NUMBER FAULT")),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(|| format!("'{text}': '{nth}' is not a number from 1"))?;
        let of = Kind { verb: verb.to_owned(), resource: resource.to_owned() };
        Ok(Self { of, nth, every, fault: fault.parse()? })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let every = if self.every { "every " } else { "" };
        write!(f, "{} {} {every}{} {}", self.of.verb, self.of.resource, self.nth, self.fault)
    }
}

impl Line {
    fn is_for(&self, kind: &Kind, number: usize) -> bool {
        self.of.verb == kind.verb
            && (self.of.resource == "*" || self.of.resource == kind.resource)
            && if self.every { number.is_multiple_of(self.nth) } else { number == self.nth }
    }
}

#[derive(Default)]
struct Book {
    plan: Vec<Line>,
    /// How many faults there were.
    hits: usize,
    counts: BTreeMap<Kind, usize>,
    /// Every call in its order, watches aside.
    calls: Vec<(Kind, usize)>,
    /// The first answer to each list.
    lists: BTreeMap<String, Bytes>,
}

/// What happens to the calls of one controller. A clone is the same one.
#[derive(Clone, Default)]
pub struct Unruly(Arc<Mutex<Book>>);

impl Unruly {
    /// By this plan.
    pub fn by(plan: Vec<Line>) -> Self {
        Self(Arc::new(Mutex::new(Book { plan, ..Book::default() })))
    }

    /// Every call so far with its number, watches aside.
    pub fn calls(&self) -> Vec<(Kind, usize)> {
        self.0.lock().unwrap().calls.clone()
    }

    /// How many faults there were.
    pub fn hits(&self) -> usize {
        self.0.lock().unwrap().hits
    }

    /// Counts a call or an event; answers what is to become of it.
    fn count(&self, kind: &Kind) -> Option<Fault> {
        let mut book = self.0.lock().unwrap();
        let count = book.counts.entry(kind.clone()).or_insert(0);
        *count += 1;
        let number = *count;
        if kind.verb != "watch" {
            book.calls.push((kind.clone(), number));
        }
        let fault = book.plan.iter().find(|line| line.is_for(kind, number)).map(|line| line.fault)?;
        book.hits += 1;
        Some(fault)
    }

    /// The first answer to this list: this one, if there was none.
    fn first(&self, path: &str, answer: Bytes) -> Bytes {
        self.0.lock().unwrap().lists.entry(path.to_owned()).or_insert(answer).clone()
    }
}

/// What a request is; none for events and for what is no resource.
fn kind<B>(request: &Request<B>) -> Option<Kind> {
    let query = request.uri().query().unwrap_or("");
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let rest = if parts.first() == Some(&"api") { parts.get(2..) } else { parts.get(3..) }?;
    let rest = if rest.first() == Some(&"namespaces") && rest.len() > 2 { &rest[2..] } else { rest };
    let (plural, named) = (*rest.first()?, rest.len() > 1);
    if plural == "events" {
        return None;
    }
    let verb = match *request.method() {
        Method::GET if query.contains("watch=true") => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        _ if query.contains("dryRun=All") => "try",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "update",
    };
    let resource = rest.get(2).map_or_else(|| plural.to_owned(), |sub| format!("{plural}/{sub}"));
    Some(Kind { verb: verb.to_owned(), resource })
}

impl<S> Layer<S> for Unruly {
    type Service = Unruled<S>;

    fn layer(&self, inner: S) -> Unruled<S> {
        Unruled { inner, unruly: self.clone() }
    }
}

pub struct Unruled<S> {
    inner: S,
    unruly: Unruly,
}

impl<S, B> Service<Request<Body>> for Unruled<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (unruly, kind, path) = (self.unruly.clone(), kind(&request), request.uri().to_string());
        // Sent when it is first polled, not before.
        let sending = self.inner.call(request);
        let sent = async move { Ok::<_, BoxError>(sending.await.map_err(Into::into)?.map(Answer::new)) };
        async move {
            let Some(kind) = kind else { return sent.await };
            if kind.verb == "watch" {
                let answer = sent.await?;
                let ok = answer.status() == StatusCode::OK;
                return Ok(if ok { answer.map(|body| watched(body, unruly, kind)) } else { answer });
            }
            let fault = unruly.count(&kind);
            if matches!(
                fault,
                Some(Fault::Status { applied: true, .. } | Fault::Reset { applied: true } | Fault::Hang { applied: true })
            ) {
                // Whatever it was.
                let _ = sent.await?.into_body().collect().await;
                return fail(fault).await;
            }
            match fault {
                None => {}
                Some(Fault::Truncated | Fault::Stale) => {
                    let (parts, body) = sent.await?.into_parts();
                    let whole = body.collect().await?.to_bytes();
                    let bytes =
                        if fault == Some(Fault::Stale) { unruly.first(&path, whole) } else { whole.slice(..whole.len() / 2) };
                    return Ok(Response::from_parts(parts, Answer::from(bytes)));
                }
                fault => return fail(fault).await,
            }
            let answer = sent.await?;
            if kind.verb != "list" || answer.status() != StatusCode::OK {
                return Ok(answer);
            }
            let (parts, body) = answer.into_parts();
            let whole = body.collect().await?.to_bytes();
            unruly.first(&path, whole.clone());
            Ok(Response::from_parts(parts, Answer::from(whole)))
        }
        .boxed()
    }
}

/// An answer as the API server words it, or none.
async fn fail(fault: Option<Fault>) -> Result<Response<Answer>, BoxError> {
    match fault {
        Some(Fault::Status { code, .. }) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "by plan",
                "reason": reason(code), "code": code,
            });
            let builder = Response::builder().status(code).header("Content-Type", "application/json");
            let builder = if code == 429 { builder.header("Retry-After", "1") } else { builder };
            Ok(builder.body(Answer::from(status.to_string())).unwrap())
        }
        Some(Fault::Hang { .. }) => std::future::pending().await,
        _ => Err("the connection was reset".into()),
    }
}

const fn reason(code: u16) -> &'static str {
    match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

/// The events of a watch, by plan.
fn watched(body: Answer, unruly: Unruly, kind: Kind) -> Answer {
    let turns = lines(body).scan(Vec::new(), move |held, event| std::future::ready(turn(&unruly, &kind, held, event)));
    let late = turns.then(|(events, pause)| async move {
        tokio::time::sleep(pause).await;
        stream::iter(events)
    });
    Answer::from_stream(late.flatten())
}

type Event = Result<Bytes, BoxError>;

/// What comes in place of an event, and after which time; none ends the watch. `held` are those that others overtake.
fn turn(unruly: &Unruly, kind: &Kind, held: &mut Vec<Bytes>, event: Event) -> Option<(Vec<Event>, Duration)> {
    let Ok(event) = event else { return Some((vec![event], Duration::ZERO)) };
    let (mut events, mut pause) = (Vec::new(), Duration::ZERO);
    match unruly.count(kind) {
        Some(Fault::Cut) => return None,
        Some(Fault::Swap) => {
            held.push(event);
            return Some((events, pause));
        }
        Some(Fault::Drop) => {}
        Some(Fault::Duplicate) => events.extend([Ok(event.clone()), Ok(event)]),
        Some(Fault::Expired) => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "by plan", "reason": reason(410), "code": 410});
            events.push(Ok(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))));
        }
        fault => {
            pause = if fault == Some(Fault::Late) { LATE } else { pause };
            events.push(Ok(event));
        }
    }
    events.extend(held.drain(..).map(Ok));
    Some((events, pause))
}

/// A body's lines, each with its end.
fn lines(body: Answer) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    type State = (axum::body::BodyDataStream, Vec<u8>, VecDeque<Bytes>);
    let state: State = (body.into_data_stream(), Vec::new(), VecDeque::new());
    stream::unfold(state, |(mut body, mut rest, mut ready)| async move {
        loop {
            if let Some(line) = ready.pop_front() {
                return Some((Ok(line), (body, rest, ready)));
            }
            match body.next().await? {
                Err(error) => return Some((Err(error.into()), (body, rest, ready))),
                Ok(bytes) => {
                    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                        rest.extend_from_slice(part);
                        if rest.ends_with(b"\n") {
                            ready.push_back(Bytes::from(std::mem::take(&mut rest)));
                        }
                    }
                }
            }
        }
    })
}
