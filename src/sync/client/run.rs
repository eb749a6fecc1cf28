//! One sync, from objects to a cluster that has them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use super::discovery::{Lookup, Resource, defined_by};
use super::prune::prune;
use super::{Apply, Call, Cluster, ClusterError, Failure, Identity, ServiceAccount, SyncError};
use crate::api;
use crate::manifest::{Object, ObjectId};
use crate::sync::diff;
use crate::sync::health::health;
use crate::sync::inventory::{self, Entry, Inventory, Kept, PruneRules};
use crate::sync::merge::{self, Steering};
use crate::sync::order;
use crate::sync::own::{self, Owner};
use crate::sync::prepare::{Context, Prepared, prepare};
use crate::sync::project::{Applicant, Placed, Rules, violations};
use crate::sync::state::Seen;

/// How many objects are read and dry-run at a time.
const PARALLEL: usize = 8;
/// How often an object is read and merged again that changes under our hands.
const ATTEMPTS: usize = 5;
/// How long a new kind may take to be served, and how often it is looked for.
const ESTABLISHING: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Everything a sync needs to know.
#[derive(Clone, Debug)]
pub struct SyncInput {
    /// What Git wants, parsed.
    pub objects: Vec<Object>,
    /// The Application.
    pub owner: Owner,
    /// As whom everything is read and written.
    pub account: ServiceAccount,
    /// `spec.destination.namespace`: where objects go that name no namespace.
    pub namespace: String,
    /// `spec.source.repoURL`, for the Project's rules.
    pub repo_url: String,
    /// What the Application may deploy.
    pub rules: Rules,
    /// What was applied so far, from [`Cluster::read_inventory`].
    pub inventory: Inventory,
    /// Full id of the commit that is synced.
    pub commit: String,
    /// Id of the commit whose `Tidegate-Retry: yes` lifts holds, when the tip brings one.
    pub retry: Option<String>,
    /// What pruning may do.
    pub prune: PruneRules,
    /// `spec.allowEmpty`.
    pub allow_empty: bool,
}

/// What a sync did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOutcome {
    /// The inventory as it is now.
    pub inventory: Inventory,
    /// What was written, in order; empty when the cluster had everything already.
    pub applied: Vec<ObjectId>,
    /// What was deleted, in order.
    pub pruned: Vec<ObjectId>,
    /// What left Git and stays, and why.
    pub kept: Vec<(ObjectId, Kept)>,
    /// What was applied without a dry run before, because its namespace or its kind came with the same sync.
    pub without_dry_run: Vec<ObjectId>,
    /// Every object of the Application, as it was seen or as the apply answered.
    pub seen: Vec<Seen>,
}

/// An object with its place in the cluster.
struct Target {
    object: Object,
    resource: Resource,
    /// Its kind or namespace comes with this sync: it cannot be read or dry-run before that.
    pending: bool,
}

/// What became of one object in the reading and dry run.
enum Plan {
    /// The cluster has it.
    Same(Value),
    /// Applying changes it, or cannot be tried beforehand.
    Apply,
}

impl Cluster {
    /// Makes the cluster what Git wants. Level-triggered: after a failure it is called again and goes on.
    ///
    /// Reads and dry-runs everything first; then the inventory gets the new ids, the objects that differ are applied in
    /// order, what left Git is pruned, and the inventory gets the uids. Stops at the first failure.
    ///
    /// # Errors
    /// [`SyncError`]; only [`SyncError::Stopped`] (and a failing inventory write) after anything was written.
    pub async fn sync_once(&self, input: SyncInput) -> Result<SyncOutcome, SyncError> {
        if input.objects.is_empty() && !input.allow_empty {
            return Err(SyncError::Empty);
        }
        let mut lookup = Lookup::new(self);
        let mut targets = targets(&mut lookup, &input).await?;
        let steering = self.steering(&targets).await?;
        self.mark_new_namespaces(&mut targets, &input).await?;
        let run = Run { cluster: self, input: &input, steering: &steering };
        let plans = run.plan(&targets).await?;

        let wanted: Vec<ObjectId> = targets.iter().map(|target| target.object.id.clone()).collect();
        let mut before = inventory::before_apply(&input.inventory.entries, &wanted);
        if plans.iter().all(|plan| matches!(plan, Plan::Same(_))) {
            // Nothing is about to be applied: the inventory is written once, with the uids.
            before.clone_from(&input.inventory.entries);
        }
        let recorded = self.write_inventory(&input.inventory, before, &input.owner, &[]).await?;
        let (applied, live) = run.apply(&targets, plans).await?;
        let left = inventory::left_git(&recorded.entries, &wanted);
        let pruning = prune(self, &mut lookup, &input, left).await.map_err(|failure| stopped(&applied, failure))?;

        let mut entries: Vec<Entry> = wanted.iter().zip(&live).map(|(id, live)| entry(id, live)).collect();
        entries.extend(pruning.entries);
        entries.sort();
        let inventory = self.write_inventory(&recorded, entries, &input.owner, &applied).await?;
        let seen = wanted.iter().zip(&live).map(|(id, live)| seen(id, live)).collect();
        let pending = targets.into_iter().filter(|target| target.pending).map(|target| target.object.id).collect();
        Ok(SyncOutcome { inventory, applied, pruned: pruning.pruned, kept: pruning.kept, without_dry_run: pending, seen })
    }

