//! One snapshot of the cluster for one Rollout. Read from the API server itself, never from a cache: a decision on a
//! stale view is how rollouts get stuck. Watches only say when to look.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::metrics;
use crate::api::analysis::AnalysisRun;
use crate::api::names;
use crate::api::request::RolloutAction;
use crate::api::rollout::{RouteId, RouteKind};
use crate::controller::error::{Error, find, status_code, within};
use crate::rollout::dress::Dress;
use crate::rollout::managers::{self, Contender};
use crate::rollout::objects;
use crate::rollout::observed::{self, Observed, Run, TemplateCheck, Worn};
use crate::rollout::spec::ValidatedRollout;
use crate::rollout::trouble::{self, Trouble};
use crate::traffic::gateway::{Gateway, Mirrors};

/// A kind of route as Gateway API serves it.
#[must_use]
pub fn route_resource(kind: RouteKind) -> ApiResource {
    gateway_resource(kind.kind(), kind.plural())
}

/// Another kind of Gateway API.
#[must_use]
pub fn gateway_resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind), plural)
}

/// Everything the decision needs, as it is now.
pub async fn observe(client: &Client, rollout: &ValidatedRollout, now: jiff::Timestamp) -> Result<Observed, Error> {
    let mut observed = glance(client, rollout, now).await?;
    if !observed.replica_sets.iter().any(|set| set.hash == rollout.hash) {
        observed.template = try_template(client, rollout).await?;
    }
    observed.rules_have_names = try_rule_names(client, rollout, &observed).await?;
    Ok(observed)
}

/// The same without asking the API server about the template of a new revision. All reads go out at once: a list from the
/// store itself may take a tenth of a second, as the API server first makes sure that it knows the newest.
pub async fn glance(client: &Client, rollout: &ValidatedRollout, now: jiff::Timestamp) -> Result<Observed, Error> {
    let owned = ListParams::default().labels(&format!("{}={}", names::ROLLOUT, rollout.name));
    let (raw_sets, runs, hashes, (routes, gateways), stable, canary, sources) = futures::try_join!(
        list_sets(client, rollout, &owned),
        list_runs(client, rollout, &owned),
        pod_hashes(client, rollout),
        get_routes_and_gateways(client, rollout),
        get_service(client, rollout, &rollout.stable_service),
        get_service(client, rollout, &rollout.canary_service),
        metrics::sources(client, rollout),
    )?;
    let sets: Vec<observed::ReplicaSet> = raw_sets.iter().map(replica_set).collect();
    let (background, step_metrics) = metrics::resolved(rollout, sources, &routes)?;
    let pods = get_pods(client, rollout, &sets, now).await?;
    let trouble = get_trouble(client, rollout, &raw_sets).await?;
    let route_contenders =
        routes.iter().filter_map(|(id, route)| Some((id.to_string(), managers::contender(route.as_ref()?, "rules")?)));
    let services = [&stable, &canary].into_iter().flatten();
    let service_contenders =
        services.filter_map(|found| Some((format!("Service {}", found.service.name_any()), found.contender()?)));
    let contenders = route_contenders.chain(service_contenders).collect();
    Ok(Observed {
        now,
        replica_sets: sets,
        stable_service: stable.map(|found| found.with(&hashes)),
        canary_service: canary.map(|found| found.with(&hashes)),
        routes,
        rules_have_names: true,
        gateways,
        runs,
        background,
        step_metrics,
        template: TemplateCheck::Accepted,
        pods,
        contenders,
        templates: templates(rollout, &raw_sets),
        trouble,
    })
}

fn is_owned(meta: &kube::core::ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.uid == uid && owner.controller == Some(true))
}

async fn list_sets(client: &Client, rollout: &ValidatedRollout, owned: &ListParams) -> Result<Vec<ReplicaSet>, Error> {
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), &rollout.namespace);
    let list = within("list ReplicaSets", api.list(owned)).await?;
    Ok(list.items.into_iter().filter(|set| is_owned(&set.metadata, &rollout.uid)).collect())
}

