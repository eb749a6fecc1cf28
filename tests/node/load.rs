//! The witness: a constant rate of requests through the gateway, counted by version and status.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Longest load; a story that hangs must not leave one behind.
const AT_MOST: Duration = Duration::from_secs(240);

/// A load under way.
pub struct Load {
    child: Child,
}

/// What was answered.
#[derive(Debug)]
pub struct Answers {
    /// All requests.
    pub requests: i64,
    /// Requests without a good answer.
    pub bad: i64,
    /// By `<version>/<status>`.
    pub by: BTreeMap<String, i64>,
}

impl Answers {
    /// Good answers of a version.
    pub fn of(&self, version: &str) -> i64 {
        self.by.get(&format!("{version}/200")).copied().unwrap_or(0)
    }

    /// No request was lost, and there were enough to notice one that is.
    pub fn assert_none_lost(&self) {
        assert!(self.requests > 100, "too few requests to say anything: {self:?}");
        assert_eq!(self.bad, 0, "requests were lost: {self:?}");
    }
}

impl Load {
    /// Asks `host` through the gateway, this many times a second, until [`Load::end`]. `program` is the testbed's `load`.
    pub fn start(program: &str, target: &str, host: &str, per_second: u32) -> Self {
        let child = Command::new(program)
            .args(["--target", target, "--host", host, "--rate", &per_second.to_string()])
            .args(["--duration", &format!("{}s", AT_MOST.as_secs())])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Ends the load once every request under way has its answer.
    pub fn end(mut self) -> Answers {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "the load ended by itself: the story took longer than {AT_MOST:?}");
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let summary = &line["summary"];
        let by = summary["by"].as_object().unwrap();
        Answers {
            requests: summary["requests"].as_i64().unwrap(),
            bad: summary["bad"].as_i64().unwrap(),
            by: by.iter().map(|(key, count)| (key.clone(), count.as_i64().unwrap())).collect(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A story that failed has not ended it; for one that has, there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
