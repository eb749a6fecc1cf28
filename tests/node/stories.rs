//! The stories. All run at once, each in a namespace of its own; the controller is the one that `deploy/` installed.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::rollout::{RolloutPhase, WaitingReason};

use crate::shop::{Shop, story, writes_while};

/// Requests a second in each story: enough to notice one that is lost, few enough for all stories on two cores.
const RATE: u32 = 40;

fn nothing() -> Value {
    json!({})
}

fn canary(patch: Value) -> Value {
    json!({"spec": {"strategy": {"canary": patch}}})
}

/// Protects: a good release through the gateway loses no request, and both versions are seen on the way.
#[tokio::test]
async fn promote() {
    story("promote", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(3, 60).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        shop.ask(&["promote", "web"]);
        shop.promoted().await;
        shop.pods(2).await;
        let answers = load.end();
        answers.assert_none_lost();
        assert!(answers.of("1") > 0 && answers.of("2") > 0, "{answers:?}");
        assert_eq!(shop.version(&[]).await.as_deref(), Some("2"));
    })
    .await;
}

async fn abort_at(shop: &Shop, step: i32, weight: i32) {
    let load = shop.load(RATE);
    shop.release("2").await;
    shop.at_step(step, weight).await;
    shop.ask(&["abort", "web"]);
    shop.stopped().await;
    shop.settle().await;
    assert_eq!(shop.version(&[]).await.as_deref(), Some("1"));
    shop.pods(2).await;
    load.end().assert_none_lost();
}

/// Protects: aborting in the first weight, and in a later one, loses no request and leaves only stable's pods.
#[tokio::test]
async fn abort_early() {
    story("abort-early", nothing(), async |shop: &Shop| abort_at(shop, 1, 20).await).await;
}

/// Protects: see [`abort_early`].
#[tokio::test]
async fn abort_late() {
    story("abort-late", nothing(), async |shop: &Shop| abort_at(shop, 3, 60).await).await;
}

/// Protects: aborting while all traffic is on the canary, which is the farthest way back.
#[tokio::test]
async fn abort_at_100() {
    let steps = canary(json!({"steps": [{"setWeight": 100}, {"pause": {}}]}));
    story("abort-100", steps, async |shop: &Shop| abort_at(shop, 1, 100).await).await;
}

/// Protects: a newer version in the middle of a release takes over without a lost request; the one in between is gone.
#[tokio::test]
async fn supersede() {
    story("supersede", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(3, 60).await;
        shop.release("3").await;
        shop.at_step(3, 60).await;
        shop.ask(&["promote", "web"]);
        shop.promoted().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
        assert_eq!(shop.version(&[]).await.as_deref(), Some("3"));
    })
    .await;
}

/// Protects: the template going back to stable's in the middle of a release is an abort: at once, and without a loss.
#[tokio::test]
async fn back_to_stable() {
    story("back", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(3, 60).await;
        shop.release("1").await;
        shop.promoted().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
        assert_eq!(shop.version(&[]).await.as_deref(), Some("1"));
    })
    .await;
}

/// Protects: pods that fit on no node never cost a request; the release waits with the reason, and an abort ends it.
#[tokio::test]
async fn no_room_for_new_pods() {
    story("no-room", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        let container = "/spec/template/spec/containers/0";
        shop.change(json!([
            {"op": "replace", "path": format!("{container}/env/0/value"), "value": "2"},
            {"op": "add", "path": format!("{container}/resources"), "value": {"requests": {"memory": "4Ti"}}}
        ]))
        .await;
        shop.until("it waits for pods", |status| {
            status.waiting_on.as_ref().is_some_and(|waiting| waiting.reason == WaitingReason::PodsReady)
        })
        .await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(shop.status().await.weights.unwrap().canary, 0);
        shop.ask(&["abort", "web"]);
        shop.stopped().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
    })
    .await;
}

