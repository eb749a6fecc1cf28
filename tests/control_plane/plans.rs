//! Releases on an API server that behaves badly: each comes to the same end as on one that does not, in bounded time, with
//! each object created once and no invariant broken on the way.
//!
//! `plans/*.plan` are such plans as files, for those that were worth keeping; the format stands at the top of `unruly.rs`.
//! Where a generated plan fails, the message holds its lines: put them into a file, and it is replayed from then on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use tidegate::controller::error::CALL_DEADLINE;
use tidegate::controller::{Nets, Surroundings};

use crate::crash::{AT_ONCE, End, Story, end, paused};
use crate::faults::{Journal, Wire};
use crate::support;
use crate::unruly::{Fault, Kind, Line, Unruly};
use crate::world::{World, in_world, lines};

const STORIES: [Story; 3] = [Story::PROMOTE, Story::ABORT, Story::SUPERSEDE];

#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn now() -> Instant {
    Instant::now()
}

/// Where a story ends against this API server, and how long its longest pass took.
async fn play(world: &World, story: Story, name: &str, unruly: &Unruly) -> (End, Duration) {
    let journal = Arc::new(Journal::default());
    paused(world, name, &journal).await;
    story.begin(world, name).await;
    let ctx = world.replica_against(unruly, &Wire::new(&journal, world.judge(name)), Surroundings::default()).await;
    let (until, mut longest) = (now() + Duration::from_secs(60), Duration::ZERO);
    loop {
        let began = now();
        let looked = world.look(&ctx, name).await;
        longest = longest.max(began.elapsed());
        let status = serde_json::to_value(world.get(name).await.status).unwrap();
        if (story.over)(&status) {
            break;
        }
        assert!(now() < until, "{name}: does not come to its end; {looked:?}; the status is {status:#}");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let known = world.story(&journal);
    // Whatever still comes of the plan, a pass without a fault finds nothing to do.
    while let Err(error) = world.look(&ctx, name).await {
        assert!(now() < until, "{name}: {error}");
    }
    assert_eq!(world.story(&journal), known, "{name}: not at rest");
    assert_eq!(journal.violations(), [] as [String; 0], "{name}");
    (end(world, name, &journal).await, longest)
}

/// A story on a good API server: its end, and its calls.
async fn golden(world: &World, story: Story) -> (End, Vec<(Kind, usize)>) {
    let unruly = Unruly::default();
    let (end, _) = play(world, story, &format!("{}-golden", story.word), &unruly).await;
    (end, unruly.calls())
}

/// Plays each line by itself; the ends are the golden one. Answers how many of the faults came about, and the longest pass.
async fn play_each(world: &World, story: Story, golden: &End, cases: Vec<Line>, at_once: usize) -> (usize, Duration) {
    let runs = cases.into_iter().enumerate().map(|(number, line)| {
        async move {
            let unruly = Unruly::by(vec![line.clone()]);
            let (end, longest) = play(world, story, &format!("{}-{number}", story.word), &unruly).await;
            assert_eq!(end, *golden, "run {}\n{line}", story.word);
            (unruly.hits(), longest)
        }
        .boxed_local()
    });
    let done: Vec<(usize, Duration)> = stream::iter(runs).buffer_unordered(at_once).collect().await;
    (done.iter().map(|(hits, _)| hits.min(&1)).sum(), done.iter().map(|(_, longest)| *longest).max().unwrap_or_default())
}

fn line(of: &Kind, nth: usize, fault: Fault) -> Line {
    Line { of: of.clone(), nth, every: false, fault }
}

fn is_read(kind: &Kind) -> bool {
    ["get", "list", "try"].contains(&kind.verb.as_str())
}

/// Protects: releases from everything that an API server may answer. At each write two faults, in turn of all that there are,
/// and at each kind of read one; with `TIDEGATE_FAULTS=all`, all of them everywhere.
#[tokio::test]
async fn faults_of_each_call() {
    in_world(async |world| {
        world.error_template("errors", &world.prometheus).await;
        let all = support::all_faults();
        for story in STORIES {
            let (golden, calls) = golden(world, story).await;
            let writes = calls.iter().filter(|(kind, nth)| !is_read(kind) && *nth <= 6).enumerate();
            let mut cases: Vec<Line> = Vec::new();
            for (index, (kind, nth)) in writes {
                let chosen = |at: usize| all || at / 2 == index % (Fault::OF_WRITES.len() / 2);
                let faults = Fault::OF_WRITES.into_iter().enumerate().filter(|(at, _)| chosen(*at));
                cases.extend(faults.map(|(_, fault)| line(kind, *nth, fault)));
            }
            let reads: BTreeSet<&Kind> = calls.iter().map(|(kind, _)| kind).filter(|kind| is_read(kind)).collect();
            for (index, kind) in reads.into_iter().enumerate() {
                let faults = Fault::OF_READS.into_iter().enumerate();
                let chosen = faults.filter(|(at, _)| all || *at == index % Fault::OF_READS.len());
                cases.extend(chosen.map(|(_, fault)| line(kind, 1, fault)));
            }
            let number = cases.len();
            assert!(number >= 20, "{}: {number} faults only", story.word);
            let (hits, _) = play_each(world, story, &golden, cases, AT_ONCE).await;
            // Which pods are ready when is chance, and so is whether there is a last status that says so.
            assert!(hits * 10 >= number * 8, "{}: {hits} of {number} faults came about", story.word);
        }
    })
    .await;
}

/// Protects: loops from calls that never end. Each kind of call hangs once: the pass ends by its deadline, and the release
/// goes on.
#[tokio::test]
async fn every_call_has_a_deadline() {
    in_world(async |world| {
        world.error_template("errors", &world.prometheus).await;
        let (golden, calls) = golden(world, Story::SUPERSEDE).await;
        let kinds: BTreeSet<&Kind> = calls.iter().map(|(kind, _)| kind).collect();
        let hang = |(index, kind): (usize, &&Kind)| line(kind, 1, Fault::Hang { applied: index % 2 == 1 });
        let cases: Vec<Line> = kinds.iter().enumerate().map(hang).collect();
        let number = cases.len();
        assert!(number >= 14, "{number} kinds of calls only: {kinds:?}");
        let (hits, longest) = play_each(world, Story::SUPERSEDE, &golden, cases, number).await;
        assert_eq!(hits, number);
        // One call hangs; the others of that pass have as much time as a busy machine needs.
        assert!(longest >= CALL_DEADLINE && longest < CALL_DEADLINE * 2, "a pass took {longest:?}");
    })
    .await;
}

/// A plan from a file.
struct Plan {
    name: String,
    story: String,
    lines: Vec<Line>,
}

fn plans() -> Vec<Plan> {
    let folder = std::path::Path::new("tests/control_plane/plans");
    let mut plans: Vec<Plan> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut rest = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let story = rest.next().and_then(|line| line.strip_prefix("run ")).unwrap_or_else(|| panic!("{name}: no 'run'"));
            let lines = rest.map(|line| line.parse().unwrap_or_else(|why| panic!("{name}: {why}"))).collect();
            Plan { story: story.to_owned(), lines, name }
        })
        .collect();
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!plans.is_empty());
    plans
}