/// Templates as they were written, while a person asks to go back to one.
fn templates(rollout: &ValidatedRollout, sets: &[ReplicaSet]) -> BTreeMap<String, Value> {
    let asked = rollout.request.as_ref().filter(|request| request.action == RolloutAction::Undo);
    let answered = asked.is_none_or(|request| rollout.status.requests.iter().any(|answer| answer.id == request.id));
    let written = |set: &ReplicaSet| {
        let hash = set.labels().get(names::POD_TEMPLATE_HASH)?;
        Some((hash.clone(), objects::written_template(set.annotations().get(names::TEMPLATE)?, hash)?))
    };
    sets.iter().filter(|_| !answered).filter_map(written).collect()
}

/// Why pods of a new revision are not ready. Its pods are read whole only while some of them are not.
async fn get_trouble(client: &Client, rollout: &ValidatedRollout, sets: &[ReplicaSet]) -> Result<Option<Trouble>, Error> {
    let status = &rollout.status;
    let settled = status.stable.as_ref().is_some_and(|stable| stable.digest == rollout.digest)
        || status.holds.iter().any(|hold| hold.digest == rollout.digest);
    let target = sets.iter().find(|set| set.labels().get(names::POD_TEMPLATE_HASH) == Some(&rollout.hash));
    let short = target.map(replica_set).is_some_and(|set| set.available < set.wanted);
    let Some(target) = target.filter(|_| short && !settled) else { return Ok(None) };
    let api: Api<Pod> = Api::namespaced(client.clone(), &rollout.namespace);
    let params = ListParams::default().labels(&format!("{}={}", names::POD_TEMPLATE_HASH, rollout.hash));
    let pods = within("list pods", api.list(&params)).await?;
    let uid = target.uid().unwrap_or_default();
    Ok(trouble::of(target, pods.items.iter().filter(|pod| is_owned(&pod.metadata, &uid))))
}

fn replica_set(set: &ReplicaSet) -> observed::ReplicaSet {
    let generation = set.metadata.generation;
    let status = set.status.clone().unwrap_or_default();
    // A status that speaks of an older spec says nothing about pods that the new spec took away.
    let fresh = status.observed_generation.is_none() || status.observed_generation >= generation;
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let at_most = if fresh { i32::MAX } else { wanted };
    observed::ReplicaSet {
        name: set.name_any(),
        uid: set.uid().unwrap_or_default(),
        resource_version: set.resource_version().unwrap_or_default(),
        generation: generation.unwrap_or(0),
        hash: set.labels().get(names::POD_TEMPLATE_HASH).cloned().unwrap_or_default(),
        revision: set.labels().get(names::REVISION).and_then(|number| number.parse().ok()).unwrap_or(0),
        wanted,
        current: status.replicas,
        ready: status.ready_replicas.unwrap_or(0).min(at_most),
        available: status.available_replicas.unwrap_or(0).min(at_most),
        deleting: set.metadata.deletion_timestamp.is_some(),
        worn: worn(set),
    }
}

/// What a ReplicaSet wears beside its template.
fn worn(set: &ReplicaSet) -> Worn {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let metadata = template.and_then(|template| template.metadata.clone()).unwrap_or_default();
    let affinity = template.and_then(|template| template.spec.as_ref()?.affinity.as_ref());
    Worn {
        min_ready_seconds: set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
        affinity: affinity.and_then(|affinity| serde_json::to_value(affinity).ok()).unwrap_or(Value::Null),
    }
}

