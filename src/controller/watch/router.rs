//! From changes to those whom they concern.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::follow::{Change, config, follow};
use super::known::{self, Known};
use super::seen::Versions;
use crate::api::analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate};
use crate::api::application::Application;
use crate::api::names;
use crate::api::rollout::{Rollout, RouteKind};
use crate::controller::Context;
use crate::controller::queue::{Key, Wakes, Why};
use crate::controller::rollout::observe::{gateway_resource, is_programmed, route_resource};
use crate::sync::own::Owner;

/// Rollouts are first looked at when every kind that they depend on was listed, or after this long.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// Knows who is to be told of what.
pub struct Router {
    ctx: Arc<Context>,
    rollouts: Wakes,
    runs: Wakes,
    applications: Wakes,
    /// Applications by the label that what they applied has.
    labels: Mutex<HashMap<String, Key>>,
    /// AnalysisRuns that have not ended.
    measured: Mutex<HashSet<Key>>,
    /// Rollouts are being looked at: from now on everything new concerns somebody.
    looking: AtomicBool,
}

/// An interface to the metadata of a kind.
type Metadata<K> = Api<PartialObjectMeta<K>>;

/// Told when a kind was listed, or could not be.
type Listed = Option<oneshot::Sender<()>>;

fn key_of(object: &impl ResourceExt) -> Key {
    Key::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// The Rollout that owns an object.
fn owner(object: &impl ResourceExt) -> Option<Key> {
    let owners = object.owner_references().iter();
    let ours = |kind: &str, version: &str| kind == "Rollout" && version.split('/').next() == Some(crate::api::GROUP);
    let mut owners = owners.filter(|owner| owner.controller == Some(true) && ours(&owner.kind, &owner.api_version));
    owners.next().map(|owner| Key::new(&object.namespace().unwrap_or_default(), &owner.name))
}

/// The label of what an Application applies.
fn label(application: &impl ResourceExt) -> String {
    let (namespace, name) = (application.namespace().unwrap_or_default(), application.name_any());
    Owner { namespace, name, uid: application.uid().unwrap_or_default() }.label()
}

/// All objects of a kind that we know by name only, in the namespaces we look after.
fn dynamic(ctx: &Context, resource: &ApiResource) -> Metadata<DynamicObject> {
    match &ctx.args.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, resource),
        None => Api::all_with(ctx.client.clone(), resource),
    }
}

impl Router {
    /// A router that wakes these.
    pub fn new(ctx: Arc<Context>, rollouts: Wakes, runs: Wakes, applications: Wakes) -> Self {
        let (labels, measured, looking) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { ctx, rollouts, runs, applications, labels, measured, looking }
    }

    /// Starts all watches.
    pub fn spawn(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let mut others = Vec::new();
        let mut listed = || {
            let (sender, receiver) = oneshot::channel();
            others.push(receiver);
            Some(sender)
        };
        let ctx = &self.ctx;
        let (sets, services, slices): (Metadata<ReplicaSet>, Metadata<Service>, Metadata<EndpointSlice>) =
            (ctx.api(), ctx.api(), ctx.api());
        tasks.spawn(self.other("replicasets", sets, config().labels(names::ROLLOUT), listed(), |router, set| {
            router.owned_changed(set);
        }));
        tasks.spawn(self.other(known::SERVICES, services, config(), listed(), |router, service| {
            router.wake_users(known::SERVICES, &key_of(service));
        }));
        tasks.spawn(self.other("endpointslices", slices, config(), listed(), |router, slice| {
            let service = slice.labels().get("kubernetes.io/service-name").cloned().unwrap_or_default();
            router.wake_users(known::SERVICES, &Key::new(&slice.namespace().unwrap_or_default(), &service));
        }));
        for kind in RouteKind::ALL {
            let routes = dynamic(ctx, &route_resource(kind));
            tasks.spawn(self.other(kind.plural(), routes, config(), listed(), move |router, route| {
                router.wake_users(kind.plural(), &key_of(route));
            }));
        }
        let templates: Metadata<AnalysisTemplate> = ctx.api();
        tasks.spawn(self.other("analysistemplates", templates, config(), listed(), |router, template| {
            router.wake_unsettled(template.namespace().as_deref());
        }));
        let templates: Metadata<ClusterAnalysisTemplate> = Api::all(ctx.client.clone());
        let wake_unsettled = |router: &Self, _: &_| router.wake_unsettled(None);
        tasks.spawn(self.other("clusteranalysistemplates", templates, config(), listed(), wake_unsettled));
        let classes: Metadata<DynamicObject> =
            Api::all_with(ctx.client.clone(), &gateway_resource("GatewayClass", "gatewayclasses"));
        tasks.spawn(self.other("gatewayclasses", classes, config(), listed(), |router, _| router.wake_unsettled(None)));
        tasks.spawn(Arc::clone(self).gateways(listed()));
        tasks.spawn(Arc::clone(self).analysis_runs(listed()));
        tasks.spawn(Arc::clone(self).applications());
        tasks.spawn(Arc::clone(self).rollouts(others));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.ctx.known()
    }

