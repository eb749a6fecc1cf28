//! Sizes and pods on a real API server, with its own controllers of ReplicaSets, autoscalers and disruption budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::faults::{Journal, Wire};
use crate::support;
use crate::world::{Running, World, in_world, lines};

/// The controller at work for a Rollout `shop` of `shop:1` that is stable, with `patch` merged into it.
async fn stable(world: &World, patch: Value) -> (Arc<Journal>, Running) {
    let mut rollout = world.rollout("shop", "shop:1");
    json_patch::merge(&mut rollout, &patch);
    let journal = Arc::new(Journal::default());
    let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
    world.surroundings("shop").await;
    world.create(&rollout).await;
    world.until_healthy("shop", "shop:1").await;
    (journal, running)
}

async fn end(world: &World, journal: &Journal, running: Running) {
    world.rest(journal).await;
    running.kill().await;
    assert_eq!(journal.violations(), [] as [String; 0]);
}

fn pods(world: &World) -> Api<Pod> {
    Api::namespaced(world.admin.clone(), &world.namespace)
}

/// Uid and labels of each pod by its image, as far as it is not going.
async fn by_image(world: &World) -> Vec<(String, String, BTreeMap<String, String>)> {
    let list = pods(world).list(&ListParams::default()).await.unwrap();
    let living = list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let all = living.map(|pod| {
        let image = pod.spec.unwrap().containers[0].image.clone().unwrap();
        (image, pod.metadata.uid.unwrap(), pod.metadata.labels.unwrap_or_default())
    });
    all.collect()
}

/// Role of each pod by its image, sorted.
async fn roles(world: &World) -> Vec<String> {
    let role = |labels: &BTreeMap<String, String>| labels.get("role").cloned().unwrap_or_else(|| "none".to_owned());
    let mut all: Vec<String> =
        by_image(world).await.into_iter().map(|(image, _, labels)| format!("{image} {}", role(&labels))).collect();
    all.sort();
    all
}

/// Protects: a canary without a router and without Services: the order of writes, through a promotion and an abort.
#[tokio::test]
async fn without_a_router() {
    in_world(async |world| {
        let canary = json!({
            "stableService": null, "canaryService": null, "trafficRouting": null, "scaleDownDelaySeconds": null,
            "abortScaleDownDelaySeconds": null, "maxSurge": 1, "maxUnavailable": 0, "steps": [{"setWeight": 50}, {"pause": {}}],
        });
        let (journal, running) = stable(world, json!({"spec": {"strategy": {"canary": canary}}})).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.request("shop", "1", "promote").await;
        world.until_healthy("shop", "shop:2").await;
        world.deploy("shop", "shop:3").await;
        world.until_paused("shop", 1).await;
        world.request("shop", "2", "abort").await;
        let stopped = |status: &Value| status["phase"] == "Degraded" && status["waitingOn"].is_null();
        world.until("shop", "everything is back", stopped).await;
        end(world, &journal, running).await;
        let expected = "
            record stable none, canary shop:1
            create ReplicaSet shop-shop:1 with 2 pods
            record stable shop:1, canary none
            record stable shop:1, canary shop:2, attempt 1, step 0
            create ReplicaSet shop-shop:2 with 1 pods
            ReplicaSet shop-shop:1: 1 pods
            record stable shop:1, canary shop:2, attempt 1, step 1
            record stable shop:1, canary shop:2, attempt 1, step 2
            ReplicaSet shop-shop:2: 2 pods
            ReplicaSet shop-shop:1: 0 pods
            record stable shop:1, canary shop:2, attempt 1, step 2, promoting
            record stable shop:2, canary none
            record stable shop:2, canary shop:3, attempt 1, step 0
            create ReplicaSet shop-shop:3 with 1 pods
            ReplicaSet shop-shop:2: 1 pods
            record stable shop:2, canary shop:3, attempt 1, step 1
            ReplicaSet shop-shop:2: 2 pods
            record stable shop:2, canary shop:3, attempt 1, step 1, stopped
            ReplicaSet shop-shop:3: 0 pods";
        assert_eq!(world.story(&journal), lines(expected));
    })
    .await;
}