/// The pods of the Rollout's ReplicaSets, while a restart or metadata by role needs them; whole ones only for a restart.
async fn get_pods(
    client: &Client,
    rollout: &ValidatedRollout,
    sets: &[observed::ReplicaSet],
    now: jiff::Timestamp,
) -> Result<Vec<observed::Pod>, Error> {
    let done = rollout.status.restarted_at.as_ref().map(|time| time.0);
    let restart = rollout.restart_at(&rollout.status).is_some_and(|at| at.0 <= now && done < Some(at.0));
    let dressed = sets.iter().any(|set| set.worn.annotations.contains_key(names::ROLE_METADATA));
    if !restart && !dressed && !rollout.wardrobe.has_metadata() {
        return Ok(Vec::new());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), &rollout.namespace);
    let selector: Vec<String> = rollout.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let found: Vec<(kube::core::ObjectMeta, bool)> = if restart {
        let pods = within("list pods", api.list(&params)).await?;
        pods.items.into_iter().map(|pod| (pod.metadata.clone(), is_ready(&pod))).collect()
    } else {
        let pods = within("list pods", api.list_metadata(&params)).await?;
        pods.items.into_iter().map(|pod| (pod.metadata, false)).collect()
    };
    let own = |meta: &kube::core::ObjectMeta| sets.iter().any(|set| is_owned(meta, &set.uid));
    Ok(found.into_iter().filter(|(meta, _)| own(meta)).map(|(meta, ready)| pod(meta, ready)).collect())
}

fn pod(meta: kube::core::ObjectMeta, ready: bool) -> observed::Pod {
    let labels = meta.labels.unwrap_or_default();
    observed::Pod {
        name: meta.name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        resource_version: meta.resource_version.unwrap_or_default(),
        hash: labels.get(names::POD_TEMPLATE_HASH).cloned().unwrap_or_default(),
        created: meta.creation_timestamp.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0),
        ready,
        deleting: meta.deletion_timestamp.is_some(),
        worn: Worn { labels, annotations: meta.annotations.unwrap_or_default(), ..Worn::default() },
    }
}

async fn list_runs(client: &Client, rollout: &ValidatedRollout, owned: &ListParams) -> Result<Vec<Run>, Error> {
    let api: Api<AnalysisRun> = Api::namespaced(client.clone(), &rollout.namespace);
    let list = within("list AnalysisRuns", api.list(owned)).await?;
    let run = |run: AnalysisRun| {
        let mut subject = run.spec.subject.clone();
        // Another Rollout's, or made by hand: it takes a name, and counts for nothing, whatever it says of itself.
        if !is_owned(&run.metadata, &rollout.uid) {
            subject.rollout_uid.clear();
        }
        Run {
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
            generation: run.metadata.generation.unwrap_or(0),
            created: run.creation_timestamp().map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0),
            subject,
            dry_run: run.spec.dry_run,
            terminating: run.spec.terminate.is_some(),
            status: run.status.unwrap_or_default(),
        }
    };
    Ok(list.items.into_iter().map(run).collect())
}

/// Revision of each pod of the Rollout, by pod name; labels only.
async fn pod_hashes(client: &Client, rollout: &ValidatedRollout) -> Result<BTreeMap<String, String>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &rollout.namespace);
    let selector: Vec<String> = rollout.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    let pods = within("list pods", api.list_metadata(&params)).await?;
    let hash = |pod: &PartialObjectMeta<Pod>| pod.labels().get(names::POD_TEMPLATE_HASH).cloned();
    Ok(pods.items.iter().filter_map(|pod| Some((pod.name_any(), hash(pod)?))).collect())
}

/// A Service and its slices, before it is known whose pods they hold.
struct FoundService {
    service: Service,
    slices: Vec<EndpointSlice>,
}

impl FoundService {
    fn contender(&self) -> Option<Contender> {
        let metadata = serde_json::to_value(&self.service.metadata).unwrap_or_default();
        managers::contender(&serde_json::json!({"metadata": metadata}), "selector")
    }

    fn with(self, hashes: &BTreeMap<String, String>) -> observed::Service {
        let uid = self.service.uid().unwrap_or_default();
        let name = self.service.name_any();
        let resource_version = self.service.resource_version().unwrap_or_default();
        let selector = self.service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        observed::Service {
            name,
            uid,
            resource_version,
            hash: selector.get(names::POD_TEMPLATE_HASH).cloned(),
            has_selector: !selector.is_empty(),
            ready_endpoints: ready_endpoints(&self.slices, hashes),
        }
    }
}

async fn get_service(client: &Client, rollout: &ValidatedRollout, name: &str) -> Result<Option<FoundService>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    let services: Api<Service> = Api::namespaced(client.clone(), &rollout.namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &rollout.namespace);
    let of = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let (service, slices) =
        futures::try_join!(find("get Service", services.get(name)), within("list EndpointSlices", slices.list(&of)))?;
    Ok(service.map(|service| FoundService { service, slices: slices.items }))
}