    /// Live Rollouts of every namespace with objects that a Rollout could steer.
    async fn steering(&self, targets: &[Target]) -> Result<Vec<Steering>, SyncError> {
        let steerable = targets.iter().filter(|target| merge::is_steerable(&target.object.id));
        let namespaces: BTreeSet<&str> = steerable.map(|target| target.object.id.namespace.as_str()).collect();
        let mut steering = Vec::new();
        for namespace in namespaces {
            let path = format!("/apis/{}/{}/namespaces/{}/rollouts", api::GROUP, api::VERSION, super::segment(namespace));
            let object = format!("Rollouts of namespace {namespace}");
            let call = Call { verb: "list", object, account: None, secret: false };
            let list = self.get_path(Identity::Own, &path, call).await.map_err(|e| SyncError::Refused(vec![unplaced(e)]))?;
            let items = list.as_ref().and_then(|list| list.get("items")?.as_array()).into_iter().flatten();
            steering.extend(items.filter_map(Steering::of));
        }
        Ok(steering)
    }

    /// A namespace that comes with this sync has nothing to read, and a dry run in it answers "not found".
    async fn mark_new_namespaces(&self, targets: &mut [Target], input: &SyncInput) -> Result<(), SyncError> {
        let mut new = BTreeSet::new();
        for target in targets.iter().filter(|target| target.object.id.is("", "Namespace")) {
            let found = self.get(Identity::Account(&input.account), &target.resource, &target.object.id).await;
            if found.map_err(|error| SyncError::Refused(vec![failure(&target.object, error)]))?.is_none() {
                new.insert(target.object.id.name.clone());
            }
        }
        for target in targets.iter_mut().filter(|target| new.contains(&target.object.id.namespace)) {
            target.pending = true;
        }
        Ok(())
    }

    /// Writes the inventory when it says something else than before.
    async fn write_inventory(
        &self,
        before: &Inventory,
        entries: Vec<Entry>,
        owner: &Owner,
        applied: &[ObjectId],
    ) -> Result<Inventory, SyncError> {
        if entries == before.entries {
            return Ok(Inventory { entries, resource_version: before.resource_version.clone() });
        }
        let value = before.config_map(&entries, owner)?;
        let id = super::inventory_id(owner);
        let written = self.apply(Identity::Own, Apply::Persist, &super::config_maps(), &id, &value).await;
        let written = written.map_err(|error| stopped(applied, unplaced(error)))?;
        let resource_version = written.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        Ok(Inventory { entries, resource_version })
    }
}

/// Every object with its place, in the order of applying; refused when the rules do not allow it.
async fn targets(lookup: &mut Lookup<'_>, input: &SyncInput) -> Result<Vec<Target>, SyncError> {
    let defined = defined_by(&input.objects);
    let (mut targets, mut failures) = (Vec::new(), Vec::new());
    for object in &input.objects {
        let known = lookup.resource(&object.id).await.map_err(|error| SyncError::Refused(vec![failure(object, error)]))?;
        let pending = known.is_none();
        let kind = (object.id.api_version(), object.id.kind.clone());
        match known.or_else(|| defined.get(&kind).cloned()) {
            Some(resource) => targets.push(place(object, resource, pending, &input.namespace)),
            None => failures.push(failure(object, ClusterError::UnknownKind { api_version: kind.0, kind: kind.1 })),
        }
    }
    if !failures.is_empty() {
        return Err(SyncError::Refused(failures));
    }
    duplicates(&targets)?;
    let placed: Vec<Placed<'_>> =
        targets.iter().map(|t| Placed { object: &t.object, namespaced: t.resource.namespaced }).collect();
    let applicant = Applicant { namespace: &input.owner.namespace, repo_url: &input.repo_url };
    let violations = violations(&input.rules, applicant, &placed);
    if !violations.is_empty() {
        return Err(SyncError::NotAllowed(violations));
    }
    targets.sort_by(|a, b| order::apply_order(&a.object.id, &b.object.id));
    Ok(targets)
}

fn place(object: &Object, resource: Resource, pending: bool, default_namespace: &str) -> Target {
    let mut object = object.clone();
    if !resource.namespaced {
        // As the API server does with a namespace on a cluster-scoped object.
        object.id.namespace.clear();
    } else if object.id.namespace.is_empty() {
        default_namespace.clone_into(&mut object.id.namespace);
    }
    Target { object, resource, pending }
}

/// One manifest may name the namespace that another leaves out.
fn duplicates(targets: &[Target]) -> Result<(), SyncError> {
    let mut first = HashMap::new();
    let mut found = Vec::new();
    for Target { object, .. } in targets {
        if let Some(other) = first.insert(object.id.key(), &object.source) {
            found.push(format!("{}: {} stands in Git twice, also in {other}", object.source, object.id));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(SyncError::Duplicate(found)) }
}

struct Run<'a> {
    cluster: &'a Cluster,
    input: &'a SyncInput,
    steering: &'a [Steering],
}

