//! AnalysisRuns on a real API server: missing data waits, each run is created once and counts for its own Rollout only.

use std::sync::Arc;

use futures::future::join_all;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tidegate::api::{AnalysisRun, Rollout};

use crate::faults::{Journal, Wire};
use crate::play::{Answer, Prometheus};
use crate::support;
use crate::world::{World, in_world, reason, run, stalled};

/// A Rollout of `shop:1` whose steps are gated by `errors`: in the background of one step, or as a step of its own.
fn analysed(world: &World, name: &str, as_step: bool) -> Value {
    let mut rollout = world.rollout(name, "shop:1");
    let analysis = json!({"templates": [{"templateName": name}]});
    let canary = &mut rollout["spec"]["strategy"]["canary"];
    if as_step {
        canary["steps"] = json!([{"setWeight": 50}, {"analysis": analysis}]);
    } else {
        (canary["steps"], canary["analysis"]) = (json!([{"setWeight": 50}]), analysis);
    }
    rollout
}

/// Never a promotion and never a failure of the canary: what missing data must not do.
fn undecided(status: &Value) {
    let found =
        (&status["failure"], &status["abort"], &status["holds"], &status["promoting"], status["stable"]["revision"].as_i64());
    let null = &Value::Null;
    assert_eq!(found, (null, null, null, null, Some(1)), "{status:#}");
}

/// Protects: canaries, from a metric server that says nothing usable. Whatever is wrong with it, the rollout waits for
/// evidence, then says AnalysisError; it neither promotes nor goes back, and goes on by itself when the data is there.
#[tokio::test]
async fn without_usable_data_it_waits() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&journal, None)).await;
        let cases = [
            ("empty", Answer::Empty, false),
            ("nan", Answer::NotANumber, false),
            ("error", Answer::Status500, false),
            ("garbage", Answer::Garbage, false),
            ("refused", Answer::Refused, false),
            ("step", Answer::Empty, true),
        ];
        let said = join_all(cases.map(|(name, answer, as_step)| async move {
            let prometheus = Prometheus::start(Answer::Value(0.0)).await;
            world.error_template(name, &prometheus).await;
            world.surroundings(name).await;
            let mut rollout = analysed(world, name, as_step);
            if as_step {
                let templates = support::api_of(
                    &world.admin,
                    &json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate"}),
                    Some(&world.namespace),
                );
                let patch: json_patch::Patch =
                    serde_json::from_value(json!([{"op": "add", "path": "/spec/metrics/0/count", "value": 1}])).unwrap();
                templates.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
            }
            rollout["spec"]["replicas"] = json!(1);
            world.create(&rollout).await;
            world.until_healthy(name, "shop:1").await;
            prometheus.say(answer).await;
            world.deploy(name, "shop:2").await;
            let gate = if as_step { "Analysis" } else { "Evidence" };
            // On a busy machine its 2 s may be over before anybody looks.
            let waits = |status: &Value| status["waitingOn"]["reason"] == gate || reason(status, "Paused") == "AnalysisError";
            let status = world.until(name, "waits for evidence", waits).await;
            undecided(&status);
            let status = world.until(name, "says AnalysisError", |status| reason(status, "Paused") == "AnalysisError").await;
            undecided(&status);
            let at =
                (&status["phase"], &status["waitingOn"]["reason"], &status["currentStepIndex"], &status["weights"]["canary"]);
            assert_eq!(at, (&json!("Paused"), &json!("Prometheus"), &json!(i32::from(as_step)), &json!(50)));
            prometheus.say(Answer::Value(0.0)).await;
            world.until_healthy(name, "shop:2").await;
            let message = status["message"].as_str().unwrap();
            message
                .strip_prefix("the analysis gets no usable values: errors: no usable value for more than 2s; last: ")
                .unwrap_or(message)
                .to_owned()
        }))
        .await;
        running.kill().await;
        let expected = [
            "no data: the query returned no series",
            "no usable value: NaN",
            "the server failed (HTTP 500)",
            "the answer (HTTP 200) is not an answer of the Prometheus API",
            "the server cannot be reached: connection refused",
            "no data: the query returned no series",
        ];
        assert_eq!(said, expected);
        assert!(!world.story(&journal).iter().any(|line| line.contains("stopped") || line.starts_with("verdict")));
    })
    .await;
}

