//! What the API server holds, and what an observer sees of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pods::{self, Instance, Set};
use crate::api::analysis::Metric;
use crate::api::names;
use crate::api::rollout::{PauseReason, Rollout, RouteId, TemplateRef};
use crate::manifest::digest;
use crate::rollout::managers::Contender;
use crate::rollout::observed::{Observed, ReplicaSet, Run, Service, TemplateCheck};
use crate::rollout::spec::{self, SpecError, ValidatedRollout};
use crate::rollout::trouble::{self, Trouble};
use crate::traffic::gateway::{Gateway, Mirrors};

/// How far back a stale look may reach.
const REMEMBERED: usize = 60;

/// How the model's world behaves.
#[derive(Clone, Debug)]
pub struct World {
    /// How long a pod takes until it is ready and available.
    pub pods_start_in: Duration,
    /// Revisions (by image) whose pods never become ready.
    pub never_ready: Vec<String>,
    /// What keeps them, by image; where nothing is said, they crash.
    pub trouble: BTreeMap<String, trouble::Kind>,
    /// Revisions (by image) of which only so many pods become ready.
    pub at_most: BTreeMap<String, usize>,
    /// How long a gateway takes to confirm a change; none: it is silent.
    pub gateway_answers_in: Option<Duration>,
    /// The same for single routes by name, where they differ.
    pub gateways: BTreeMap<String, Option<Duration>>,
    /// How long the endpoints of a Service take to follow its selector.
    pub endpoints_follow_in: Duration,
    /// Kinds of objects whose writes are refused.
    pub refused: Vec<Kind>,
    /// A PodDisruptionBudget: ready pods that must stay when one is evicted.
    pub keep_ready: Option<usize>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            pods_start_in: Duration::from_secs(2),
            never_ready: Vec::new(),
            trouble: BTreeMap::new(),
            at_most: BTreeMap::new(),
            gateway_answers_in: Some(Duration::from_secs(1)),
            gateways: BTreeMap::new(),
            endpoints_follow_in: Duration::ZERO,
            refused: Vec::new(),
            keep_ready: None,
        }
    }
}

/// Kinds of objects, as far as reads of them can be stale and writes refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The Rollout itself.
    Rollout,
    /// ReplicaSets and their pods.
    ReplicaSets,
    /// Services and their endpoints.
    Services,
    /// Routes and what gateways say of them.
    Routes,
    /// AnalysisRuns.
    Runs,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rollout, Self::ReplicaSets, Self::Services, Self::Routes, Self::Runs];
}

/// How often something was written that must not be written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// ReplicaSets created, by name.
    pub sets_created: BTreeMap<String, u32>,
    /// ReplicaSets deleted, by name.
    pub sets_deleted: BTreeMap<String, u32>,
    /// AnalysisRuns created, by name.
    pub runs_created: BTreeMap<String, u32>,
    /// AnalysisRuns deleted, by name.
    pub runs_deleted: BTreeMap<String, u32>,
}

/// What an observer gets in one moment: the Rollout and everything around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The Rollout.
    pub rollout: Rollout,
    /// The cluster.
    pub seen: Observed,
}

/// One Rollout and the objects around it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The wall clock, which people set.
    pub now: Timestamp,
    /// Time since the model began, which nobody sets.
    pub(super) uptime: Duration,
    /// How the world behaves.
    pub world: World,
    /// The Rollout, as the API server holds it. Changed through [`Cluster::edit`] and by effects only.
    pub rollout: Rollout,
    /// Metrics by the name of their template, with nothing left to fill in.
    pub templates: BTreeMap<String, Vec<Metric>>,
    pub(super) sets: Vec<Set>,
    pub(super) services: BTreeMap<String, ServiceObject>,
    pub(super) routes: BTreeMap<String, Route>,
    pub(super) runs: Vec<Run>,
    pub(super) version: u64,
    /// What was created and deleted so far.
    pub counts: Counts,
    /// Earlier snapshots, for stale looks; kept only where a script has such.
    pub(super) remembers: bool,
    past: VecDeque<(Duration, Snapshot)>,
    /// Who else wrote weights or a selector last.
    pub(super) contenders: BTreeMap<String, Contender>,
    /// When somebody else last changed routes, Services or ReplicaSets.
    pub(super) meddled: Option<Duration>,
    /// The step that pauses, by revision, attempt and index, and since when by the model's own time; none where the
    /// controller's clock was set in between.
    paused: Option<((i64, i32, i32), Option<Duration>)>,
    clock_was_set: bool,
    /// Everything that was applied, in words, since it was last taken.
    pub log: Vec<String>,
}

/// A Service: its object, and how its endpoints follow.
#[derive(Clone, Debug)]
pub(super) struct ServiceObject {
    pub object: Value,
    /// When its selector last moved, and from where.
    pub moved: Option<(Duration, Option<String>)>,
}

