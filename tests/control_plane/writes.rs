//! How much is written: a bounded number for a whole canary, each for a reason, and nothing at rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{Journal, Wire, Write};
use crate::play::Answer;
use crate::world::{Running, World, in_world, lines};

/// Longest time until what can wait is written: the pace of late writes, and one measurement.
const LATE: Duration = Duration::from_millis(3500);

/// The controller at work for a stable Rollout, at rest. Four weight changes: 10, 50, 100, and 0 when it is promoted.
async fn at_rest(world: &World) -> (Arc<Journal>, Running) {
    world.error_template("errors", &world.prometheus).await;
    let mut rollout = world.rollout("shop", "shop:1");
    let canary = &mut rollout["spec"]["strategy"]["canary"];
    canary["steps"] = json!([{"setWeight": 10}, {"pause": {"duration": "1s"}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
    canary["analysis"] = json!({"templates": [{"templateName": "errors"}]});
    let journal = Arc::new(Journal::default());
    let running = world.run(&Wire::new(&journal, world.judge("shop"))).await;
    world.surroundings("shop").await;
    world.create(&rollout).await;
    world.until_healthy("shop", "shop:1").await;
    settled(world, "shop").await;
    world.rest(&journal).await;
    (journal, running)
}

/// Waits until the counts in the status are those of the cluster, whatever wrote them late.
async fn settled(world: &World, name: &str) -> Value {
    world
        .until(name, "two pods, all told", |status| {
            let counts = ["replicas", "readyReplicas", "availableReplicas"].map(|count| status[count].as_i64());
            counts == [Some(2); 3] && status["weights"]["verified"] == true && status["weights"]["canary"] == 0
        })
        .await
}

/// What was written how often: records are those of the Rollout and of its run.
fn counted(writes: &[Write]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        *counts.entry(write.object()).or_default() += 1;
    }
    counts
}

/// Everything but the records, one line each, with how often.
fn effects(world: &World, counts: &BTreeMap<String, usize>) -> Vec<String> {
    let effects = counts.iter().filter(|(object, _)| !object.ends_with(" status"));
    let mut lines: Vec<String> = effects.map(|(object, count)| world.in_words(&format!("{count} {object}"))).collect();
    lines.sort();
    lines
}

/// Records of the Rollout and of its run.
fn records(counts: &BTreeMap<String, usize>) -> (usize, usize) {
    let of = |resource: &str| counts.iter().filter(|(o, _)| o.contains(resource) && o.ends_with(" status")).map(|(_, n)| n).sum();
    (of(" rollouts "), of(" analysisruns "))
}

/// Protects: API writes of a whole good canary, at most 26 (the aim is 25; the progress of pods is recorded once more): each
/// effect once, each step recorded once, and of ten measurements only those that somebody waits for. After it, nothing.
#[tokio::test]
async fn of_a_good_canary() {
    in_world(async |world| {
        let (journal, running) = at_rest(world).await;
        let before = journal.applied().len();
        world.deploy("shop", "shop:2").await;
        world.until_healthy("shop", "shop:2").await;
        settled(world, "shop").await;
        world.rest(&journal).await;
        let writes = journal.applied().split_off(before);
        let counts = counted(&writes);
        let expected = "
            1 create analysisruns shop-2-1-background
            1 create replicasets shop-shop:2
            1 patch analysisruns shop-2-1-background
            1 patch replicasets shop-shop:1
            1 patch replicasets shop-shop:2
            1 patch services shop-canary
            1 patch services shop-stable
            4 patch httproutes shop";
        assert_eq!(effects(world, &counts), lines(expected));
        // A new revision, four steps, the point of no return, the promotion, the old pods gone. The run: its first values,
        // those at 50 and at 100, its end.
        bounded(&writes, (8, 4), 26);
        nothing_more(world, &journal, running).await;
    })
    .await;
}

/// Protects: API writes of an aborted canary, at most 30, and none after it: Argo Rollouts writes in a loop then.
#[tokio::test]
async fn of_an_aborted_canary() {
    in_world(async |world| {
        let (journal, running) = at_rest(world).await;
        let before = journal.applied().len();
        world.edit("shop", json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {"duration": "1s"}}, {"setWeight": 50}, {"pause": {}}]}}}})).await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 3).await;
        world.prometheus.say(Answer::Value(0.5)).await;
        world.until("shop", "stopped, its pods gone", |status| status["abort"] == true && status["scaleDowns"].is_null()).await;
        settled(world, "shop").await;
        world.rest(&journal).await;
        let writes = journal.applied().split_off(before);
        let counts = counted(&writes);
        let expected = "
            1 create analysisruns shop-2-1-background
            1 create replicasets shop-shop:2
            1 patch replicasets shop-shop:2
            2 patch services shop-canary
            3 patch httproutes shop";
        assert_eq!(effects(world, &counts), lines(expected));
        // The changed steps, a new revision, three steps, the stop, the delay of its pods, and their end. The run: its first
        // values, those at 50, its end.
        bounded(&writes, (8, 3), 30);
        nothing_more(world, &journal, running).await;
    })
    .await;
}

/// So many records and writes, and what was written late: once at the end, and once in 3 s for the Rollout and in 15 s
/// for the run. A machine that takes long over a canary has more of those, and a busy one shows a moment now and then that
/// another one passes over; the writes of all kinds keep to `most`.
fn bounded(writes: &[Write], (rollout, run): (usize, usize), most: usize) {
    let counts = counted(writes);
    let took = usize::try_from(writes[writes.len() - 1].at.duration_since(writes[0].at).as_secs()).unwrap();
    let late = (2 + took / 3, took / 15);
    let found = records(&counts);
    assert!(found.0 <= rollout + late.0 && found.1 <= run + late.1, "within {took} s: {counts:#?}");
    assert!(took > 9 || writes.len() <= most, "{} writes: {counts:#?}", writes.len());
}

/// Once more after what could be written late would have been: nothing was written, and the record is what the cluster is.
async fn nothing_more(world: &World, journal: &Journal, running: Running) {
    let known = journal.len();
    tokio::time::sleep(LATE).await;
    assert_eq!(journal.len(), known, "{:#?}", counted(&journal.applied().split_off(known)));
    world.rest(journal).await;
    running.kill().await;
    assert_eq!(journal.violations(), [] as [String; 0]);
}