/// Protects: a controller that dies in every phase of a release and of an abort changes nothing for those who ask.
#[tokio::test]
async fn controller_killed() {
    story("killed", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.kill_controller().await;
        shop.at_step(1, 20).await;
        shop.kill_controller().await;
        shop.at_step(3, 60).await;
        shop.ask(&["promote", "web"]);
        shop.kill_controller().await;
        shop.promoted().await;
        shop.release("3").await;
        shop.at_step(3, 60).await;
        shop.ask(&["abort", "web"]);
        shop.kill_controller().await;
        shop.stopped().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
        assert_eq!(shop.version(&[]).await.as_deref(), Some("2"));
    })
    .await;
}

/// Protects: more and fewer replicas in the middle of a release.
#[tokio::test]
async fn replicas_change_in_flight() {
    story("replicas", nothing(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(1, 20).await;
        shop.change(json!([{"op": "replace", "path": "/spec/replicas", "value": 4}])).await;
        shop.at_step(3, 60).await;
        shop.change(json!([{"op": "replace", "path": "/spec/replicas", "value": 2}])).await;
        shop.pods(4).await;
        shop.ask(&["promote", "web"]);
        let status = shop.promoted().await;
        assert_eq!(status.phase, Some(RolloutPhase::Healthy));
        shop.pods(2).await;
        load.end().assert_none_lost();
    })
    .await;
}

/// Four weights with an analysis in the background.
fn analysed() -> Value {
    let pause = json!({"pause": {"duration": "4s"}});
    let steps = [10, 25, 50, 75].into_iter().flat_map(|weight| [json!({"setWeight": weight}), pause.clone()]);
    canary(json!({"analysis": {"templates": [{"templateName": "success-rate"}]}, "steps": steps.collect::<Vec<_>>()}))
}

/// Most writes of a whole canary with four weights and an analysis, in the audit log; half of what others need for it.
const MOST_WRITES: usize = 40;

/// Protects: a whole canary, good or aborted, from more writes than it needs, and a cluster at rest from any.
#[tokio::test]
async fn writes_are_few() {
    story("writes", nothing(), async |shop: &Shop| {
        shop.watch_success_rate().await;
        let spec = analysed();
        shop.merge(&spec).await;
        let load = shop.load(RATE);
        let good = writes_while(shop, async || {
            shop.release("2").await;
            shop.promoted().await;
            shop.pods(2).await;
        })
        .await;
        assert!(good <= MOST_WRITES, "a good canary took {good} writes");
        let aborted = writes_while(shop, async || {
            shop.release("3").await;
            shop.at_step(5, 50).await;
            shop.ask(&["abort", "web"]);
            shop.stopped().await;
            shop.pods(2).await;
        })
        .await;
        assert!(aborted <= MOST_WRITES, "an aborted canary took {aborted} writes");
        // The last write follows what the last pod does.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(writes_while(shop, async || tokio::time::sleep(Duration::from_secs(10)).await).await, 0, "at rest");
        load.end().assert_none_lost();
    })
    .await;
}

/// No gateway weights and no Services of the Rollout's own: the pods behind one Service are the traffic.
fn without_router() -> Value {
    json!({"spec": {"replicas": 4, "strategy": {"canary": {
        "stableService": null, "canaryService": null, "trafficRouting": null,
        "scaleDownDelaySeconds": null, "abortScaleDownDelaySeconds": null, "maxSurge": 1, "maxUnavailable": 0,
        "steps": [{"setWeight": 25}, {"pause": {"duration": "5s"}}, {"setWeight": 50}, {"pause": {}}]}}}})
}

/// Protects: a release by counts of pods, forward and back, loses no request.
#[tokio::test]
async fn without_a_router() {
    story("no-router", without_router(), async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.paused_at(3).await;
        shop.pods(4).await;
        shop.ask(&["promote", "web"]);
        shop.promoted().await;
        shop.release("3").await;
        shop.paused_at(3).await;
        shop.ask(&["abort", "web"]);
        shop.stopped().await;
        shop.pods(4).await;
        shop.settle().await;
        let answers = load.end();
        answers.assert_none_lost();
        assert!(answers.of("3") > 0, "the third version was never seen: {answers:?}");
        assert_eq!(shop.version(&[]).await.as_deref(), Some("2"));
    })
    .await;
}

