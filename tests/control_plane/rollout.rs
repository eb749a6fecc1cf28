//! Rollouts on a real API server: what is written, in which order, and that nothing else is.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::faults::{Journal, Wire};
use crate::world::{Running, World, in_world, lines, stalled};
use crate::{play, support};

/// The controller at work for a Rollout `shop` of `shop:1` that is stable.
async fn stable(world: &World, steps: Value, analysed: bool) -> (Arc<Journal>, Running) {
    let mut rollout = world.rollout("shop", "shop:1");
    rollout["spec"]["strategy"]["canary"]["steps"] = steps;
    if analysed {
        world.error_template("errors", &world.prometheus).await;
        rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
    }
    healthy(world, &rollout).await
}

/// The controller at work for this Rollout `shop` of `shop:1`, which is stable.
async fn healthy(world: &World, rollout: &Value) -> (Arc<Journal>, Running) {
    let journal = Arc::new(Journal::default());
    let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
    world.surroundings("shop").await;
    world.create(rollout).await;
    world.until_healthy("shop", "shop:1").await;
    (journal, running)
}

/// Ends the controller when it is at rest. No invariant was broken.
async fn end(world: &World, journal: &Journal, running: Running) {
    world.rest(journal).await;
    running.kill().await;
    assert_eq!(journal.violations(), [] as [String; 0]);
}

/// Protects: the documented order of writes from the first deployment to a promotion, each after the record that it
/// needs; and that the API server saw no other write of the controller.
#[tokio::test]
async fn happy_path() {
    in_world(async |world| {
        let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
        let (journal, running) = stable(world, steps, true).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.request("shop", "1", "promote").await;
        world.until_healthy("shop", "shop:2").await;
        end(world, &journal, running).await;
        let expected = "
            record stable none, canary shop:1
            create ReplicaSet shop-shop:1 with 2 pods
            Service shop-stable selects shop:1
            Service shop-canary selects shop:1
            record stable shop:1, canary none
            record stable shop:1, canary shop:2, attempt 1, step 0
            create ReplicaSet shop-shop:2 with 1 pods
            Service shop-canary selects shop:2
            HTTPRoute shop: 10/90
            create AnalysisRun shop-2-1-background
            record stable shop:1, canary shop:2, attempt 1, step 1
            record stable shop:1, canary shop:2, attempt 1, step 2
            HTTPRoute shop: 50/50
            record stable shop:1, canary shop:2, attempt 1, step 3
            record stable shop:1, canary shop:2, attempt 1, step 4
            ReplicaSet shop-shop:2: 2 pods
            HTTPRoute shop: 100/0
            record stable shop:1, canary shop:2, attempt 1, step 4, promoting
            Service shop-stable selects shop:2
            end AnalysisRun shop-2-1-background: the revision was promoted
            HTTPRoute shop: 0/100
            record stable shop:2, canary none
            ReplicaSet shop-shop:1: 0 pods";
        assert_eq!(world.story(&journal), lines(expected));
        let picture = "
            stable 100, canary 0
            shop-stable selects shop:2
            shop-canary selects shop:2
            shop:1: 0 pods
            shop:2: 2 pods";
        assert_eq!(world.picture("shop").await, lines(picture));
        // Nothing of the route changed but weights that are back where they were.
        assert_eq!(world.object(&world.route("shop")).await.data["spec"], world.route("shop")["spec"]);
        if let Some(audited) = world.audited() {
            let sent: Vec<String> = journal.applied().iter().map(crate::faults::Write::object).collect();
            assert_eq!(audited, sent);
        }
    })
    .await;
}