/// Protects: `/scale` for autoscalers. A real one scales the Rollout in the middle of a canary, which goes on where it is;
/// and pods of the canary are not counted on top of stable's.
#[tokio::test]
async fn an_autoscaler() {
    in_world(async |world| {
        let steps = json!([{"setWeight": 50}, {"pause": {}}]);
        let (journal, running) = stable(world, json!({"spec": {"strategy": {"canary": {"steps": steps}}}})).await;
        let scaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "shop", "namespace": world.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "shop"},
                "minReplicas": 4, "maxReplicas": 6,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
        });
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.create(&scaler).await;
        let sized = |status: &Value| status["hpaReplicas"] == 4 && status["replicas"] == 6;
        let status = world.until("shop", "four of stable and two of the canary", sized).await;
        assert_eq!((world.get("shop").await.spec.replicas, status["currentStepIndex"].as_i64()), (4, Some(1)));
        let hash = |key: &str| status[key]["hash"].as_str().unwrap().to_owned();
        let mut hashes = [hash("stable"), hash("canary")];
        hashes.sort();
        let selector = format!("app=shop,tidegate.dev/pod-template-hash in ({})", hashes.join(","));
        assert_eq!(status["selector"], selector.as_str());
        let scale = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout"});
        let scale = support::api_of(&world.admin, &scale, Some(&world.namespace)).get_scale("shop").await.unwrap();
        let (spec, status) = (scale.spec.unwrap(), scale.status.unwrap());
        assert_eq!((spec.replicas, status.replicas, status.selector), (Some(4), 4, Some(selector)));
        end(world, &journal, running).await;
    })
    .await;
}

/// Protects: metadata by role. Running pods get it when the role changes, and none restarts.
#[tokio::test]
async fn metadata_by_role() {
    in_world(async |world| {
        let canary = json!({
            "canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}},
            "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 50}},
            "steps": [{"setWeight": 50}, {"pause": {}}],
        });
        let (journal, running) = stable(world, json!({"spec": {"strategy": {"canary": canary}}})).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        assert_eq!(roles(world).await, ["shop:1 stable", "shop:1 stable", "shop:2 canary"]);
        let before = by_image(world).await;
        let affinity = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.affinity.clone()).is_some();
        let avoiding = pods(world).list(&ListParams::default()).await.unwrap().items.iter().filter(|pod| affinity(pod)).count();
        assert_eq!(avoiding, 1, "the canary's pod avoids stable's nodes");
        world.request("shop", "1", "promote").await;
        world.until_healthy("shop", "shop:2").await;
        support::eventually("all pods of the new stable say so", async || roles(world).await == ["shop:2 stable"; 2]).await;
        let canary = before.iter().find(|(image, ..)| image == "shop:2").unwrap();
        assert!(by_image(world).await.iter().any(|(_, uid, _)| *uid == canary.1), "the canary's pod is still the same");
        end(world, &journal, running).await;
    })
    .await;
}

/// Protects: `restartAt`. A PodDisruptionBudget that allows nothing is obeyed; then all pods are exchanged, one at a time,
/// and once: not again by a new process.
#[tokio::test]
async fn restart_with_a_budget() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!({})).await;
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "shop", "namespace": world.namespace},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "shop"}}},
        });
        world.create(&budget).await;
        support::eventually("the budget is counted", async || world.object(&budget).await.data["status"]["expectedPods"] == 2)
            .await;
        let uids = async || {
            let mut all: Vec<String> = by_image(world).await.into_iter().map(|(_, uid, _)| uid).collect();
            all.sort();
            all
        };
        let before = uids().await;
        // Pods say when they were created to the second.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        #[expect(clippy::disallowed_methods, reason = "as a person writes it")]
        let now = jiff::Timestamp::now().to_string();
        world.edit("shop", json!({"spec": {"restartAt": now}})).await;
        let waits = |status: &Value| {
            status["waitingOn"]["detail"].as_str().is_some_and(|detail| detail.starts_with("restart: 2 of 2 pods"))
        };
        let status = world.until("shop", "the restart waits for the budget", waits).await;
        assert_eq!((status["phase"].as_str(), uids().await), (Some("Healthy"), before.clone()));
        let api = support::api_of(&world.admin, &budget, None);
        api.delete("shop", &DeleteParams::default()).await.unwrap();
        world.until("shop", "all pods are new", |status| !status["restartedAt"].is_null()).await;
        let after = uids().await;
        assert!(after.len() == 2 && after.iter().all(|uid| !before.contains(uid)), "{before:?} {after:?}");
        end(world, &journal, running).await;
        let again = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&again, world.judge("shop"))).await;
        world.edit("shop", json!({"metadata": {"annotations": {"look": "again"}}})).await;
        world.rest(&again).await;
        running.kill().await;
        // What the record of the old process still waited to say of counts may be said; nothing is evicted.
        let evicted = world.story(&again).into_iter().filter(|line| line.contains("eviction")).count();
        assert_eq!((evicted, uids().await), (0, after));
    })
    .await;
}