/// Counts ready endpoints by revision. A pod with several addresses (dual stack) counts once.
fn ready_endpoints(slices: &[EndpointSlice], hashes: &BTreeMap<String, String>) -> BTreeMap<String, i32> {
    let mut pods: BTreeMap<String, String> = BTreeMap::new();
    for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
        if ready {
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            let pod = pod.unwrap_or_else(|| endpoint.addresses.join(","));
            let hash = hashes.get(&pod).cloned().unwrap_or_default();
            pods.insert(pod, hash);
        }
    }
    let mut counts = BTreeMap::new();
    for hash in pods.into_values() {
        *counts.entry(hash).or_insert(0) += 1;
    }
    counts
}

/// None for one that does not exist.
type Routes = Vec<(RouteId, Option<Value>)>;

async fn get_routes(client: &Client, rollout: &ValidatedRollout) -> Result<Routes, Error> {
    let all = rollout.routes.iter().map(|id| async move {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &rollout.namespace, &route_resource(id.kind));
        let route = find(&format!("get {id}"), api.get(&id.name)).await?;
        Ok::<_, Error>((id.clone(), route.and_then(|route| serde_json::to_value(route).ok())))
    });
    try_join_all(all).await
}

async fn get_routes_and_gateways(client: &Client, rollout: &ValidatedRollout) -> Result<(Routes, Vec<Gateway>), Error> {
    let routes = get_routes(client, rollout).await?;
    let gateways = get_gateways(client, rollout, &routes).await?;
    Ok((routes, gateways))
}

/// The Gateways that the routes name, each with its class's controller.
async fn get_gateways(
    client: &Client,
    rollout: &ValidatedRollout,
    routes: &[(RouteId, Option<Value>)],
) -> Result<Vec<Gateway>, Error> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    let parents = routes.iter().filter_map(|(_, route)| route.as_ref()?.pointer("/spec/parentRefs")?.as_array());
    for parent in parents.flatten() {
        let text = |key: &str| parent.get(key).and_then(Value::as_str);
        if text("kind").unwrap_or("Gateway") == "Gateway"
            && let Some(name) = text("name")
        {
            wanted.push((text("namespace").unwrap_or(&rollout.namespace).to_owned(), name.to_owned()));
        }
    }
    wanted.sort();
    wanted.dedup();
    let all = wanted.into_iter().map(|(namespace, name)| get_gateway(client, namespace, name));
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

async fn get_gateway(client: &Client, namespace: String, name: String) -> Result<Option<Gateway>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &gateway_resource("Gateway", "gateways"));
    let Some(gateway) = find(&format!("get Gateway {namespace}/{name}"), api.get(&name)).await? else { return Ok(None) };
    let class = gateway.data.pointer("/spec/gatewayClassName").and_then(Value::as_str).unwrap_or("").to_owned();
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &gateway_resource("GatewayClass", "gatewayclasses"));
    let class = find(&format!("get GatewayClass {class}"), classes.get(&class)).await?;
    let controller = class.as_ref().and_then(|class| class.data.pointer("/spec/controllerName")).and_then(Value::as_str);
    let programmed = is_programmed(&gateway);
    let controller = controller.unwrap_or("").to_owned();
    let mirrors = class.as_ref().map_or(Mirrors::Nothing, |class| Mirrors::of(&class.data));
    Ok(Some(Gateway { namespace, name, controller, programmed, mirrors }))
}