/// Protects: a bad canary. The verdict stands first, then weight 0, then the record; its pods stay for the delay and go
/// then; the content is held, also by a new process; `retry` is a new attempt with runs of its own.
#[tokio::test]
async fn a_failed_canary_goes_back_and_is_held() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"setWeight": 50}, {"pause": {}}]), true).await;
        world.edit("shop", json!({"spec": {"strategy": {"canary": {"abortScaleDownDelaySeconds": 2}}}})).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        let before = world.story(&journal).len();
        world.prometheus.say(crate::play::Answer::Value(0.5)).await;
        let status = world.until("shop", "its pods wait to go", |status| !status["scaleDowns"].is_null()).await;
        assert_eq!(world.picture("shop").await.last().unwrap(), "shop:2: 1 pods");
        assert_eq!((stalled(&status), status["weights"]["canary"].as_i64()), ("AnalysisFailed".to_owned(), Some(0)));
        world.until("shop", "its pods are gone", |status| status["scaleDowns"].is_null()).await;
        end(world, &journal, running).await;
        let expected = "
            verdict of AnalysisRun shop-2-1-background: Failed
            HTTPRoute shop: 0/100
            record stable shop:1, canary shop:2, attempt 1, step 1, stopped
            Service shop-canary selects shop:1
            ReplicaSet shop-shop:2: 0 pods";
        assert_eq!(world.story(&journal)[before..], lines(expected));
        let applied = journal.applied();
        let at = |part: &str| applied.iter().rfind(|write| write.object().starts_with(part)).unwrap().at;
        let kept = at("patch replicasets") - at("patch services");
        assert!(kept >= Duration::from_secs(2), "its pods were gone {kept:?} after its traffic");

        // Held: a new process does nothing.
        let held = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&held, world.judge("shop"))).await;
        world.edit("shop", json!({"metadata": {"annotations": {"look": "again"}}})).await;
        world.rest(&held).await;
        assert_eq!(world.story(&held), [] as [String; 0]);

        world.prometheus.say(crate::play::Answer::Value(0.0)).await;
        world.request("shop", "1", "retry").await;
        world.until_paused("shop", 1).await;
        world.request("shop", "2", "promote").await;
        world.until_healthy("shop", "shop:2").await;
        end(world, &held, running).await;
        let expected = "
            record stable shop:1, canary shop:2, attempt 2, step 0
            ReplicaSet shop-shop:2: 1 pods
            Service shop-canary selects shop:2
            HTTPRoute shop: 50/50
            create AnalysisRun shop-2-2-background
            record stable shop:1, canary shop:2, attempt 2, step 1
            record stable shop:1, canary shop:2, attempt 2, step 2
            ReplicaSet shop-shop:2: 2 pods
            HTTPRoute shop: 100/0
            record stable shop:1, canary shop:2, attempt 2, step 2, promoting
            Service shop-stable selects shop:2
            end AnalysisRun shop-2-2-background: the revision was promoted
            HTTPRoute shop: 0/100
            record stable shop:2, canary none
            ReplicaSet shop-shop:1: 0 pods";
        assert_eq!(world.story(&held), lines(expected));
        let runs: Vec<String> = world.runs("shop").await.iter().map(crate::world::run).collect();
        assert_eq!(runs, ["shop-2-1-background Failed", "shop-2-2-background Cancelled"]);
    })
    .await;
}

/// Protects: a route that fits neither Service, or is gone, and a Service that is gone: said by name, with what was
/// found; nothing moves meanwhile, and it goes on by itself once that is mended.
#[tokio::test]
async fn missing_routes_and_services() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"setWeight": 50}]), false).await;
        let route = world.route("shop");
        let routes = support::api_of(&world.admin, &route, None);
        let elsewhere =
            json!({"spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}, {"name": "shop-stable", "port": 80}]}]}});
        routes.patch("shop", &PatchParams::default(), &Patch::Merge(&elsewhere)).await.unwrap();
        let before = world.story(&journal).len();
        world.deploy("shop", "shop:2").await;
        let message = "HTTPRoute shop: no rule of the route names both Services shop-stable and shop-canary; its backends are shop-stable, web";
        world.until_stalled("shop", "RouteMissing", message).await;
        routes.delete("shop", &DeleteParams::default()).await.unwrap();
        world.until_stalled("shop", "RouteMissing", "HTTPRoute shop does not exist").await;
        world.create(&route).await;
        let service = world.service("shop-canary", "shop");
        let services = support::api_of(&world.admin, &service, None);
        services.delete("shop-canary", &DeleteParams::default()).await.unwrap();
        world.until_stalled("shop", "ServiceMissing", "Service shop-canary (canaryService) does not exist").await;
        world.rest(&journal).await;
        let expected = "
            record stable shop:1, canary shop:2, attempt 1, step 0
            create ReplicaSet shop-shop:2 with 1 pods";
        assert_eq!(world.story(&journal)[before..], lines(expected));
        world.create(&service).await;
        world.until_healthy("shop", "shop:2").await;
        end(world, &journal, running).await;
    })
    .await;
}