    fn labels(&self) -> MutexGuard<'_, HashMap<String, Key>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a kind of which metadata is enough. What is in the first list is nobody's news, as Rollouts are looked at
    /// after it; unless that list comes late.
    fn other<K>(
        self: &Arc<Self>,
        plural: &'static str,
        api: Api<PartialObjectMeta<K>>,
        config: watcher::Config,
        mut listed: Listed,
        concerns: impl Fn(&Self, &PartialObjectMeta<K>) + Send + Sync + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let router = Arc::clone(self);
        async move {
            let heard = |change: Change<PartialObjectMeta<K>>, _: &Versions| match change {
                Change::Appeared(object) if router.looking.load(Ordering::SeqCst) => concerns(&router, &object),
                Change::Appeared(_) => {}
                Change::Changed(object) | Change::Gone(object) => concerns(&router, &object),
                Change::Listed { .. } | Change::Failed => router.listed(&mut listed, &change),
            };
            follow(&router.ctx.seen, plural, api, config, router.ctx.nets.list_again, heard).await;
        }
    }

    /// Tells that a kind was listed, or could not be. What is missing from a list that came again is not known by name.
    fn listed<K>(&self, listed: &mut Listed, change: &Change<K>) {
        if let Some(listed) = listed.take() {
            // An error means that nobody waits for it any more.
            let _ = listed.send(());
        }
        if matches!(change, Change::Listed { vanished: true }) {
            self.wake_all();
        }
    }

    fn owned_changed(&self, object: &impl ResourceExt) {
        if let Some(owner) = owner(object) {
            self.rollouts.wake(owner, Why::Event);
        }
    }

    /// Wakes the Rollouts that name an object.
    fn wake_users(&self, kind: &'static str, object: &Key) {
        for key in self.known().who(kind, object) {
            self.rollouts.wake(key, Why::Event);
        }
    }

    /// Wakes the Rollouts with something under way, of one namespace or of all.
    fn wake_unsettled(&self, namespace: Option<&str>) {
        for (key, settled) in self.known().all() {
            if !settled && namespace.is_none_or(|namespace| *key.namespace == *namespace) {
                self.rollouts.wake(key.clone(), Why::Event);
            }
        }
    }

    fn wake_all(&self) {
        for (key, settled) in self.known().all() {
            self.rollouts.wake(key.clone(), if settled { Why::Calm } else { Why::Event });
        }
    }