impl ServiceObject {
    pub(super) fn hash(&self) -> Option<String> {
        self.object["spec"]["selector"].get(names::POD_TEMPLATE_HASH).and_then(Value::as_str).map(str::to_owned)
    }
}

/// A route: its object, and what its gateway has of it.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub object: Value,
    /// When its spec was last written.
    pub written: Duration,
    /// Its object when the gateway last confirmed it.
    pub confirmed: Value,
}

impl Cluster {
    /// A cluster with the Rollout, its Services and its routes, and nothing else.
    #[must_use]
    pub fn new(mut rollout: Rollout, now: Timestamp) -> Self {
        rollout.metadata.uid.get_or_insert("rollout-uid".to_owned());
        rollout.metadata.generation.get_or_insert(1);
        rollout.metadata.resource_version.get_or_insert("1".to_owned());
        let canary = rollout.spec.strategy.canary.clone();
        let mut cluster = Self {
            now,
            uptime: Duration::ZERO,
            world: World::default(),
            rollout,
            templates: BTreeMap::new(),
            sets: Vec::new(),
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
            runs: Vec::new(),
            version: 1,
            counts: Counts::default(),
            remembers: false,
            past: VecDeque::new(),
            contenders: BTreeMap::new(),
            meddled: None,
            paused: None,
            clock_was_set: false,
            log: Vec::new(),
        };
        for name in [&canary.stable_service, &canary.canary_service].into_iter().flatten() {
            cluster.create_service(name);
        }
        for route in canary.routes() {
            cluster.create_route(&route.name, 1);
        }
        cluster
    }

    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn namespace(&self) -> String {
        self.rollout.metadata.namespace.clone().unwrap_or_default()
    }

    /// The Rollout as the engine reads it.
    pub fn validated(&self) -> Result<ValidatedRollout, SpecError> {
        spec::validate(&self.rollout)
    }

