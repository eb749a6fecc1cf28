//! Prometheus, and what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics, Cortex): queries for a value, and for raw samples.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Response, Url, redirect};

use crate::api::analysis;

use super::super::counting::Series;
use super::super::measured::Measured;
use super::address::{AddressPolicy, CheckedResolver, Refusal, Unresolved};
use super::{Provider, Unread, answer, raw};

/// Bounds on one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For name, connection and TLS.
    pub connect: Duration,
    /// For everything, from the name to the last byte.
    pub total: Duration,
    /// Largest body, in bytes.
    pub body: usize,
    /// Largest body with raw samples, in bytes.
    pub samples_body: usize,
}

impl Default for Limits {
    /// 5 s, 10 s, 1 MiB, 16 MiB.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            body: 1024 * 1024,
            samples_body: 16 * 1024 * 1024,
        }
    }
}

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to build the HTTP client for metric servers")]
pub struct BuildError(#[from] reqwest::Error);

/// Asks Prometheus servers. One for the whole process: connections are shared between measurements.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// For names that nobody listed: they may not resolve to this machine.
    remote: Client,
    /// For listed names. Its connections are its own, so that they cannot be reused for names that nobody listed.
    listed: Client,
    limits: Limits,
}

impl Prometheus {
    /// Makes the HTTP clients.
    ///
    /// Installs ring as the process's crypto provider unless there is one.
    ///
    /// # Errors
    /// When TLS cannot be set up, for example because the system has no trusted certificates.
    pub fn new(limits: Limits) -> Result<Self, BuildError> {
        // Fails when one is installed already, and then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { remote: client(limits, false)?, listed: client(limits, true)?, limits })
    }

    /// Status and body of the answer to a query.
    async fn ask(&self, question: Question<'_>, policy: &AddressPolicy) -> Result<(u16, Vec<u8>), Failure> {
        let url = endpoint(question.address)?;
        policy.check(&url)?;
        let client = if policy.loopback() { &self.listed } else { &self.remote };
        let parameters = parameters(question.query, question.at, self.limits.total);
        let mut response = send(client, Method::POST, &url, &parameters).await?;
        // Some proxies let only GET through (the Prometheus client library does the same).
        if matches!(response.status().as_u16(), 405 | 501) {
            response = send(client, Method::GET, &url, &parameters).await?;
        }
        let status = response.status().as_u16();
        Ok((status, body(response, question.largest).await?))
    }

    /// The client has the same deadline; this one also covers two requests and reading the body.
    async fn ask_in_time(&self, question: Question<'_>, policy: &AddressPolicy) -> Result<(u16, Vec<u8>), Failure> {
        let answer = tokio::time::timeout(self.limits.total, self.ask(question, policy)).await;
        answer.unwrap_or(Err(Failure::Timeout))
    }
}

/// A query, where it goes, and how large its answer may be.
#[derive(Clone, Copy)]
struct Question<'a> {
    address: &'a str,
    query: &'a str,
    at: Timestamp,
    largest: usize,
}

#[async_trait]
impl Provider for Prometheus {
    async fn measure(&self, source: &analysis::Provider, policy: &AddressPolicy, at: Timestamp) -> Measured {
        let analysis::Prometheus { address, query } = &source.prometheus;
        let Some(query) = query else { return Measured::Error("the metric has no query".to_owned()) };
        match self.ask_in_time(Question { address, query, at, largest: self.limits.body }, policy).await {
            Ok((status, body)) => answer::read(status, &body),
            Err(failure) => Measured::Error(failure.to_string()),
        }
    }

    async fn samples(
        &self,
        source: &analysis::Provider,
        policy: &AddressPolicy,
        query: &str,
        at: Timestamp,
    ) -> Result<Vec<Series>, Unread> {
        let address = &source.prometheus.address;
        match self.ask_in_time(Question { address, query, at, largest: self.limits.samples_body }, policy).await {
            Ok((status, body)) => raw::read(status, &body).map_err(Unread::Other),
            Err(failure @ Failure::TooLarge(_)) => Err(Unread::TooLarge(failure.to_string())),
            Err(failure) => Err(Unread::Other(failure.to_string())),
        }
    }
}

/// Why there is no answer. No host, no query, no part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("the address is not http://host:port or https://host:port")]
    Address,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the name of the server cannot be resolved")]
    Unresolved,
    #[error("the server cannot be reached: connection refused")]
    ConnectionRefused,
    #[error("the server cannot be reached: no connection in time")]
    ConnectTimeout,
    #[error("the server cannot be reached: the TLS handshake failed")]
    Tls,
    #[error("the server cannot be reached")]
    Unreachable,
    #[error("the server did not answer in time")]
    Timeout,
    #[error("the connection broke before the answer was complete")]
    Broken,
    #[error("the answer is larger than {0} bytes; name more labels, or aggregate in a query for a value")]
    TooLarge(usize),
}

fn client(limits: Limits, loopback: bool) -> Result<Client, reqwest::Error> {
    Client::builder()
        .dns_resolver(CheckedResolver { loopback })
        .redirect(redirect::Policy::none())
        // A proxy from the environment would resolve names itself, past our check.
        .no_proxy()
        .referer(false)
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(4)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// `<address>/api/v1/query`, below the address' own path.
fn endpoint(address: &str) -> Result<Url, Failure> {
    let mut url = Url::parse(address).map_err(|_| Failure::Address)?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Failure::Address);
    }
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// The parameters in form encoding, which is the same in a body and in a URL.
fn parameters(query: &str, at: Timestamp, total: Duration) -> String {
    let millis = at.as_millisecond();
    let time = format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000));
    // The server stops working when nobody waits any more.
    let timeout = format!("{}ms", total.as_millis());
    let pairs = [("query", query), ("time", &time), ("timeout", &timeout)];
    // Only its encoder is used; the address is never asked.
    let encoded = Url::parse_with_params("http://localhost/", pairs);
    encoded.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

async fn send(client: &Client, method: Method, url: &Url, parameters: &str) -> Result<Response, Failure> {
    let request = if method == Method::POST {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        client.post(url.clone()).header(CONTENT_TYPE, form).body(parameters.to_owned())
    } else {
        let mut url = url.clone();
        url.set_query(Some(parameters));
        client.get(url)
    };
    request.send().await.map_err(|error| failure(&error))
}

/// Reads the body, at most `limit` bytes of it.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The client's errors name the URL; ours are one of a closed set.
fn failure(error: &reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<Refusal>() {
            return Failure::Refused(*refusal);
        }
        if current.is::<Unresolved>() {
            return Failure::Unresolved;
        }
        let io = current.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Failure::ConnectionRefused;
        }
        if current.is::<rustls::Error>() {
            return Failure::Tls;
        }
        // What an io::Error wraps is not its source: the source is that of what it wraps.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::ConnectTimeout,
        (true, false) => Failure::Unreachable,
        (false, true) => Failure::Timeout,
        (false, false) => Failure::Broken,
    }
}
