//! The controller's process, seen from outside.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longest time for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// Clock ticks per second in `/proc`.
const TICKS: f64 = 100.0;

/// A running controller; it ends with this.
pub struct Controller {
    process: Child,
    metrics: String,
    started: Instant,
    /// From its start until `/readyz` said so.
    pub ready_after: Duration,
}

/// Counts of calls to the API server, by verb and resource. Leases and Events are not among them.
pub struct Requests(BTreeMap<(String, String), u64>);

impl Requests {
    pub fn since(&self, before: &Self) -> Self {
        let grown = |(key, count): (&(String, String), &u64)| (key.clone(), count - before.0.get(key).unwrap_or(&0));
        Self(self.0.iter().map(grown).collect())
    }

    fn sum(&self, verbs: &[&str]) -> u64 {
        self.0.iter().filter(|((verb, _), _)| verbs.contains(&verb.as_str())).map(|(_, count)| count).sum()
    }

    pub fn writes(&self) -> u64 {
        self.sum(&["create", "update", "patch", "delete"])
    }

    pub fn reads(&self) -> u64 {
        self.sum(&["get"])
    }

    pub fn watches(&self) -> u64 {
        self.sum(&["watch"])
    }
}

fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    labels.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("")
}

impl Controller {
    /// Starts the release binary and waits until it is ready.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("tidegate-scale-{port}"));
        let started = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["controller", "--log-level", "warn", "--log-format", "text", "--leader-elect=false"])
            .args(["--metrics-address", &format!("127.0.0.1:{port}")])
            .arg("--data-dir")
            .arg(folder)
            .env("KUBECONFIG", crate::world::controllers_kubeconfig())
            .spawn()
            .unwrap();
        let metrics = format!("http://127.0.0.1:{port}");
        let mut controller = Self { process, metrics, started, ready_after: Duration::ZERO };
        while !reqwest::get(format!("{}/readyz", controller.metrics)).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(started.elapsed() < PATIENCE, "the controller does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        controller.ready_after = started.elapsed();
        controller
    }

    async fn scrape(&self) -> String {
        reqwest::get(format!("{}/metrics", self.metrics)).await.unwrap().text().await.unwrap()
    }

    /// Calls to the API server so far.
    pub async fn requests(&self) -> Requests {
        let mut counts = BTreeMap::new();
        for line in self.scrape().await.lines().filter(|line| line.starts_with("tidegate_api_requests_total{")) {
            let (labels, value) = line.split_once("} ").unwrap();
            let (verb, resource) = (label(labels, "verb").to_owned(), label(labels, "resource").to_owned());
            if !["leases", "events"].contains(&resource.as_str()) {
                *counts.entry((verb, resource)).or_insert(0) += value.parse::<f64>().unwrap() as u64;
            }
        }
        Requests(counts)
    }

    /// Passes over Rollouts so far.
    async fn passes(&self) -> usize {
        let text = self.scrape().await;
        let found =
            text.lines().find_map(|line| line.strip_prefix("tidegate_reconcile_duration_seconds_count{kind=\"Rollout\"} "));
        found.map_or(0, |count| count.parse().unwrap())
    }

    /// From its start until there were as many passes as there are Rollouts.
    pub async fn until_looked_at(&self, count: usize) -> Duration {
        while self.passes().await < count {
            assert!(self.started.elapsed() < PATIENCE, "not all are looked at");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.started.elapsed()
    }

    /// Waits until no pass has run for five seconds.
    pub async fn until_quiet(&self) {
        let mut known = self.passes().await;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let now = self.passes().await;
            if now == known {
                return;
            }
            known = now;
            assert!(self.started.elapsed() < PATIENCE, "it does not come to rest");
        }
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The most resident memory it ever had, in bytes.
    pub fn highest_rss(&self) -> u64 {
        self.status("VmHWM")
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // After the name in brackets, which may hold spaces: user and system time are the 12th and 13th.
        let ticks = text.rsplit(") ").next().unwrap().split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
        Duration::from_secs_f64(ticks.sum::<f64>() / TICKS)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