impl Run<'_> {
    const fn who(&self) -> Identity<'_> {
        Identity::Account(&self.input.account)
    }

    /// Reads and dry-runs every object; all that is wrong is said at once.
    async fn plan(&self, targets: &[Target]) -> Result<Vec<Plan>, SyncError> {
        // Collected first: a stream over a borrowing iterator is not Send for every lifetime, and the loops need that.
        let work: Vec<_> = targets.iter().map(|target| self.plan_one(target)).collect();
        let results: Vec<_> = futures::stream::iter(work).buffered(PARALLEL).collect().await;
        let (mut plans, mut failures) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(plan) => plans.push(plan),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() { Ok(plans) } else { Err(SyncError::Refused(failures)) }
    }

    async fn plan_one(&self, target: &Target) -> Result<Plan, Failure> {
        if target.pending {
            return Ok(Plan::Apply);
        }
        let (live, prepared, answer) = self.read_and_apply(target, Apply::DryRun).await?;
        Ok(match live {
            Some(live) if !diff::changes(&live, &answer, prepared.steered) => Plan::Same(live),
            _ => Plan::Apply,
        })
    }

    /// Applies what differs, in order; answers what was applied, and every object as it is now.
    async fn apply(&self, targets: &[Target], plans: Vec<Plan>) -> Result<(Vec<ObjectId>, Vec<Value>), SyncError> {
        let (mut applied, mut live) = (Vec::new(), Vec::new());
        for (target, plan) in targets.iter().zip(plans) {
            live.push(match plan {
                Plan::Same(value) => value,
                Plan::Apply => {
                    let value = self.apply_one(target).await.map_err(|failure| stopped(&applied, failure))?;
                    applied.push(target.object.id.clone());
                    value
                }
            });
        }
        Ok((applied, live))
    }

    async fn apply_one(&self, target: &Target) -> Result<Value, Failure> {
        let deadline = ESTABLISHING.as_millis() / LOOK_AGAIN.as_millis();
        for _ in 0..deadline {
            match self.read_and_apply(target, Apply::Persist).await {
                // A kind is served a moment after its definition says so.
                Err(Failure { error: ClusterError::NotFound { .. }, .. }) if target.pending => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok((_, _, value)) if target.object.id.kind == "CustomResourceDefinition" => {
                    return self.established(target, value).await;
                }
                other => return other.map(|(_, _, value)| value),
            }
        }
        Err(failure(&target.object, ClusterError::NotEstablished(target.object.id.clone())))
    }

    /// Waits until the API server serves a definition's kind.
    async fn established(&self, target: &Target, mut value: Value) -> Result<Value, Failure> {
        let deadline = ESTABLISHING.as_millis() / LOOK_AGAIN.as_millis();
        for _ in 0..deadline {
            let conditions = value.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            if conditions.into_iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
                return Ok(value);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let found = self.cluster.get(self.who(), &target.resource, &target.object.id).await;
            value = found.map_err(|error| failure(&target.object, error))?.unwrap_or_default();
        }
        Err(failure(&target.object, ClusterError::NotEstablished(target.object.id.clone())))
    }

    /// Reads the live object, checks whose it is, merges and applies. When it changed in between, all of that again:
    /// a weight that a Rollout set meanwhile is never written over.
    async fn read_and_apply(&self, target: &Target, how: Apply) -> Result<(Option<Value>, Prepared, Value), Failure> {
        let Target { object, resource, .. } = target;
        let Object { id, value, .. } = object;
        let SyncInput { owner, commit, retry, .. } = self.input;
        let context = Context { owner, rollouts: self.steering, commit, retry: retry.as_deref() };
        let failed = |error| failure(object, error);
        let mut attempt = 1;
        loop {
            let live = self.cluster.get(self.who(), resource, id).await.map_err(failed)?;
            if let Some(live) = &live {
                own::check(id, live, owner).map_err(|other| failed(other.into()))?;
            }
            let prepared = prepare(id, value, live.as_ref(), context);
            match self.cluster.apply(self.who(), how, resource, id, &prepared.value).await {
                Err(ClusterError::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
                Ok(answer) => return Ok((live, prepared, answer)),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn failure(object: &Object, error: ClusterError) -> Failure {
    Failure { source: Some(object.source.clone()), error }
}

const fn unplaced(error: ClusterError) -> Failure {
    Failure { source: None, error }
}

fn stopped(applied: &[ObjectId], failure: Failure) -> SyncError {
    SyncError::Stopped { applied: applied.to_vec(), failure: Box::new(failure) }
}

fn entry(id: &ObjectId, live: &Value) -> Entry {
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
    Entry { id: id.clone(), uid, kept: false }
}

fn seen(id: &ObjectId, live: &Value) -> Seen {
    Seen { id: id.clone(), health: health(id, Some(live)), synced: true }
}
