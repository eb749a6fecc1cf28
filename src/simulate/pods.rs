//! ReplicaSets and their pods.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::api::names;
use crate::rollout::observed::{Pod, Worn};

/// A ReplicaSet: its object, and its pods.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// As the API server holds it.
    pub object: Value,
    pub hash: String,
    pub image: String,
    /// The template as it was written.
    pub written: Value,
    pub pods: Vec<Instance>,
    /// Pods that it ever had.
    born: u64,
}

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// Its metadata, as patches see it.
    pub object: Value,
    /// When it was started, by the model's own time.
    pub started: Duration,
    /// The same by the clock that people read.
    pub created: Timestamp,
}

impl Set {
    pub(super) fn new(object: Value, hash: &str, image: &str) -> Self {
        Self { object, hash: hash.to_owned(), image: image.to_owned(), written: Value::Null, pods: Vec::new(), born: 0 }
    }

    pub(super) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or("")
    }

    pub(super) fn wanted(&self) -> i32 {
        self.object["spec"]["replicas"].as_i64().and_then(|wanted| i32::try_from(wanted).ok()).unwrap_or(0)
    }

    /// The ReplicaSet's controller makes as many pods as are wanted, from the template as it is now, or takes the youngest.
    pub(super) fn follow(&mut self, uptime: Duration, now: Timestamp) {
        let wanted = usize::try_from(self.wanted()).unwrap_or(0);
        self.pods.truncate(wanted);
        while self.pods.len() < wanted {
            self.born += 1;
            let mut metadata = self.object.pointer("/spec/template/metadata").cloned().unwrap_or_else(|| json!({}));
            metadata["name"] = json!(format!("{}-{}", self.name(), self.born));
            metadata["uid"] = json!(format!("{}-{}", self.object["metadata"]["uid"].as_str().unwrap_or(""), self.born));
            metadata["resourceVersion"] = json!("1");
            self.pods.push(Instance { object: json!({"metadata": metadata}), started: uptime, created: now });
        }
    }
}

fn map(value: Option<&Value>) -> BTreeMap<String, String> {
    value.and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}

/// What a ReplicaSet wears, as an observer reads it.
pub(super) fn worn(object: &Value) -> Worn {
    let seconds = object["spec"]["minReadySeconds"].as_i64().and_then(|seconds| i32::try_from(seconds).ok());
    Worn {
        min_ready_seconds: seconds.unwrap_or(0),
        labels: map(object.pointer("/spec/template/metadata/labels")),
        annotations: map(object.pointer("/spec/template/metadata/annotations")),
        affinity: object.pointer("/spec/template/spec/affinity").cloned().unwrap_or(Value::Null),
    }
}

impl Cluster {
    /// All pods, as an observer reads them.
    pub(super) fn pods(&self) -> Vec<Pod> {
        let pods = self.sets.iter().flat_map(|set| {
            let ready = self.ready_pods(set);
            set.pods.iter().enumerate().map(move |(index, pod)| {
                let text = |key: &str| pod.object["metadata"][key].as_str().unwrap_or("").to_owned();
                Pod {
                    name: text("name"),
                    uid: text("uid"),
                    resource_version: text("resourceVersion"),
                    hash: set.hash.clone(),
                    created: Timestamp::from_second(pod.created.as_second()).unwrap_or(pod.created),
                    ready: index < ready,
                    deleting: false,
                    worn: Worn {
                        labels: map(pod.object.pointer("/metadata/labels")),
                        annotations: map(pod.object.pointer("/metadata/annotations")),
                        ..Worn::default()
                    },
                }
            })
        });
        pods.collect()
    }

    /// Pods of each image by the value of their label `role`, for people.
    #[must_use]
    pub fn roles(&self) -> String {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (set, pod) in self.sets.iter().flat_map(|set| set.pods.iter().map(move |pod| (set, pod))) {
            let role = pod.object.pointer("/metadata/labels/role").and_then(Value::as_str).unwrap_or("none");
            *counts.entry((set.image.clone(), role.to_owned())).or_default() += 1;
        }
        let words = counts.into_iter().map(|((image, role), pods)| format!("{pods} pods of {image} are {role}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// A pod is gone, and its ReplicaSet makes another. False: it was gone before, or the budget of people says no.
    pub(super) fn evict(&mut self, name: &str, uid: &str) -> bool {
        let (uptime, now) = (self.uptime, self.now);
        let ready: usize = self.sets.iter().map(|set| self.ready_pods(set)).sum();
        let refused = self.world.keep_ready.is_some_and(|least| ready <= least);
        for set in &mut self.sets {
            let known =
                set.pods.iter().position(|pod| pod.object["metadata"]["uid"] == uid && pod.object["metadata"]["name"] == name);
            let Some(index) = known else { continue };
            if refused {
                self.log.push(format!("pod of {}: not evicted, a PodDisruptionBudget says no", set.image));
                return false;
            }
            set.pods.remove(index);
            set.follow(uptime, now);
            self.log.push(format!("pod of {}: evicted", set.image));
            return true;
        }
        false
    }
}

/// Labels of a ReplicaSet that people see.
pub(super) fn labels(hash: &str, revision: i64) -> Value {
    json!({names::REVISION: revision.to_string(), names::POD_TEMPLATE_HASH: hash})
}