    /// What an observer gets now.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        Snapshot { rollout: self.rollout.clone(), seen: self.observe() }
    }

    /// What an observer gets whose reads of some kinds are older than now.
    #[must_use]
    pub fn look_back(&self, ages: &BTreeMap<Kind, Duration>) -> Snapshot {
        let mut snapshot = self.look();
        for (kind, age) in ages {
            let then = self.uptime.saturating_sub(*age);
            let Some((_, past)) = self.past.iter().rev().find(|(at, _)| *at <= then).or_else(|| self.past.front()) else {
                continue;
            };
            // `now` is always that of the observer: it reads its clock, not the API server's cache.
            let Observed {
                now: _,
                replica_sets,
                stable_service,
                canary_service,
                routes,
                rules_have_names: _,
                gateways,
                runs,
                background: _,
                step_metrics: _,
                template,
                pods,
                contenders,
                templates,
                trouble,
            } = past.seen.clone();
            match kind {
                Kind::Rollout => snapshot.rollout = past.rollout.clone(),
                Kind::ReplicaSets => {
                    (snapshot.seen.replica_sets, snapshot.seen.template) = (replica_sets, template);
                    snapshot.seen.pods = pods;
                    (snapshot.seen.templates, snapshot.seen.trouble) = (templates, trouble);
                }
                Kind::Services => {
                    snapshot.seen.contenders = contenders;
                    (snapshot.seen.stable_service, snapshot.seen.canary_service) = (stable_service, canary_service);
                }
                Kind::Routes => {
                    snapshot.seen.contenders = contenders;
                    (snapshot.seen.routes, snapshot.seen.gateways) = (routes, gateways);
                }
                Kind::Runs => snapshot.seen.runs = runs,
            }
        }
        snapshot
    }

    /// Another number whenever something that an observer can see changed: what a watch would report.
    pub(super) fn fingerprint(&self) -> Vec<u64> {
        let sets = self.sets.iter().map(|set| self.replica_set(set));
        let pods = sets.flat_map(|set| [set.ready, set.available]).map(|pods| u64::try_from(pods).unwrap_or(0));
        let gateways = self.routes.values().map(|route| route.confirmed["metadata"]["generation"].as_u64().unwrap_or(0));
        let endpoints = self.services.values().map(|service| u64::from(self.endpoints_follow(service)));
        pods.chain(gateways).chain(endpoints).chain([self.version]).collect()
    }

    /// The cluster as it is now.
    #[must_use]
    pub fn observe(&self) -> Observed {
        let canary = &self.rollout.spec.strategy.canary;
        let background = canary.analysis.as_ref().map(|analysis| self.metrics_of(&analysis.templates));
        let step_metrics = canary.steps.iter().enumerate();
        let step_metrics =
            step_metrics.filter_map(|(index, step)| Some((index, self.metrics_of(&step.analysis.as_ref()?.templates))));
        let route = |id: RouteId| {
            let live = self.routes.get(&id.name).map(|route| self.with_status(route));
            (id, live)
        };
        Observed {
            now: self.now,
            replica_sets: self.sets.iter().map(|set| self.replica_set(set)).collect(),
            stable_service: canary.stable_service.as_ref().and_then(|name| self.service(name)),
            canary_service: canary.canary_service.as_ref().and_then(|name| self.service(name)),
            routes: canary.routes().map(route).collect(),
            rules_have_names: true,
            gateways: vec![Gateway {
                namespace: self.namespace(),
                name: "gateway".to_owned(),
                controller: "model".to_owned(),
                programmed: true,
                mirrors: Mirrors::Parts,
            }],
            runs: self.runs.clone(),
            background,
            step_metrics: step_metrics.collect(),
            template: TemplateCheck::Accepted,
            pods: self.pods(),
            contenders: self.contenders.clone(),
            templates: self.sets.iter().map(|set| (set.hash.clone(), set.written.clone())).collect(),
            trouble: self.trouble(),
        }
    }

    fn metrics_of(&self, templates: &[TemplateRef]) -> Result<Vec<Metric>, String> {
        let metrics = |template: &TemplateRef| {
            let name = &template.template_name;
            self.templates.get(name).cloned().ok_or_else(|| format!("AnalysisTemplate {name} does not exist"))
        };
        Ok(templates.iter().map(metrics).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// What the cluster says of pods of the spec's revision that are not ready.
    fn trouble(&self) -> Option<Trouble> {
        let hash = digest::template_hash(&self.digest());
        let set = self.sets.iter().find(|set| set.hash == hash)?;
        let short = self.ready_pods(set) < usize::try_from(set.wanted()).unwrap_or(0);
        let never = self.world.never_ready.contains(&set.image) || self.world.at_most.contains_key(&set.image);
        if !short || !never {
            return None;
        }
        let kind = self.world.trouble.get(&set.image).copied().unwrap_or(trouble::Kind::NotReady);
        let detail = match kind {
            trouble::Kind::NotReady => "container web crashes: Error, exit code 1",
            trouble::Kind::Starting => "container web waits: CreateContainerConfigError",
            trouble::Kind::NodeLost => "its node does not answer",
            trouble::Kind::ImagePull => "the image of container web cannot be pulled",
            trouble::Kind::Unschedulable => "no node takes it: Insufficient cpu",
            trouble::Kind::Refused => "no pod is created: a policy refuses it",
            trouble::Kind::QuotaExceeded => "no pod is created: exceeded quota",
        };
        Some(Trouble { kind, detail: detail.to_owned() })
    }

    /// The AnalysisRuns, each with its phase.
    #[must_use]
    pub fn runs(&self) -> Vec<String> {
        self.runs.iter().map(|run| format!("{} {:?}", run.name, run.status.phase)).collect()
    }

    /// Every version of every route that a gateway may be serving now: the one it confirmed last, and the present one. A route
    /// that the spec no longer names is nobody's business any more.
    #[must_use]
    pub fn serving(&self) -> Vec<Value> {
        let versions = |route: &Route| {
            let mut versions = vec![route.object.clone()];
            if route.confirmed["spec"] != route.object["spec"] {
                versions.push(route.confirmed.clone());
            }
            versions
        };
        let names = self.route_names();
        self.routes.iter().filter(|(name, _)| names.contains(name)).flat_map(|(_, route)| versions(route)).collect()
    }

    pub(super) fn ready_pods(&self, set: &Set) -> usize {
        self.pods_ready_for(set, Duration::ZERO)
    }

    /// Pods that have been ready for so long.
    fn pods_ready_for(&self, set: &Set, long: Duration) -> usize {
        let never = self.world.never_ready.contains(&set.image);
        let needed = self.world.pods_start_in + long;
        let up = |pod: &&Instance| !never && self.uptime.saturating_sub(pod.started) >= needed;
        let at_most = self.world.at_most.get(&set.image).copied().unwrap_or(usize::MAX);
        set.pods.iter().filter(up).count().min(at_most)
    }

    fn endpoints_follow(&self, service: &ServiceObject) -> bool {
        let moved = service.moved.as_ref();
        moved.is_none_or(|(at, _)| self.uptime.saturating_sub(*at) >= self.world.endpoints_follow_in)
    }

    fn replica_set(&self, set: &Set) -> ReplicaSet {
        let ready = i32::try_from(self.ready_pods(set)).unwrap_or(i32::MAX);
        let long = set.object["spec"]["minReadySeconds"].as_u64().unwrap_or(0);
        let available = i32::try_from(self.pods_ready_for(set, Duration::from_secs(long))).unwrap_or(i32::MAX);
        let meta = &set.object["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or("").to_owned();
        let revision = meta["labels"][names::REVISION].as_str().and_then(|number| number.parse().ok());
        let current = i32::try_from(set.pods.len()).unwrap_or(i32::MAX);
        ReplicaSet {
            name: text("name"),
            uid: text("uid"),
            // It changes with the status, too.
            resource_version: format!("{}.{current}.{ready}.{available}", text("resourceVersion")),
            generation: meta["generation"].as_i64().unwrap_or(0),
            hash: set.hash.clone(),
            revision: revision.unwrap_or(0),
            wanted: set.wanted(),
            current,
            ready,
            available,
            deleting: false,
            worn: pods::worn(&set.object),
        }
    }

    fn service(&self, name: &str) -> Option<Service> {
        let service = self.services.get(name)?;
        let hash = service.hash();
        let routed = match &service.moved {
            Some((_, from)) if !self.endpoints_follow(service) => from.clone(),
            _ => hash.clone(),
        };
        let mut endpoints = BTreeMap::new();
        for set in self.sets.iter().map(|set| self.replica_set(set)) {
            if set.ready > 0 && routed.as_ref().is_none_or(|hash| *hash == set.hash) {
                endpoints.insert(set.hash.clone(), set.ready);
            }
        }
        let meta = |key: &str| service.object["metadata"][key].as_str().unwrap_or("").to_owned();
        Some(Service {
            name: name.to_owned(),
            uid: meta("uid"),
            resource_version: meta("resourceVersion"),
            hash,
            has_selector: true,
            ready_endpoints: endpoints,
        })
    }

    fn with_status(&self, route: &Route) -> Value {
        let seen = &route.confirmed["metadata"]["generation"];
        let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": seen});
        let mut object = route.object.clone();
        object["status"] = json!({"parents": [{"controllerName": "model", "parentRef": {"name": "gateway"},
            "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]});
        object
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        if self.remembers {
            self.past.push_back((self.uptime, self.look()));
            if self.past.len() > REMEMBERED {
                self.past.pop_front();
            }
        }
        self.uptime += time;
        self.step_clock(SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO));
        self.gateways_answer();
    }

    /// Gateways confirm what they had long enough.
    pub(super) fn gateways_answer(&mut self) {
        for (name, route) in &mut self.routes {
            let lag = self.world.gateways.get(name).unwrap_or(&self.world.gateway_answers_in);
            if lag.is_some_and(|lag| self.uptime.saturating_sub(route.written) >= lag) {
                route.confirmed.clone_from(&route.object);
            }
        }
    }

    /// Somebody else changed routes, Services or ReplicaSets.
    pub(super) fn meddle(&mut self) -> u64 {
        self.meddled = Some(self.uptime);
        self.next_version()
    }

    /// Somebody sets the wall clock.
    pub fn set_clock(&mut self, by: SignedDuration) {
        self.clock_was_set = true;
        self.step_clock(by);
    }

    /// A controller starts, and takes the wall clock as it finds it.
    pub(super) fn clock_is_read_anew(&mut self) {
        if std::mem::take(&mut self.clock_was_set)
            && let Some((_, since)) = &mut self.paused
        {
            *since = None;
        }
    }

    /// Notes since when the present step pauses.
    pub(super) fn note_pause(&mut self) {
        let status = self.rollout.status.clone().unwrap_or_default();
        let paused = status.pause_conditions.iter().any(|pause| pause.reason == PauseReason::CanaryPauseStep);
        let key = (
            status.canary.map_or(0, |canary| canary.revision),
            status.attempt.unwrap_or(1),
            status.current_step_index.unwrap_or(0),
        );
        if !paused {
            self.paused = None;
        } else if self.paused.is_none_or(|(known, _)| known != key) {
            self.paused = Some((key, Some(self.uptime)));
        }
    }

    /// For how long the present step has paused.
    pub(super) fn paused_for(&self) -> Option<Duration> {
        self.paused.and_then(|(_, since)| since).map(|since| self.uptime.saturating_sub(since))
    }

    fn step_clock(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).unwrap_or(self.now);
    }

    /// The revision's image, for people.
    pub(super) fn label(&self, hash: &str) -> String {
        self.sets.iter().find(|set| set.hash == hash).map_or_else(|| hash.to_owned(), |set| set.image.clone())
    }

    /// Digest of the template that the spec asks for.
    #[must_use]
    pub fn digest(&self) -> String {
        digest::template_digest(&self.rollout.spec.template)
    }
}

/// The image of a Rollout's first container.
pub(super) fn image_of(rollout: &Rollout) -> String {
    let image = rollout.spec.template.pointer("/spec/containers/0/image").and_then(Value::as_str);
    image.unwrap_or("").to_owned()
}