/// Protects: a first deployment whose route fits neither Service. It says so, and goes on once that is mended.
#[tokio::test]
async fn first_deployment_without_a_route() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        world.create(&world.service("shop-stable", "shop")).await;
        world.create(&world.rollout("shop", "shop:1")).await;
        world.until_stalled("shop", "ServiceMissing", "Service shop-canary (canaryService) does not exist").await;
        world.create(&world.service("shop-canary", "shop")).await;
        world.until_stalled("shop", "RouteMissing", "HTTPRoute shop does not exist").await;
        world.create(&world.route("shop")).await;
        world.until_healthy("shop", "shop:1").await;
        end(world, &journal, running).await;
    })
    .await;
}

/// Protects: stable, from templates that the API server refuses. They are refused with its words before anything
/// moves, and a good template goes on.
#[tokio::test]
async fn impossible_templates() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"setWeight": 50}]), false).await;
        let before = world.story(&journal).len();
        let picture = world.picture("shop").await;
        world.forbid_image("forbidden:1").await;
        let good = serde_json::to_value(world.get("shop").await.spec.template).unwrap();
        let cases = [
            ("/spec/containers/0/name", json!(""), "spec.template.spec.containers[0].name: Required value"),
            ("/spec/containers/0/imagePullPolicy", json!("Sometimes"), "Unsupported value: \"Sometimes\""),
            ("/spec/containers/0/resources", json!({"requests": {"cpu": "much"}}), "quantities must match"),
            ("/spec/containers/0/image", json!("forbidden:1"), "denied request: this image is forbidden here"),
            ("/spec/restartPolicy", json!("Never"), "spec.template.spec.restartPolicy: Unsupported value: \"Never\""),
        ];
        for (path, value, words) in cases {
            let mut template = good.clone();
            let (parent, key) = path.rsplit_once('/').unwrap();
            template.pointer_mut(parent).unwrap()[key] = value;
            world.replace_template("shop", &template).await;
            world
                .until("shop", words, |status| {
                    stalled(status) == "InvalidSpec" && status["message"].as_str().unwrap_or("").contains(words)
                })
                .await;
        }
        world.rest(&journal).await;
        let others: Vec<String> =
            world.story(&journal)[before..].iter().filter(|line| !line.starts_with("record ")).cloned().collect();
        assert_eq!(others, [] as [String; 0]);
        assert_eq!(world.picture("shop").await, picture);
        world.replace_template("shop", &good).await;
        world.deploy("shop", "shop:2").await;
        world.until_healthy("shop", "shop:2").await;
        end(world, &journal, running).await;
    })
    .await;
}

/// Protects: each command is carried out once or visibly refused.
#[tokio::test]
async fn commands() {
    in_world(async |world| {
        let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 20}, {"pause": {}}]);
        let (journal, running) = stable(world, steps, false).await;
        let ask = async |id: &str, action: &str, seen: Value| {
            let mut request = json!({"id": id, "action": action});
            request.as_object_mut().unwrap().extend(seen.as_object().unwrap().clone());
            world.edit("shop", json!({"spec": {"request": null}})).await;
            world.edit("shop", json!({"spec": {"request": request}})).await;
            let status = world.until("shop", &format!("request {id} is answered"), |s| s["requests"][0]["id"] == id).await;
            let answer = &status["requests"][0];
            format!("{} {}: {}", answer["action"], answer["outcome"], answer["message"]).replace('"', "")
        };
        let nothing = json!({});
        let mut answers = vec![ask("0", "promote", nothing.clone()).await, ask("1", "retry", nothing.clone()).await];
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        answers.push(ask("2", "promote", json!({"revision": 2, "step": 1})).await);
        world.until_paused("shop", 3).await;
        answers.push(ask("3", "promote", json!({"revision": 2, "step": 1})).await);
        // The same id again is the same command: it was answered.
        world.edit("shop", json!({"spec": {"request": {"id": "2", "action": "promote"}}})).await;
        world.rest(&journal).await;
        world.until_paused("shop", 3).await;
        answers.push(ask("4", "abort", json!({"revision": 1})).await);
        answers.push(ask("5", "retry", nothing.clone()).await);
        answers.push(ask("6", "abort", nothing.clone()).await);
        let status =
            world.until("shop", "stopped, and its pods are gone", |s| !stalled(s).is_empty() && s["scaleDowns"].is_null()).await;
        assert_eq!((stalled(&status), &status["failure"]["cause"]), ("AbortedByUser".to_owned(), &json!("AbortedByUser")));
        answers.push(ask("7", "promote", nothing.clone()).await);
        answers.push(ask("8", "retry", nothing.clone()).await);
        world.until_paused("shop", 1).await;
        answers.push(ask("9", "promoteFull", nothing.clone()).await);
        world.until_healthy("shop", "shop:2").await;
        answers.push(ask("10", "abort", nothing).await);
        end(world, &journal, running).await;
        let expected = "
            promote Refused: the spec asks for what is stable; there is nothing to promote
            retry Refused: nothing was stopped; there is nothing to retry
            promote Done: step 2 of 4 is passed
            promote Superseded: step 4 is under way by now, not 2
            abort Superseded: revision 2 is under way by now, not 1
            retry Refused: it is under way; abort first
            abort Done: traffic goes back to stable, and this content is held until it changes or somebody retries
            promote Refused: this revision was stopped and is held; retry starts it again
            retry Done: the hold is lifted, and it starts again at the first step
            promoteFull Done: all remaining steps are skipped
            abort Refused: the spec asks for what is stable; there is nothing to abort";
        assert_eq!(answers, lines(expected));
        let weights: Vec<String> = world.story(&journal).into_iter().filter(|line| line.starts_with("HTTPRoute")).collect();
        let expected = "
            HTTPRoute shop: 10/90
            HTTPRoute shop: 20/80
            HTTPRoute shop: 0/100
            HTTPRoute shop: 10/90
            HTTPRoute shop: 100/0
            HTTPRoute shop: 0/100";
        assert_eq!(weights, lines(expected));
    })
    .await;
}