/// Protects: a running canary. Data that ends in the middle of a pause is said, and stops nothing but the way forward.
#[tokio::test]
async fn data_that_ends_stops_only_the_way_forward() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        world.error_template("shop", &world.prometheus).await;
        world.surroundings("shop").await;
        let mut rollout = analysed(world, "shop", false);
        rollout["spec"]["strategy"]["canary"]["steps"] =
            json!([{"setWeight": 20}, {"pause": {"duration": "1s"}}, {"setWeight": 40}]);
        world.create(&rollout).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until("shop", "at the pause", |status| status["currentStepIndex"] == 1).await;
        world.prometheus.say(Answer::Refused).await;
        let status = world.until("shop", "says AnalysisError", |status| reason(status, "Paused") == "AnalysisError").await;
        undecided(&status);
        world.prometheus.say(Answer::Value(0.0)).await;
        world.until_healthy("shop", "shop:2").await;
        world.rest(&journal).await;
        running.kill().await;
        assert_eq!(journal.violations(), [] as [String; 0]);
    })
    .await;
}

/// Protects: a new Rollout of an old name. Runs of the deleted one never count for it, and neither does one that
/// somebody made by hand under the name that it would use: it is said, and the rollout goes on once it is gone.
#[tokio::test]
async fn runs_of_another_rollout_do_not_count() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        world.error_template("shop", &world.prometheus).await;
        world.surroundings("shop").await;
        world.create(&analysed(world, "shop", false)).await;
        let metric = json!({"name": "errors", "successCondition": "true", "provider": {"prometheus": {"address": world.prometheus.address(), "query": "errors"}}});
        let subject = json!({"rollout": "shop", "rolloutUid": "another", "revision": 2, "attempt": 1});
        let foreign = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"name": "shop-2-1-background", "namespace": world.namespace, "labels": {"tidegate.dev/rollout": "shop"}},
            "spec": {"subject": subject, "metrics": [metric]},
        });
        world.create(&foreign).await;
        let verdict = json!({"status": {"phase": "Failed", "message": "of another", "completedAt": "2026-01-01T00:00:00Z"}});
        let runs = support::api_of(&world.admin, &foreign, None);
        runs.patch_status("shop-2-1-background", &PatchParams::default(), &Patch::Merge(verdict)).await.unwrap();

        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        let detail = "AnalysisRun shop-2-1-background is another's, and takes the name; it must go first";
        let status = world.until("shop", detail, |status| status["waitingOn"]["detail"] == detail).await;
        undecided(&status);
        world.rest(&journal).await;
        let kept = runs.get("shop-2-1-background").await.unwrap();
        assert_eq!((&kept.data["status"]["phase"], &kept.data["spec"]["terminate"]), (&json!("Failed"), &Value::Null));
        runs.delete("shop-2-1-background", &DeleteParams::default()).await.unwrap();
        world.until_healthy("shop", "shop:2").await;

        // The whole Rollout again under its name: the first one's runs go with it, and do not count before they are gone.
        let rollouts: Api<Rollout> = Api::namespaced(world.admin.clone(), &world.namespace);
        let known = world.runs("shop").await;
        rollouts.delete("shop", &DeleteParams::background()).await.unwrap();
        support::eventually("it is gone", async || rollouts.get_opt("shop").await.unwrap().is_none()).await;
        world.create(&analysed(world, "shop", false)).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_healthy("shop", "shop:2").await;
        world.rest(&journal).await;
        running.kill().await;
        assert_eq!(journal.violations(), [] as [String; 0]);
        let uid = world.get("shop").await.metadata.uid.unwrap();
        let now = world.runs("shop").await;
        assert_eq!(now.iter().map(run).collect::<Vec<_>>(), ["shop-2-1-background Cancelled"]);
        assert_eq!(now[0].spec.subject.rollout_uid, uid);
        assert_ne!(now[0].metadata.uid, known[0].metadata.uid);
    })
    .await;
}

/// Protects: metric servers and verdicts. A run that is to end ends as Cancelled, is asked nothing more, and its end is
/// not a verdict: the rollout waits for a person.
#[tokio::test]
async fn a_terminated_run_ends() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        world.error_template("shop", &world.prometheus).await;
        world.surroundings("shop").await;
        let mut rollout = analysed(world, "shop", false);
        rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 20}, {"pause": {}}]);
        world.create(&rollout).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        let runs: Api<AnalysisRun> = Api::namespaced(world.admin.clone(), &world.namespace);
        let patch = Patch::Merge(json!({"spec": {"terminate": "somebody's wish"}}));
        runs.patch("shop-2-1-background", &PatchParams::default(), &patch).await.unwrap();
        support::eventually("the run has ended", async || world.runs("shop").await.iter().all(|r| run(r).ends_with("Cancelled")))
            .await;
        let asked = world.prometheus.asked();
        let detail = "AnalysisRun shop-2-1-background was cancelled; promote, abort or retry";
        let status = world.until("shop", detail, |status| status["waitingOn"]["detail"] == detail).await;
        undecided(&status);
        world.prometheus.say(Answer::Value(1.0)).await;
        // Longer than the metric's interval, which is the shortest there is.
        tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
        assert_eq!(world.prometheus.asked(), asked);
        world.request("shop", "1", "promoteFull").await;
        world.until_healthy("shop", "shop:2").await;
        world.rest(&journal).await;
        running.kill().await;
        assert_eq!(journal.violations(), [] as [String; 0]);
        let all: Vec<String> = world.runs("shop").await.iter().map(run).collect();
        assert_eq!(all, ["shop-2-1-background Cancelled"]);
    })
    .await;
}