/// Protects: an autoscaler in the middle of a release changes sizes, never the release, and no request is lost.
#[tokio::test]
async fn autoscaled_in_flight() {
    story("hpa", nothing(), async |shop: &Shop| {
        let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        shop.apply(&json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": shop.namespace},
            "spec": {"scaleTargetRef": {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "web"},
                "minReplicas": 2, "maxReplicas": 2, "metrics": metrics}}))
            .await;
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.at_step(3, 60).await;
        shop.autoscale(4).await;
        shop.until("scaled up", |status| status.weights.as_ref().is_some_and(|w| w.canary == 60) && status.ready_replicas == 7).await;
        shop.autoscale(2).await;
        shop.pods(4).await;
        shop.ask(&["promote", "web"]);
        shop.promoted().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
    })
    .await;
}

/// Protects: a release that only staff sees first: whoever has the header gets the new version and nobody else does, on a real
/// gateway; the API server's own view of the rule is taken for what was written (no write at rest); no request is lost.
#[tokio::test]
async fn staff_first() {
    let headers = json!([{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]);
    let mut spec = canary(
        json!({"steps": [{"setHeaderRoute": {"name": "staff", "match": headers}}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]}),
    );
    spec["spec"]["strategy"]["canary"]["trafficRouting"] = json!({"managedRoutes": [{"name": "staff"}]});
    story("staff", spec, async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        shop.paused_at(1).await;
        shop.settle().await;
        for _ in 0..20 {
            assert_eq!(shop.version(&[("x-staff", "yes")]).await.as_deref(), Some("2"));
            assert_eq!(shop.version(&[("x-staff", "no")]).await.as_deref(), Some("1"));
            assert_eq!(shop.version(&[]).await.as_deref(), Some("1"));
        }
        assert_eq!(writes_while(shop, async || tokio::time::sleep(Duration::from_secs(5)).await).await, 0, "at rest");
        shop.ask(&["abort", "web"]);
        shop.stopped().await;
        shop.settle().await;
        assert_eq!(shop.version(&[("x-staff", "yes")]).await.as_deref(), Some("1"));
        shop.ask(&["retry", "web"]);
        shop.paused_at(1).await;
        shop.ask(&["promote", "web"]);
        shop.paused_at(3).await;
        shop.ask(&["promote", "web"]);
        shop.promoted().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
        assert_eq!(shop.version(&[("x-staff", "no")]).await.as_deref(), Some("2"));
    })
    .await;
}

/// Protects: the users of a gateway that accepts mirrors and then answers 500, as Traefik does: its class does not list them,
/// so the release is refused in words before a pod moves, and no request is lost; without that step it goes on.
#[tokio::test]
async fn mirrors_where_there_are_none() {
    let matches = json!([{"path": {"prefix": "/"}}]);
    let mut spec = canary(json!({"steps": [{"setMirrorRoute": {"name": "shadow", "match": matches}}, {"setWeight": 50}]}));
    spec["spec"]["strategy"]["canary"]["trafficRouting"] = json!({"managedRoutes": [{"name": "shadow"}]});
    story("mirrors", spec, async |shop: &Shop| {
        let load = shop.load(RATE);
        shop.release("2").await;
        let why = "setMirrorRoute needs HTTPRouteRequestMirror, which the GatewayClass of Gateway testbed-gateway/gateway does \
                   not list in status.supportedFeatures";
        let why = format!("spec.strategy.canary.steps: {why}");
        shop.until(&why, |status| status.message.as_deref() == Some(&why)).await;
        shop.pods(2).await;
        shop.merge(&json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 50}]}}}})).await;
        shop.promoted().await;
        shop.pods(2).await;
        load.end().assert_none_lost();
    })
    .await;
}