/// Protects: weights that somebody else writes are put right, and are never taken for progress.
#[tokio::test]
async fn foreign_weights_are_corrected() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"setWeight": 10}, {"pause": {}}]), false).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.rest(&journal).await;
        let before = world.story(&journal).len();
        let routes = support::api_of(&world.admin, &world.route("shop"), None);
        for (stable, canary) in [(30, 70), (100, 0), (0, 100), (0, 0)] {
            let written = world.story(&journal).len();
            let patch: json_patch::Patch = serde_json::from_value(json!([
                {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": stable},
                {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": canary},
            ]))
            .unwrap();
            routes.patch("shop", &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
            support::eventually("the weights are put right", async || world.story(&journal).len() > written).await;
            let status = world
                .until("shop", "verified", |status| {
                    status["weights"] != json!(null) && status["weights"]["verified"] == true && status["weights"]["canary"] == 10
                })
                .await;
            assert_eq!((&status["currentStepIndex"], &status["phase"]), (&json!(1), &json!("Paused")));
        }
        end(world, &journal, running).await;
        assert_eq!(world.story(&journal)[before..], vec!["HTTPRoute shop: 10/90"; 4]);
    })
    .await;
}

/// Protects: the others, from a Rollout that cannot be carried out and from one whose every pass fails; and the API
/// server, from a loop that tries without a pause.
#[tokio::test]
async fn a_poisoned_rollout_harms_no_other() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let running = world.run(&Wire::breaks(&journal, world.judge("shop"), "services/failing-stable")).await;
        let mut invalid = world.rollout("invalid", "shop:1");
        invalid["spec"]["template"]["metadata"]["labels"] = json!({"app": "another"});
        // The path of the route's status, if a name were taken for a part of a path.
        let mut hostile = world.rollout("hostile", "shop:1");
        hostile["spec"]["strategy"]["canary"]["trafficRouting"]["gatewayAPI"]["httpRoutes"] = json!([{"name": "shop/status"}]);
        for object in [&invalid, &hostile, &world.rollout("failing", "shop:1")] {
            world.create(object).await;
        }
        world.surroundings("shop").await;
        world.create(&world.rollout("shop", "shop:1")).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_healthy("shop", "shop:2").await;
        let message = "spec.template.metadata.labels['app']: 'another'; spec.selector.matchLabels asks for 'invalid'";
        world.until_stalled("invalid", "InvalidSpec", message).await;
        let message = "spec.strategy.canary.trafficRouting.gatewayAPI.httpRoutes[0].name: 'shop/status'; must be a name of lower-case letters, digits, '-' and '.', with a letter or digit at both ends";
        world.until_stalled("hostile", "InvalidSpec", message).await;
        let errors = running.ctx.metrics.text();
        let errors = errors.lines().find(|line| line.starts_with("tidegate_reconcile_errors_total")).unwrap().to_owned();
        let (kind, count) = errors.rsplit_once(' ').unwrap();
        assert_eq!(kind, "tidegate_reconcile_errors_total{kind=\"Rollout\",reason=\"unreachable\"}");
        // After 1, 2, 4, 8 ... seconds; the test takes less than 30.
        assert!((2..=6).contains(&count.parse::<u32>().unwrap()), "{errors}");
        end(world, &journal, running).await;
        assert_eq!(world.get("failing").await.status, None);
    })
    .await;
}

