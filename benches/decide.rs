//! How long one decision takes: ten steps, three revisions, background analysis. Aim: 50 microseconds in the median.
//!
//!     cargo bench --bench decide
//!
//! The states are those of one rollout, led there by the same scripts that the stories use.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its table, and stops where it cannot measure")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate::rollout::decide;
use tidegate::rollout::observed::Observed;
use tidegate::rollout::spec::{ValidatedRollout, validate};
use tidegate::simulate::cluster::Cluster;
use tidegate::simulate::script::Script;

/// The aim for the median, in every state.
const AIM: Duration = Duration::from_micros(50);
/// Decisions timed per state, after as many that warm up.
const DECISIONS: usize = 20_000;

/// Ten steps: five weights with a pause after each.
fn cluster() -> Cluster {
    let steps: Vec<_> = [5, 10, 25, 50, 75]
        .iter()
        .flat_map(|weight| [json!({"setWeight": weight}), json!({"pause": {"duration": "30s"}})])
        .collect();
    let rollout = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 10, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": "shop:1", "ports": [{"containerPort": 8080}],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
            "strategy": {"canary": {
                "stableService": "web-stable", "canaryService": "web-canary",
                "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
                "analysis": {"templates": [{"templateName": "success-rate"}]}, "steps": steps,
            }},
        },
    });
    let metric = json!({
        "name": "success-rate", "interval": "5s", "failureLimit": 1, "successCondition": "result[0] >= 0.99",
        "provider": {"prometheus": {"address": "http://p", "query": "q"}},
    });
    let mut cluster = Cluster::new(serde_json::from_value(rollout).unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
    cluster.templates = [("success-rate".to_owned(), vec![serde_json::from_value(metric).unwrap()])].into();
    cluster
}

/// Two revisions that were promoted, then a third that `story` leads somewhere.
fn state(story: &str) -> (ValidatedRollout, Observed) {
    let mut script = Script::new(cluster());
    let past = "wait 10s\nmeasure good\ndeploy shop:2\nwait 400s\ndeploy shop:3\n";
    script.run(&format!("{past}{story}")).unwrap();
    assert!(script.violations.is_empty());
    let cluster = script.cluster();
    (validate(&cluster.rollout).unwrap(), cluster.observe())
}

/// Times of single decisions, sorted.
fn measure(rollout: &ValidatedRollout, observed: &Observed) -> Vec<Duration> {
    let mut times = Vec::with_capacity(DECISIONS);
    for nth in 0..2 * DECISIONS {
        #[expect(clippy::disallowed_methods, reason = "a stopwatch")]
        let started = Instant::now();
        black_box(decide(black_box(rollout), black_box(observed)));
        if nth >= DECISIONS {
            times.push(started.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn main() -> ExitCode {
    // The last state is what each pass over a Rollout at rest costs.
    let states = [
        ("new revision", state("")),
        ("step 1, pods start", state("wait 1s")),
        ("step 6, paused", state("wait 110s")),
        ("stopped by a verdict", state("wait 110s\nverdict failed 31 of 412 requests failed\nwait 1s")),
        ("at rest", state("wait 400s")),
    ];
    println!("{:<24}{:>10}{:>10}{:>10}", "state", "median", "p99", "effects");
    let mut met = true;
    for (name, (rollout, observed)) in states {
        let effects = decide(&rollout, &observed).effects.len();
        let times = measure(&rollout, &observed);
        let (median, p99) = (times[DECISIONS / 2], times[DECISIONS * 99 / 100]);
        let [median_us, p99_us] = [median, p99].map(|time| format!("{:.1} us", time.as_secs_f64() * 1e6));
        println!("{name:<24}{median_us:>10}{p99_us:>10}{effects:>10}");
        met &= median <= AIM;
    }
    println!("aim: a median of {} us in every state: {}", AIM.as_micros(), if met { "met" } else { "missed" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