/// Protects: what once went wrong, or could: each plan in `plans/` comes to the end of its story.
#[tokio::test]
async fn plans_that_were_kept() {
    in_world(async |world| {
        world.error_template("errors", &world.prometheus).await;
        for plan in plans().into_iter().filter(|plan| plan.story != "loops") {
            let story = *STORIES.iter().find(|story| story.word == plan.story).unwrap_or_else(|| panic!("{}", plan.name));
            let (golden, _) = golden(world, Story { ..story }).await;
            let unruly = Unruly::by(plan.lines);
            let (end, _) = play(world, story, &plan.name, &unruly).await;
            assert!(unruly.hits() > 0, "{}: nothing came about", plan.name);
            assert_eq!(end, golden, "{}", plan.name);
        }
    })
    .await;
}

/// A release with the controller's own loops, which look when the watches say so, and now and then.
async fn released(world: &World, plan: Plan) {
    let (journal, unruly) = (Arc::new(Journal::default()), Unruly::by(plan.lines));
    let mut rollout = world.rollout("shop", "shop:1");
    rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
    // What no watch told is found by looking now and then: more often here, as nobody waits half an hour for a test.
    let nets = Nets { list_again: Duration::from_secs(6), look_again: Duration::from_secs(6) };
    let surroundings = Surroundings { nets, ..Surroundings::default() };
    let running = world.run_against(&unruly, &Wire::new(&journal, world.judge("shop")), surroundings).await;
    world.surroundings("shop").await;
    world.create(&rollout).await;
    world.until_healthy("shop", "shop:1").await;
    world.deploy("shop", "shop:2").await;
    world.until_paused("shop", 1).await;
    world.request("shop", "1", "promote").await;
    world.until_healthy("shop", "shop:2").await;
    running.kill().await;
    let effects = "
        create ReplicaSet shop-shop:1 with 2 pods
        Service shop-stable selects shop:1
        Service shop-canary selects shop:1
        create ReplicaSet shop-shop:2 with 1 pods
        Service shop-canary selects shop:2
        HTTPRoute shop: 50/50
        ReplicaSet shop-shop:2: 2 pods
        HTTPRoute shop: 100/0
        Service shop-stable selects shop:2
        HTTPRoute shop: 0/100
        ReplicaSet shop-shop:1: 0 pods";
    let done: Vec<String> = world.story(&journal).into_iter().filter(|line| !line.starts_with("record ")).collect();
    assert_eq!(done, lines(effects), "{}", plan.name);
    assert_eq!(journal.violations(), [] as [String; 0], "{}", plan.name);
    assert!(unruly.hits() >= 3, "{}: {} faults came about", plan.name, unruly.hits());
}

/// Protects: releases from what watches do. Events that are lost, doubled, late or out of order, watches that end, lists that
/// go back: a release takes longer for it, and nothing else.
#[tokio::test]
async fn watches_that_lie() {
    let plans = plans().into_iter().filter(|plan| plan.story == "loops");
    let all = plans.map(|plan| in_world(async |world| released(world, plan).await).boxed_local());
    futures::future::join_all(all).await;
}

/// Protects: plans as files: what a failing test prints is what a file takes.
#[test]
fn lines_read_as_they_are_written() {
    let all = Fault::OF_WRITES.into_iter().chain(Fault::OF_READS).chain([
        Fault::Hang { applied: false },
        Fault::Hang { applied: true },
        Fault::Stale,
        Fault::Drop,
        Fault::Duplicate,
        Fault::Late,
        Fault::Swap,
        Fault::Expired,
        Fault::Cut,
    ]);
    for fault in all {
        for every in [false, true] {
            let of = Kind { verb: "patch".to_owned(), resource: "rollouts/status".to_owned() };
            let line = Line { of, nth: 3, every, fault };
            assert_eq!(line.to_string().parse(), Ok(line));
        }
    }
    for wrong in ["patch pods", "patch pods 0 drop", "patch pods 1 nothing", "patch pods often 1 drop", ""] {
        assert!(wrong.parse::<Line>().is_err(), "{wrong}");
    }
    let plans: Vec<Value> = plans().iter().map(|plan| json!([plan.name, plan.lines.len()])).collect();
    assert!(plans.iter().all(|plan| plan[1] != 0), "{plans:?}");
}