/// Protects: traffic, from pods that do not start and from a gateway that does not answer. Nothing is raised, and no
/// canary's pods go, before the weight under them is confirmed.
#[tokio::test]
async fn nothing_goes_on_unconfirmed() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"setWeight": 50}, {"pause": {}}]), false).await;
        world.script.gateway_lag(Duration::from_millis(200));
        world.script.never_ready("shop:bad");
        // Counts of pods may be recorded late.
        world.rest(&journal).await;
        let mut before = world.story(&journal).len();
        world.deploy("shop", "shop:bad").await;
        let detail = "no canary pod is ready yet";
        world.until("shop", detail, |status| status["waitingOn"]["detail"] == detail).await;
        world.rest(&journal).await;
        let expected = "
            record stable shop:1, canary shop:bad, attempt 1, step 0
            create ReplicaSet shop-shop:bad with 1 pods";
        assert_eq!(world.story(&journal)[before..], lines(expected));

        world.script.gateway_silent(true);
        before = world.story(&journal).len();
        world.deploy("shop", "shop:2").await;
        let waits = |status: &Value| status["waitingOn"]["reason"] == "WeightVerified" && status["weights"]["canary"] == 50;
        world.until("shop", "waits for the gateway", waits).await;
        world.script.gateway_silent(false);
        world.until_paused("shop", 1).await;
        world.script.gateway_silent(true);
        world.request("shop", "1", "abort").await;
        let waits = |status: &Value| status["waitingOn"]["reason"] == "WeightVerified" && status["weights"]["canary"] == 0;
        world.until("shop", "waits for the gateway", waits).await;
        world.rest(&journal).await;
        assert_eq!(world.story(&journal).last().unwrap(), "record stable shop:1, canary shop:2, attempt 1, step 1, stopped");
        world.script.gateway_silent(false);
        world.until("shop", "back", |status| status["scaleDowns"].is_null() && status["replicas"] == 2).await;
        end(world, &journal, running).await;
        let expected = "
            record stable shop:1, canary shop:2, attempt 1, step 0
            create ReplicaSet shop-shop:2 with 1 pods
            Service shop-canary selects shop:2
            HTTPRoute shop: 50/50
            record stable shop:1, canary shop:2, attempt 1, step 1
            HTTPRoute shop: 0/100
            record stable shop:1, canary shop:2, attempt 1, step 1, stopped
            Service shop-canary selects shop:1
            ReplicaSet shop-shop:2: 0 pods";
        // The pods that never started go after their delay, whenever that is.
        let story = world.story(&journal)[before..].to_vec();
        let story: Vec<String> = story.into_iter().filter(|line| line != "ReplicaSet shop-shop:bad: 0 pods").collect();
        assert_eq!(story, lines(expected));
        assert!(world.picture("shop").await.contains(&"shop:bad: 0 pods".to_owned()));
    })
    .await;
}

/// Protects: a Rollout that works from one that names its Service, by mistake or by an edit. The other is told so, with the
/// field, and touches nothing; once it has a Service of its own it goes ahead.
#[tokio::test]
async fn a_service_has_one_rollout() {
    in_world(async |world| {
        let (journal, running) = stable(world, json!([{"pause": {}}]), false).await;
        world.create(&world.service("thief-stable", "thief")).await;
        world.create(&world.service("thief-canary", "thief")).await;
        let mut thief = world.rollout("thief", "thief:1");
        thief["spec"]["strategy"]["canary"] = json!({"stableService": "thief-stable", "canaryService": "shop-canary"});
        world.create(&thief).await;
        let why = "spec.strategy.canary.canaryService: 'shop-canary' is a Service of the Rollout 'shop' already; each Rollout needs Services of its own";
        world.until_stalled("thief", "InvalidSpec", why).await;
        world.rest(&journal).await;
        let names = |line: &String| line.contains("thief");
        assert_eq!(world.story(&journal).into_iter().filter(names).collect::<Vec<_>>(), [] as [String; 0]);
        // The one that has it is not disturbed.
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 0).await;
        world.edit("thief", json!({"spec": {"strategy": {"canary": {"canaryService": "thief-canary"}}}})).await;
        world.until_healthy("thief", "thief:1").await;
        end(world, &journal, running).await;
    })
    .await;
}