    /// Wakes everything that could have something to do.
    pub fn wake_everything(&self) {
        self.wake_all();
        for key in self.measured.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.runs.wake(key.clone(), Why::Event);
        }
        for key in self.labels().values() {
            self.applications.wake(key.clone(), Why::Event);
        }
    }

    /// Gateways say much in their status; only whether they are programmed, and by whom, concerns a Rollout.
    async fn gateways(self: Arc<Self>, mut listed: Listed) {
        let api: Api<DynamicObject> = Api::all_with(self.ctx.client.clone(), &gateway_resource("Gateway", "gateways"));
        let mut known: HashMap<Key, (Option<String>, bool)> = HashMap::new();
        let heard = |change: Change<DynamicObject>, _: &Versions| match change {
            Change::Appeared(gateway) | Change::Changed(gateway) => {
                let class = gateway.data.pointer("/spec/gatewayClassName").and_then(|class| class.as_str());
                let now = (class.map(str::to_owned), is_programmed(&gateway));
                let before = known.insert(key_of(&gateway), now.clone());
                if before != Some(now) && self.looking.load(Ordering::SeqCst) {
                    self.wake_all();
                }
            }
            Change::Gone(gateway) => {
                known.remove(&key_of(&gateway));
                self.wake_all();
            }
            Change::Listed { .. } | Change::Failed => self.listed(&mut listed, &change),
        };
        follow(&self.ctx.seen, "gateways", api, config(), self.ctx.nets.list_again, heard).await;
    }

    async fn analysis_runs(self: Arc<Self>, mut listed: Listed) {
        let api = self.ctx.api::<AnalysisRun>();
        let measure = |run: &AnalysisRun| {
            let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
            if run.status.as_ref().is_none_or(|status| status.completed_at.is_none()) {
                measured.insert(key_of(run));
                self.runs.wake(key_of(run), Why::Event);
            } else {
                measured.remove(&key_of(run));
            }
        };
        let told = |run: &AnalysisRun| {
            if let Some(owner) = owner(run) {
                self.rollouts.wake(owner, Why::Event);
            }
        };
        let heard = |change: Change<AnalysisRun>, _: &Versions| match change {
            Change::Appeared(run) => {
                measure(&run);
                if self.looking.load(Ordering::SeqCst) {
                    told(&run);
                }
            }
            Change::Changed(run) => {
                measure(&run);
                told(&run);
            }
            Change::Gone(run) => {
                self.measured.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(&run));
                self.ctx.failures.clear("AnalysisRun", &run.namespace().unwrap_or_default(), &run.name_any());
                self.ctx.run_statuses.drop_ahead(&run.uid().unwrap_or_default());
                self.ctx.wanted.forget(&run.uid().unwrap_or_default());
                told(&run);
            }
            Change::Listed { .. } | Change::Failed => self.listed(&mut listed, &change),
        };
        follow(&self.ctx.seen, "analysisruns", api, config(), self.ctx.nets.list_again, heard).await;
    }

    async fn applications(self: Arc<Self>) {
        let api = self.ctx.api::<PartialObjectMeta<Application>>();
        let heard = |change: Change<PartialObjectMeta<Application>>, _: &Versions| match change {
            Change::Appeared(application) | Change::Changed(application) => {
                self.labels().insert(label(&application), key_of(&application));
                self.applications.wake(key_of(&application), Why::Event);
            }
            Change::Gone(application) => {
                self.labels().remove(&label(&application));
                let (namespace, name) = (application.namespace().unwrap_or_default(), application.name_any());
                self.ctx.failures.clear("Application", &namespace, &name);
                self.ctx.polls.forget(&namespace, &name);
            }
            Change::Listed { .. } | Change::Failed => {}
        };
        follow(&self.ctx.seen, "applications", api, config(), self.ctx.nets.list_again, heard).await;
    }

    async fn rollouts(self: Arc<Self>, others: Vec<oneshot::Receiver<()>>) {
        if tokio::time::timeout(LISTED_WITHIN, join_all(others)).await.is_err() {
            tracing::warn!("not everything could be listed within {} s; Rollouts are looked at anyway", LISTED_WITHIN.as_secs());
        }
        self.looking.store(true, Ordering::SeqCst);
        let api = self.ctx.api::<Rollout>();
        let heard = |change: Change<Rollout>, versions: &Versions| match change {
            Change::Appeared(rollout) => {
                let key = self.known().note(&rollout);
                self.rollouts.wake(key, if known::is_settled(&rollout) { Why::Calm } else { known::why(&rollout) });
            }
            Change::Changed(rollout) => {
                let key = self.known().note(&rollout);
                self.rollouts.wake(key, known::why(&rollout));
                self.wake_application(&rollout);
            }
            Change::Gone(rollout) => {
                self.forget(&key_of(&rollout));
                self.ctx.rollout_statuses.drop_ahead(&rollout.uid().unwrap_or_default());
                self.wake_application(&rollout);
            }
            Change::Listed { vanished: true } => {
                let keys: Vec<Key> = self.known().all().map(|(key, _)| key.clone()).collect();
                for key in keys.iter().filter(|key| !versions.contains(&key.namespace, &key.name)) {
                    self.forget(key);
                }
            }
            Change::Listed { vanished: false } | Change::Failed => {}
        };
        follow(&self.ctx.seen, "rollouts", api, config(), self.ctx.nets.list_again, heard).await;
    }

    /// Nothing of a Rollout that is gone is left in memory.
    fn forget(&self, key: &Key) {
        self.known().forget(key);
        self.ctx.metrics.forget_rollout(&key.namespace, &key.name);
        self.ctx.failures.clear("Rollout", &key.namespace, &key.name);
    }

    /// Wakes the Application that applied a Rollout, as the label says; the Application's pass believes its inventory only.
    fn wake_application(&self, rollout: &Rollout) {
        let owner = rollout.labels().get(names::OWNED_BY).and_then(|label| self.labels().get(label).cloned());
        if let Some(owner) = owner {
            self.applications.wake(owner, Why::Event);
        }
    }
}