/// Protects: a rollout that waits for what comes without an event that is watched, an AnalysisTemplate or a Gateway's
/// Programmed: it says what it waits for, looks again within 10 s, and goes on.
#[tokio::test]
async fn what_comes_without_an_event_is_looked_for() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let ctx = world.controller(&Wire::new(&journal, world.judge("shop"))).await;
        world.surroundings("shop").await;
        world.create(&analysed(world, "shop", false)).await;
        world.drive(&ctx, "shop", "shop:1 is stable", |status| status["phase"] == "Healthy").await;
        let soon = async || {
            let next = Box::pin(tidegate::controller::rollout::reconcile(&ctx, &world.namespace, "shop")).await.unwrap().unwrap();
            let wait = next.duration_since(ctx.now());
            assert!(wait <= jiff::SignedDuration::from_secs(10), "looks again in {wait:?}");
        };
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gateway", "namespace": world.namespace}});
        let gateways = support::api_of(&world.admin, &gateway, None);
        let programmed = gateways.get("gateway").await.unwrap().data["status"].clone();
        let off = Patch::Merge(json!({"status": {"conditions": []}}));
        gateways.patch_status("gateway", &PatchParams::default(), &off).await.unwrap();

        world.deploy("shop", "shop:2").await;
        let message = "spec.strategy.canary.analysis: AnalysisTemplate shop does not exist";
        world.drive(&ctx, "shop", message, |status| status["message"] == message && stalled(status) == "InvalidSpec").await;
        soon().await;
        world.error_template("shop", &world.prometheus).await;
        let detail = format!("HTTPRoute shop: Gateway {}/gateway is not Programmed", world.namespace);
        world.drive(&ctx, "shop", &detail, |status| status["waitingOn"]["detail"] == detail.as_str()).await;
        soon().await;
        let on = Patch::Merge(json!({"status": programmed}));
        gateways.patch_status("gateway", &PatchParams::default(), &on).await.unwrap();
        world.drive(&ctx, "shop", "shop:2 is stable", |status| status["phase"] == "Healthy").await;
        assert_eq!(journal.violations(), [] as [String; 0]);
    })
    .await;
}

/// Protects: templates written for Argo Rollouts: an argument's value from a revision's hash and from the Rollout's labels. A
/// label that is not there is told by name before a pod moves; once it is there the release goes on, and the run holds the
/// values as they were when it began.
#[tokio::test]
async fn arguments_from_elsewhere() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        let query = "errors{new=\"{{args.new}}\", old=\"{{args.old}}\", env=~\"{{args.env}}\"}";
        let metric = json!({
            "name": "errors", "interval": "1s", "initialDelay": "1s", "consecutiveSuccessLimit": 2, "successCondition": "result[0] < 0.05",
            "provider": {"prometheus": {"address": world.prometheus.address(), "query": query}},
        });
        world
            .create(&json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
                "metadata": {"name": "shop", "namespace": world.namespace},
                "spec": {"args": [{"name": "new"}, {"name": "old"}, {"name": "env"}], "metrics": [metric]},
            }))
            .await;
        world.surroundings("shop").await;
        let mut rollout = analysed(world, "shop", true);
        rollout["spec"]["strategy"]["canary"]["steps"][1]["analysis"]["args"] = json!([
            {"name": "new", "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": "old", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "env", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['env']"}}},
        ]);
        world.create(&rollout).await;
        let first = world.until_healthy("shop", "shop:1").await;
        let old = first["stable"]["hash"].as_str().unwrap().to_owned();
        world.deploy("shop", "shop:2").await;
        let why = "spec.strategy.canary.steps[1].analysis: argument 'env': the Rollout has no metadata.labels['env']";
        world.until_stalled("shop", "InvalidSpec", why).await;
        world.edit("shop", json!({"metadata": {"labels": {"env": "a.b"}}})).await;
        let last = world.until_healthy("shop", "shop:2").await;
        let new = last["stable"]["hash"].as_str().unwrap();
        let runs = world.runs("shop").await;
        let asked: Vec<_> = runs.iter().filter_map(|run| run.spec.metrics[0].provider.prometheus.query.as_deref()).collect();
        assert_eq!(asked, [format!("errors{{new=\"{new}\", old=\"{old}\", env=~\"a\\\\.b\"}}")]);
        running.kill().await;
        assert_eq!(journal.violations(), [] as [String; 0]);
    })
    .await;
}
