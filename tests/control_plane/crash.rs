//! The controller dies, at every write of an abort and of a promotion: before the API server saw it, and after it was
//! applied but before the answer. A new process with nothing in memory brings it to the same end, and creates nothing
//! twice.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use crate::faults::{Journal, When, Wire, Write};
use crate::play::Answer;
use crate::support;
use crate::world::{World, in_world, lines, reason};

/// So many scenarios at a time. Most of their time they wait for somebody: a kubelet, a gateway, a delay.
pub const AT_ONCE: usize = 16;

/// Where a scenario ends.
#[derive(Debug, PartialEq)]
pub struct End {
    /// Routes, selectors and sizes.
    picture: Vec<String>,
    /// The record, without times and names.
    status: Value,
    /// The runs and their phases.
    runs: Vec<String>,
    /// Everything that was created, in all lives.
    created: Vec<String>,
}

/// A Rollout that pauses at a weight of 50, its background analysis in good order.
pub async fn paused(world: &World, name: &str, journal: &Arc<Journal>) {
    let ctx = world.controller(&Wire::new(journal, None)).await;
    let mut rollout = world.rollout(name, "shop:1");
    rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
    rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
    world.surroundings(name).await;
    world.create(&rollout).await;
    world.drive(&ctx, name, "shop:1 is stable", |status| status["phase"] == "Healthy").await;
    world.deploy(name, "shop:2").await;
    world.drive(&ctx, name, "paused", |status| status["phase"] == "Paused" && status["currentStepIndex"] == 1).await;
}

/// Where a Rollout is, in words that do not depend on its name.
pub async fn end(world: &World, name: &str, journal: &Journal) -> End {
    let strip = |text: String| text.replace(name, "NAME");
    let status = serde_json::to_value(world.get(name).await.status).unwrap();
    let failure = &status["failure"];
    let uid = world.get(name).await.metadata.uid.unwrap();
    let kept = json!({
        "phase": status["phase"], "stalled": reason(&status, "Stalled"), "step": status["currentStepIndex"],
        "abort": status["abort"], "attempt": status["attempt"], "promoting": status["promoting"],
        "stable": status["stable"]["revision"], "canary": status["canary"]["revision"],
        "holds": status["holds"].as_array().map(Vec::len), "failure": strip(failure["id"].to_string().replace(&uid, "UID")),
        "evidence": failure["evidence"], "run": strip(failure["analysisRun"].to_string()), "weight": failure["weight"],
        "requests": status["requests"].as_array().map(Vec::len), "weights": [status["weights"]["canary"], status["weights"]["verified"]],
    });
    let created = journal.applied().into_iter().filter(|write| write.verb == "create");
    let mut created: Vec<String> = created.map(|write| world.in_words(&strip(write.object()))).collect();
    created.sort();
    End {
        picture: world.picture(name).await.into_iter().map(strip).collect(),
        status: kept,
        runs: world.runs(name).await.iter().map(|run| strip(crate::world::run(run))).collect(),
        created,
    }
}

/// What starts a scenario, and when it is over.
#[derive(Clone, Copy)]
pub struct Story {
    pub word: &'static str,
    pub over: fn(&Value) -> bool,
}

impl Story {
    /// A verdict Failed, up to the canary's pods being gone.
    pub const ABORT: Self = Self { word: "abort", over: |status| status["abort"] == true && is_calm(status) };
    /// A person's promotion from the last step, up to the old pods being gone.
    pub const PROMOTE: Self = Self { word: "promote", over: |status| status["phase"] == "Healthy" && is_calm(status) };
    /// Another template while a canary pauses, up to the same pause of the new one.
    pub const SUPERSEDE: Self = Self {
        word: "supersede",
        over: |status| {
            let paused = status["phase"] == "Paused" && status["currentStepIndex"] == 1;
            paused && status["canary"]["revision"] == 3 && status["scaleDowns"].is_null() && status["weights"]["verified"] == true
        },
    };

    /// What starts it.
    pub async fn begin(&self, world: &World, name: &str) {
        match self.word {
            "abort" => fail(world, name).await,
            "supersede" => world.deploy(name, "shop:3").await,
            _ => world.request(name, "1", "promote").await,
        }
    }
}

fn is_calm(status: &Value) -> bool {
    status["scaleDowns"].is_null() && status["replicas"] == 2
}

/// Prepares a Rollout, starts the story, and lets the controller die as said. The end, and how many writes led to it.
async fn play(world: &World, story: Story, fault: Option<(usize, When)>) -> (End, usize) {
    let name = fault.map_or_else(|| story.word.to_owned(), |(nth, when)| format!("{}-{nth}-{when:?}", story.word).to_lowercase());
    let journal = Arc::new(Journal::default());
    paused(world, &name, &journal).await;
    story.begin(world, &name).await;
    let before = world.story(&journal).len();
    let wire = match fault {
        Some((nth, when)) => Wire::dies_at(&journal, world.judge(&name), nth, when),
        None => Wire::new(&journal, world.judge(&name)),
    };
    let ctx = world.controller(&wire).await;
    let over = |status: &Value| wire.is_dead() || (story.over)(status);
    world.drive(&ctx, &name, "the first life is over", over).await;
    assert_eq!(wire.is_dead(), fault.is_some(), "{name}");
    let ctx = world.controller(&Wire::new(&journal, world.judge(&name))).await;
    world.drive(&ctx, &name, "the second life comes to the end", story.over).await;
    let known = world.story(&journal);
    world.look(&ctx, &name).await.unwrap();
    assert_eq!(world.story(&journal), known, "{name}: not at rest");
    assert_eq!(journal.violations(), [] as [String; 0], "{name}");
    (end(world, &name, &journal).await, known.len() - before)
}