/// The controller at work for a Rollout `shop` of `shop:1` that is stable, whose steps may add this rule.
async fn ruled(world: &World, rule: &str, steps: Value) -> (Arc<Journal>, Running) {
    let mut rollout = world.rollout("shop", "shop:1");
    rollout["spec"]["strategy"]["canary"]["trafficRouting"]["managedRoutes"] = json!([{"name": rule}]);
    rollout["spec"]["strategy"]["canary"]["steps"] = steps;
    healthy(world, &rollout).await
}

/// Stops the release at its pause. One write brought the rule and one took it away; the route is as it was.
async fn ends_without_the_rule(world: &World, journal: &Journal, running: Running, rule: &str) {
    world.until_paused("shop", 1).await;
    world.rest(journal).await;
    world.request("shop", "1", "abort").await;
    world.until("shop", "stopped, its pods gone", |status| status["abort"] == true && status["scaleDowns"].is_null()).await;
    end(world, journal, running).await;
    let routes: Vec<String> = world.story(journal).into_iter().filter(|line| line.starts_with("HTTPRoute")).collect();
    assert_eq!(routes, [format!("HTTPRoute shop: rule {rule}"), "HTTPRoute shop: a rule less".to_owned()]);
    let left = world.object(&world.route("shop")).await;
    assert_eq!(left.data["spec"]["rules"], world.route("shop")["spec"]["rules"], "the route is as it was");
}

/// Protects: requests by header, on an API server: one write brings the rule, one takes it away at the stop, before anything
/// else, and in between none is written again.
#[tokio::test]
async fn a_header_route_comes_and_goes() {
    in_world(async |world| {
        let headers = json!([{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]);
        let steps = json!([{"setHeaderRoute": {"name": "staff", "match": headers}}, {"pause": {}}]);
        let (journal, running) = ruled(world, "staff", steps).await;
        world.deploy("shop", "shop:2").await;
        ends_without_the_rule(world, &journal, running, "staff").await;
    })
    .await;
}

/// Protects: copies of requests, on an API server. A class that does not list the feature is told by name, before any pod
/// moves; when it lists it, the release goes on by itself, and one write brings the rule and one takes it away.
#[tokio::test]
async fn a_mirror_route_comes_and_goes() {
    in_world(async |world| {
        let matches = json!([{"method": {"exact": "GET"}, "path": {"prefix": "/"}}]);
        let steps = json!([{"setMirrorRoute": {"name": "shadow", "percentage": 20, "match": matches}}, {"pause": {}}]);
        let (journal, running) = ruled(world, "shadow", steps).await;
        // A class of its own, as others go by the one that all share.
        let class = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": world.namespace},
            "spec": {"controllerName": play::CONTROLLER},
        });
        support::create(&world.admin, None, &class, false).await.unwrap();
        let own = Patch::Merge(json!({"spec": {"gatewayClassName": world.namespace}}));
        let gateway =
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"namespace": world.namespace}});
        support::api_of(&world.admin, &gateway, None).patch("gateway", &PatchParams::default(), &own).await.unwrap();
        world.deploy("shop", "shop:2").await;
        let gateway = format!("{}/gateway", world.namespace);
        let why = format!(
            "setMirrorRoute needs HTTPRouteRequestPercentageMirror, which the GatewayClass of Gateway {gateway} does not list in \
             status.supportedFeatures"
        );
        world.until_stalled("shop", "InvalidSpec", &format!("spec.strategy.canary.steps: {why}")).await;
        let features = json!([{"name": "HTTPRouteRequestMirror"}, {"name": "HTTPRouteRequestPercentageMirror"}]);
        let status = Patch::Merge(json!({"status": {"supportedFeatures": features}}));
        let classes = support::api_of(&world.admin, &class, None);
        classes.patch_status(&world.namespace, &PatchParams::default(), &status).await.unwrap();
        ends_without_the_rule(world, &journal, running, "shadow").await;
        classes.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    })
    .await;
}