/// Before Gateway API 1.4 the API server drops a rule's name, and with it the way to know a rule that is to be removed
/// again. Asked, by a dry run, before the first one is added.
async fn try_rule_names(client: &Client, rollout: &ValidatedRollout, seen: &Observed) -> Result<bool, Error> {
    let step = rollout.status.current_step_index.and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    let asks = rollout.steps.iter().skip(step).any(|step| step.rule().is_some());
    if !asks || rollout.status.stable.as_ref().is_none_or(|stable| stable.digest == rollout.digest) {
        return Ok(true);
    }
    for (id, route) in seen.routes.iter().filter_map(|(id, route)| Some((id, route.as_ref()?))) {
        let named = |route: &Value| {
            route
                .pointer("/spec/rules")
                .and_then(Value::as_array)
                .is_some_and(|rules| rules.iter().any(|rule| rule.get("name").is_some()))
        };
        if named(route) {
            continue;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &rollout.namespace, &route_resource(id.kind));
        let add = serde_json::json!([{"op": "add", "path": "/spec/rules/0/name", "value": "tidegate-dry-run"}]);
        let patch: json_patch::Patch = serde_json::from_value(add).unwrap_or_default();
        let params =
            PatchParams { dry_run: true, field_manager: Some(names::MANAGER_ROLLOUT.to_owned()), ..PatchParams::default() };
        let tried = find(&format!("try {id}"), api.patch(&id.name, &params, &Patch::Json::<()>(patch))).await?;
        if tried.is_some_and(|tried| !named(&serde_json::to_value(tried).unwrap_or_default())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Has a Gateway been programmed into its data plane?
#[must_use]
pub fn is_programmed(gateway: &DynamicObject) -> bool {
    let none = Vec::new();
    let conditions = gateway.data.pointer("/status/conditions").and_then(Value::as_array).unwrap_or(&none);
    let is = |condition: &&Value, key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
    conditions.iter().any(|c| is(&c, "type", "Programmed") && is(&c, "status", "True"))
}

/// Asks the API server about the template before any pod moves: a dry run of creating its ReplicaSet.
async fn try_template(client: &Client, rollout: &ValidatedRollout) -> Result<TemplateCheck, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &rollout.namespace, &replica_set_resource());
    let wanted = objects::replica_set(rollout, &rollout.hash, 1, 0, &trial_dress(rollout));
    let Ok(object) = serde_json::from_value::<DynamicObject>(wanted) else {
        return Ok(TemplateCheck::Refused("it cannot be written as a ReplicaSet".to_owned()));
    };
    let params = PostParams { dry_run: true, field_manager: Some(names::MANAGER_ROLLOUT.to_owned()) };
    match within("try the pod template", api.create(&params, &object)).await {
        Ok(_) => Ok(TemplateCheck::Accepted),
        Err(Error::Kube { source, what }) => match (&*source, status_code(&source)) {
            // 403: a policy or a quota of the cluster; its words tell a person what to do, a pass that fails tells nobody.
            (kube::Error::Api(status), Some(400 | 403 | 422)) => {
                Ok(TemplateCheck::Refused(status.message.chars().filter(|c| !c.is_control()).take(512).collect()))
            }
            // Not among the sets that this Rollout owns: somebody else's, or left behind by a Rollout of the same name
            // until the garbage collector takes it. Or its own, and the list was behind: then the next look sees it.
            (_, Some(409)) => {
                let name = rollout.replica_set_name(&rollout.hash);
                let there = find(&format!("get ReplicaSet {name}"), api.get_metadata(&name)).await?;
                match there {
                    Some(set) if !is_owned(&set.metadata, &rollout.uid) => {
                        Ok(TemplateCheck::Refused(format!("ReplicaSet {name} exists already and belongs to somebody else")))
                    }
                    _ => Err(Error::Kube { source, what }),
                }
            }
            _ => Err(Error::Kube { source, what }),
        },
        Err(error) => Err(error),
    }
}

/// What the revision would wear as a canary, so that the trial tells what creating it would.
fn trial_dress(rollout: &ValidatedRollout) -> Dress {
    let avoids = rollout.wardrobe.anti_affinity.map(|how| (rollout.hash.clone(), how));
    let (min_ready_seconds, metadata) = (rollout.sizing.min_ready_seconds, rollout.wardrobe.canary.clone());
    Dress { min_ready_seconds, metadata, avoids }
}

/// ReplicaSets as free-form objects: a template's fields newer than ours pass through.
#[must_use]
pub fn replica_set_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", "ReplicaSet"), "replicasets")
}