/// The verdict Failed, written into the run's status as the analysis loop does.
pub async fn fail(world: &World, name: &str) {
    let run = world.runs(name).await.remove(0);
    let mut status = serde_json::to_value(run.status.unwrap()).unwrap();
    status["phase"] = json!("Failed");
    status["message"] = json!("31 of 412 requests failed");
    status["completedAt"] = status["startedAt"].clone();
    let object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun"});
    let patch = kube::api::Patch::Merge(json!({"status": status}));
    let runs = support::api_of(&world.admin, &object, Some(&world.namespace));
    runs.patch_status(&run.metadata.name.unwrap(), &kube::api::PatchParams::default(), &patch).await.unwrap();
}

/// Plays the story without a fault, then with one at each of its writes.
async fn enumerate(world: &World, story: Story) {
    world.error_template("errors", &world.prometheus).await;
    let (golden, writes) = play(world, story, None).await;
    assert!(writes >= 4, "the story has {writes} writes only");
    // For a process that is dead, "before the next write" is "after this one was applied": each state comes up once.
    let faults = std::iter::once((0, When::Before)).chain((0..writes).map(|nth| (nth, When::Applied)));
    // Boxed: so many of these futures do not fit on a stack.
    let ends = stream::iter(faults).map(|fault| async move { (fault, play(world, story, Some(fault)).await.0) }.boxed_local());
    let ends: Vec<_> = ends.buffer_unordered(AT_ONCE).collect().await;
    for ((nth, when), end) in ends {
        assert_eq!(end, golden, "died at write {nth}, {when:?}");
    }
}

/// Protects: a verdict Failed. Wherever the controller dies, the end is weight 0, one hold, one failure, the canary's
/// pods gone, and each object created once.
#[tokio::test]
async fn dies_at_every_write_of_an_abort() {
    in_world(async |world| {
        enumerate(world, Story::ABORT).await;
    })
    .await;
}

/// Protects: a promotion. Wherever the controller dies, the new revision becomes stable once, and nothing is created twice.
#[tokio::test]
async fn dies_at_every_write_of_a_promotion() {
    in_world(async |world| {
        enumerate(world, Story::PROMOTE).await;
    })
    .await;
}

/// Protects: a verdict, from the death of the process that found it before anything reacted to it.
#[tokio::test]
async fn dies_right_after_the_verdict() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        world.error_template("errors", &world.prometheus).await;
        let mut rollout = world.rollout("shop", "shop:1");
        rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
        rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
        world.surroundings("shop").await;
        world.create(&rollout).await;
        let verdict = |write: &Write| {
            write.resource == "analysisruns" && write.subresource == "status" && write.body[1]["value"]["phase"] == "Failed"
        };
        let wire = Wire::dies_after(&journal, world.judge("shop"), verdict);
        let running = world.run(&wire).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.prometheus.say(Answer::Value(0.5)).await;
        support::eventually("the verdict is written", async || wire.is_dead()).await;
        support::eventually("and it is the last write", async || world.story(&journal).last().unwrap().starts_with("verdict"))
            .await;
        running.kill().await;
        let before = world.story(&journal).len();
        let runs: Vec<String> = world.runs("shop").await.iter().map(crate::world::run).collect();
        assert_eq!(runs, ["shop-2-1-background Failed"]);
        assert_eq!(world.picture("shop").await[0], "stable 50, canary 50");

        // Prometheus is well again: only the verdict that stands can stop the canary now.
        world.prometheus.say(Answer::Value(0.0)).await;
        let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
        world
            .until("shop", "back", |status| status["abort"] == true && status["scaleDowns"].is_null() && status["replicas"] == 2)
            .await;
        world.rest(&journal).await;
        running.kill().await;
        let expected = "
            HTTPRoute shop: 0/100
            record stable shop:1, canary shop:2, attempt 1, step 1, stopped
            Service shop-canary selects shop:1
            ReplicaSet shop-shop:2: 0 pods";
        assert_eq!(world.story(&journal)[before..], lines(expected));
        assert_eq!(journal.violations(), [] as [String; 0]);
        let status = serde_json::to_value(world.get("shop").await.status).unwrap();
        assert_eq!(status["holds"].as_array().map(Vec::len), Some(1));
        assert_eq!(status["failure"]["analysisRun"], "shop-2-1-background");
    })
    .await;
}

/// Protects: one set of objects, from two controllers at work at the same time. (There should be one; but there can be
/// two for a moment.)
#[tokio::test]
async fn two_controllers_at_once() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        world.error_template("errors", &world.prometheus).await;
        let mut rollout = world.rollout("shop", "shop:1");
        rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}]);
        rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
        world.surroundings("shop").await;
        let first = world.run(&Wire::new(&journal, None)).await;
        let second = world.run(&Wire::new(&journal, None)).await;
        world.create(&rollout).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_healthy("shop", "shop:2").await;
        world.rest(&journal).await;
        first.kill().await;
        second.kill().await;
        let created: Vec<String> = world.story(&journal).into_iter().filter(|line| line.starts_with("create")).collect();
        let expected = "
            create ReplicaSet shop-shop:1 with 2 pods
            create ReplicaSet shop-shop:2 with 1 pods
            create AnalysisRun shop-2-1-background";
        assert_eq!(created, lines(expected));
        let weights: Vec<String> = world.story(&journal).into_iter().filter(|line| line.starts_with("HTTPRoute")).collect();
        assert_eq!(weights, ["HTTPRoute shop: 50/50", "HTTPRoute shop: 100/0", "HTTPRoute shop: 0/100"]);
    })
    .await;
}
