//! One operation on one remote over HTTP: its deadline, its credentials, and what went wrong.
//!
//! libgit2's own https can neither check a connection against its own authority nor send a bearer token, and it follows
//! redirects with credentials; so it gets its bytes from here (`transport`). Every request carries the operation's
//! deadline; credentials go to the address's host and nowhere else, because no redirect to another host is followed.
#![expect(clippy::disallowed_methods, reason = "the network's deadline is kept by the monotonic clock")]

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::{Builder, Runtime};

use super::remote::{Access, RemoteUrl};
use crate::git::revision::printable;

/// Redirects on the same host that the first request follows: forges send `x` on to `x.git`.
const MAX_REDIRECTS: usize = 3;

/// How long and how much an operation may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To connect, TLS included. Default 10 s.
    pub connect: Duration,
    /// For the next bytes of an answer. Default 30 s.
    pub read: Duration,
    /// For the whole operation. Default 120 s.
    pub total: Duration,
    /// Most bytes of all answers together. Default 1 GiB.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), read: Duration::from_secs(30), total: Duration::from_secs(120), bytes: 1 << 30 }
    }
}

/// What went wrong between us and the server. Printable, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 401 or 403.
    Denied(u16),
    /// 404 or 410.
    NotFound,
    /// The certificate is not signed by a known authority, or is another host's.
    Untrusted(String),
    /// No connection, cut off, or 5xx.
    Unreachable(String),
    /// A deadline passed.
    Timeout,
    /// Sent on to another address.
    Redirected(String),
    /// Answers, but not as a Git server does.
    NotGit(String),
    /// More than [`Limits::bytes`].
    TooLarge(u64),
    /// 413, 507.
    Quota(u16),
}

/// Progress of the operation, for judging whether a push may have landed.
#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// A push was handed to the network and the server did not refuse the request.
    push_in_doubt: bool,
    received: u64,
    /// Where the server really is, after redirects on the same host.
    base: Option<Url>,
    /// What stood behind `Basic` or `Bearer` in our header.
    header: Option<SecretString>,
}

/// One operation.
pub(super) struct Exchange {
    runtime: Option<Runtime>,
    http: Client,
    remote: RemoteUrl,
    access: Arc<Access>,
    deadline: Instant,
    limits: Limits,
    state: Mutex<State>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // A name lookup that hangs must not hang us.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Exchange {
    pub(super) fn new(remote: &RemoteUrl, access: &Arc<Access>, limits: Limits) -> Result<Arc<Self>, Fault> {
        let failed =
            |error: &dyn std::fmt::Display| Fault::Unreachable(printable(&format!("failed to set up HTTP: {error}"), 200));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
        // Another part of the process may have installed it first; one provider is as good as the other.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("git/2.0 (tidegate ", env!("CARGO_PKG_VERSION"), ")"))
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(limits.connect)
            .read_timeout(limits.read);
        if remote.url().scheme() == "http" {
            // A proxy would read the credentials.
            builder = builder.no_proxy();
        } else {
            builder = builder.https_only(true);
        }
        if let Some(authorities) = access.authorities() {
            builder = builder.tls_certs_only(authorities.iter().cloned());
        }
        let http = builder.build().map_err(|e| failed(&e.without_url()))?;
        let deadline = Instant::now() + limits.total;
        let (remote, access) = (remote.clone(), Arc::clone(access));
        Ok(Arc::new(Self { runtime: Some(runtime), http, remote, access, deadline, limits, state: Mutex::default() }))
    }

    /// First fault of this operation.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.state().fault.clone()
    }

    /// Whether commands of a push may have been carried out although no answer came.
    pub(super) fn push_in_doubt(&self) -> bool {
        self.state().push_in_doubt
    }

    pub(super) fn expired(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Notes that the deadline passed while libgit2 was at work.
    pub(super) fn note_timeout(&self) {
        self.state().fault.get_or_insert(Fault::Timeout);
    }

    /// A server's words for people: printable, short, without our secrets.
    pub(super) fn words(&self, text: &str, limit: usize) -> String {
        let mut text = self.access.redact(text);
        if let Some(header) = &self.state().header {
            text = text.replace(header.expose_secret(), "(hidden)");
        }
        printable(&text, limit)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a fault and makes the error that stops libgit2. The text is ours: it never holds a NUL.
    fn fail(&self, fault: Fault) -> io::Error {
        self.state().fault.get_or_insert(fault);
        io::Error::other("the request failed")
    }

    /// The list of references: the first request of every operation.
    pub(super) fn references(self: &Arc<Self>, service: &str) -> io::Result<Answer> {
        let mut base = self.remote.url().clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut url = base.clone();
            url.set_path(&format!("{}/info/refs", base.path().trim_end_matches('/')));
            url.set_query(Some(&format!("service={service}")));
            let response = self.send(self.http.get(url.clone()).header(ACCEPT, "*/*"))?;
            if response.status().is_redirection() {
                base = self.redirected(&url, &response)?;
                continue;
            }
            self.state().base = Some(base);
            return self.answer(response, &format!("application/x-{service}-advertisement"));
        }
        Err(self.fail(Fault::Redirected("itself, again and again".to_owned())))
    }

    /// The base address behind a redirect: only on the same host, only to the same request.
    fn redirected(&self, from: &Url, response: &Response) -> io::Result<Url> {
        let target = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| from.join(to).ok());
        let Some(mut target) = target else { return Err(self.fail(Fault::Redirected("nowhere".to_owned()))) };
        let same_host = target.scheme() == from.scheme()
            && target.host_str() == from.host_str()
            && target.port_or_known_default() == from.port_or_known_default();
        let base = target.path().strip_suffix("/info/refs").map(str::to_owned);
        match base {
            Some(base) if same_host && target.query() == from.query() => {
                target.set_path(&base);
                target.set_query(None);
                Ok(target)
            }
            // Only host and path kind are told: the rest of such an address may be a login page with a token.
            _ => Err(self.fail(Fault::Redirected(printable(target.host_str().unwrap_or("another address"), 100)))),
        }
    }

    /// Sends a request of the Git protocol.
    pub(super) fn post(self: &Arc<Self>, service: &str, body: Vec<u8>) -> io::Result<Answer> {
        let base = self.state().base.clone().unwrap_or_else(|| self.remote.url().clone());
        let mut url = base.clone();
        url.set_path(&format!("{}/{service}", base.path().trim_end_matches('/')));
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, format!("application/x-{service}-request"))
            .header(ACCEPT, format!("application/x-{service}-result"))
            .body(body);
        let is_push = service == "git-receive-pack";
        self.state().push_in_doubt = is_push;
        let response = self.send(request)?;
        if response.status().is_client_error() || response.status().is_redirection() {
            // The server refused the request itself: nothing was carried out.
            self.state().push_in_doubt = false;
        }
        self.answer(response, &format!("application/x-{service}-result"))
    }

    fn send(&self, request: RequestBuilder) -> io::Result<Response> {
        let request = match self.access.authorize(request).build() {
            Ok(request) => request,
            Err(error) => return Err(self.fail(fault_of(&error))),
        };
        let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.split_once(' '));
        self.state().header = header.map(|(_, value)| SecretString::from(value));
        match self.block(|| self.http.execute(request)) {
            None => Err(self.fail(Fault::Timeout)),
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => {
                if error.is_connect() || error.is_builder() {
                    self.state().push_in_doubt = false;
                }
                Err(self.fail(fault_of(&error)))
            }
        }
    }

    /// Runs `work` until the deadline; none when it passed. The future is made inside the runtime, where its timers live.
    fn block<F: Future>(&self, work: impl FnOnce() -> F) -> Option<F::Output> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.runtime.as_ref()?.block_on(async { tokio::time::timeout(left, work()).await.ok() })
    }

    fn answer(self: &Arc<Self>, response: Response, wanted: &str) -> io::Result<Answer> {
        let status = response.status();
        if !status.is_success() {
            return Err(self.fail(refusal(status)));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind != wanted {
            return Err(self.fail(Fault::NotGit(self.words(kind, 60))));
        }
        Ok(Answer { exchange: Arc::clone(self), response, chunk: Vec::new(), at: 0 })
    }
}

/// The body of an answer.
pub(super) struct Answer {
    exchange: Arc<Exchange>,
    response: Response,
    chunk: Vec<u8>,
    at: usize,
}

impl io::Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.exchange.block(|| self.response.chunk()) {
                None => return Err(self.exchange.fail(Fault::Timeout)),
                Some(Err(error)) => return Err(self.exchange.fail(fault_of(&error))),
                Some(Ok(None)) => return Ok(0),
                Some(Ok(Some(bytes))) => {
                    let limit = self.exchange.limits.bytes;
                    let mut state = self.exchange.state();
                    state.received = state.received.saturating_add(bytes.len() as u64);
                    if state.received > limit {
                        drop(state);
                        return Err(self.exchange.fail(Fault::TooLarge(limit)));
                    }
                    drop(state);
                    self.chunk = bytes.to_vec();
                    self.at = 0;
                }
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn refusal(status: StatusCode) -> Fault {
    match status.as_u16() {
        code @ (401 | 403 | 407) => Fault::Denied(code),
        404 | 410 => Fault::NotFound,
        408 | 504 => Fault::Timeout,
        code @ (413 | 507) => Fault::Quota(code),
        300..=399 => Fault::Redirected("another address".to_owned()),
        code => Fault::Unreachable(format!("status {code}")),
    }
}

fn fault_of(error: &reqwest::Error) -> Fault {
    // Texts of the chain below reqwest's own, which would quote the address.
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>().or_else(|| tls_inside(inner)) {
            return match tls {
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                    Fault::Untrusted(printable(&tls.to_string(), 200))
                }
                other => Fault::Unreachable(printable(&other.to_string(), 200)),
            };
        }
        texts.push(inner.to_string());
        cause = inner.source();
    }
    if error.is_timeout() {
        return Fault::Timeout;
    }
    Fault::Unreachable(printable(texts.last().map_or("the connection failed", String::as_str), 200))
}

/// `io::Error` hides what it wraps from `source`, and one often wraps another.
fn tls_inside<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>().or_else(|| tls_inside(inner))
}
