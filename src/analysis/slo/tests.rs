use super::super::counting::{Arm, Sample, Series};
use super::super::measured::{Measured, Taken};
use super::super::run::{record, unmeasured};
use super::*;
use crate::api::analysis::Subject;
use serde_json::json;

/// When the canary gets its first requests, in seconds since 1970.
const BEGIN: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + seconds).unwrap()
}

fn metric(name: &str) -> Metric {
    serde_json::from_value(json!({
        "name": name, "interval": "5s", "provider": {"prometheus": {"address": "http://p"}},
        "slo": {"errors": "e{s=\"c\"}", "total": "t{s=\"c\"}", "budget": "1%",
            "stable": {"part": "e{s=\"s\"}", "total": "t{s=\"s\"}"}},
    }))
    .unwrap()
}

fn spec(metrics: Vec<Metric>) -> AnalysisRunSpec {
    AnalysisRunSpec {
        subject: Subject {
            rollout: "web".into(),
            rollout_uid: "uid".into(),
            revision: 2,
            attempt: 1,
            step: None,
            evidence: true,
        },
        metrics,
        dry_run: vec![],
        evidence: Some(Evidence { confidence: "99%".parse().unwrap(), accept: "95%".parse().unwrap(), baseline: Time(at(0)) }),
        at_most: None,
        terminate: None,
    }
}

/// Counters of both arms that grow evenly: requests per second of canary and stable, and one of so many fails.
struct World {
    rate: [i64; 2],
    one_fails_of: [i64; 2],
}

const GOOD: World = World { rate: [10, 90], one_fails_of: [1000, 1000] };
const BAD: World = World { rate: [10, 90], one_fails_of: [20, 1000] };
/// Its evidence grows slowly enough that some look falls between what one metric needs and what one of four does.
const WORSE: World = World { rate: [10, 90], one_fails_of: [50, 1000] };

impl World {
    /// Scraped every second from five minutes before the begin, up to `now`; the canary from the begin on.
    fn window(&self, now: i64) -> Window {
        let series = |key: u64, from: i64, value: &dyn Fn(i64) -> i64| {
            let first = from.max(now - 200);
            let samples = (first..=now).map(|s| Sample { at: (BEGIN + s) * 1000, value: value(s) as f64 });
            vec![Series { key, pod: None, samples: samples.collect() }]
        };
        let arm = |index: usize, key: u64, from: i64| {
            let requests = move |s: i64| (s - from) * self.rate[index];
            let errors = move |s: i64| requests(s) / self.one_fails_of[index];
            Arm { total: series(key, from, &requests), part: series(key + 10, from, &errors) }
        };
        Window::checked(arm(0, 1, 0), arm(1, 2, -300), Part::Errors).unwrap()
    }

    fn samples(&self, metric: usize, seconds: i64) -> Taken {
        let history = Some(Dispersion::NONE);
        let window = self.window(seconds);
        let gathered = Gathered { window, known: Default::default(), history, weight_at: Some(at(2)) };
        taken(metric, seconds, Measured::Samples(Box::new(gathered)))
    }
}

fn taken(metric: usize, seconds: i64, outcome: Measured) -> Taken {
    Taken { metric, started_at: at(seconds), finished_at: at(seconds), outcome }
}

/// The status after a look every five seconds, up to the first in which `until` is true.
fn run(spec: &AnalysisRunSpec, worlds: &[World], until: fn(&AnalysisRunStatus) -> bool) -> (i64, AnalysisRunStatus) {
    let mut status = AnalysisRunStatus::default();
    for seconds in (5..=600).step_by(5) {
        let taken: Vec<Taken> = worlds.iter().enumerate().map(|(index, world)| world.samples(index, seconds)).collect();
        status = record(spec, &status, &taken, at(seconds));
        if until(&status) {
            return (seconds, status);
        }
    }
    panic!("ten minutes are not enough: {status:#?}");
}

/// Protects: what a person reads at 3 a.m. and in the commit, with every number that a verdict rests on.
#[test]
fn a_bad_canary() {
    let (seconds, status) = run(&spec(vec![metric("availability")]), &[BAD], |status| status.phase == RunPhase::Failed);
    assert!(seconds <= 40, "{seconds} s");
    assert_eq!(status.completed_at, Some(Time(at(seconds))));
    let result = &status.metric_results[0];
    let slo = result.slo.clone().unwrap();
    assert_eq!(slo.canary, SloCounts { requests: 10 * seconds, errors: seconds / 2 });
    let requests = 90 * seconds;
    let (errors, share) = (slo.stable.errors, slo.stable.errors as f64 / requests as f64 * 100.0);
    let share = (share * 1000.0).round() / 1000.0;
    let end = at(seconds).strftime("%H:%M:%S");
    let wanted = format!(
        "availability: canary {} of {} requests failed ({} %), stable {errors} of {requests} ({share} %), from 08:00:00 to {end} \
         UTC: more than 1.5 times stable plus 0.05 %; evidence {}, needed 100 (99% confidence); phi 1, at least 1; measured in \
         stable's last hour",
        seconds / 2,
        10 * seconds,
        (slo.canary.errors as f64 / slo.canary.requests as f64 * 100_000.0).round() / 1000.0,
        slo.evidence
    );
    assert_eq!(status.message, Some(wanted));
}

/// Protects: good canaries: no verdict in ten minutes, and accepted at their weight once there is enough evidence.
#[test]
fn a_good_canary() {
    let spec = spec(vec![metric("availability")]);
    let accepted =
        |status: &AnalysisRunStatus| status.metric_results[0].slo.as_ref().is_some_and(|slo| slo.accepted_at.is_some());
    let (seconds, status) = run(&spec, &[GOOD], accepted);
    assert!((30..=90).contains(&seconds), "{seconds} s");
    let result = &status.metric_results[0];
    assert_eq!(result.slo.as_ref().unwrap().accepted_at, Some(Time(at(2))), "at the weight that was confirmed then");
    assert_eq!((status.phase, status.completed_at), (RunPhase::Running, None), "it goes on");
    assert!(result.last_usable_at.as_ref().unwrap().0 >= at(seconds - 2), "{result:?}");
    let (seconds, _) = run(&spec, &[GOOD], |status| status.metric_results[0].slo.as_ref().unwrap().canary.requests >= 5990);
    assert_eq!(seconds, 600, "no verdict in ten minutes");
}

/// Protects: what a run under way says: how many requests are needed, and how long that takes.
#[test]
fn on_the_way() {
    let (_, status) = run(&spec(vec![metric("availability")]), &[GOOD], |status| status.started_at.is_some());
    let said = status.metric_results[0].message.clone().unwrap();
    let more: f64 = said.strip_prefix("good beyond doubt after about ").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((300.0..600.0).contains(&more), "{said}");
    let seconds: f64 = said.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((seconds - more / 10.0).abs() <= 1.0, "{said}");
}

/// Protects: verdicts from restarts. Every look goes through the text that status keeps, so a run in which nine of ten
/// looks were lost ends with the same counts and the same evidence.
#[test]
fn a_restart_changes_nothing() {
    let spec = spec(vec![metric("availability")]);
    let at_300 = |every: usize| {
        let mut status = AnalysisRunStatus::default();
        for seconds in (5..=300).step_by(every) {
            status = record(&spec, &status, &[GOOD.samples(0, seconds)], at(seconds));
            let text = serde_json::to_string(&status).unwrap();
            status = serde_json::from_str(&text).unwrap();
        }
        let status = record(&spec, &status, &[GOOD.samples(0, 301)], at(301));
        status.metric_results[0].slo.clone().unwrap()
    };
    assert_eq!(at_300(5), at_300(50));
}

/// Protects: alpha, which is for the attempt: beside three good metrics a bad one needs four times the evidence.
#[test]
fn several_metrics() {
    let names = ["a", "b", "c", "d"];
    let four = spec(names.map(metric).to_vec());
    let (alone, _) = run(&spec(vec![metric("a")]), &[WORSE], |status| status.phase == RunPhase::Failed);
    let (together, status) = run(&four, &[GOOD, WORSE, GOOD, GOOD], |status| status.phase == RunPhase::Failed);
    assert!(together > alone, "{together} s, alone {alone} s");
    let evidence: f64 = status.metric_results[1].slo.as_ref().unwrap().evidence.parse().unwrap();
    assert!(evidence >= 396.0, "{evidence}: the mean of all four is to be 100, and a good one has about none");
    let failed: Vec<&str> =
        status.metric_results.iter().filter(|result| result.phase == RunPhase::Failed).map(|result| &*result.name).collect();
    assert_eq!(failed, ["b"]);
    assert!(status.message.unwrap().contains("needed 100 over 4 metrics"));
    let dry = AnalysisRunSpec { dry_run: vec!["b".into()], ..four };
    let worlds = [GOOD, BAD, GOOD, GOOD];
    let (_, status) = run(&dry, &worlds, |status| status.metric_results[1].slo.as_ref().unwrap().canary.requests >= 5990);
    assert_eq!(status.phase, RunPhase::Running, "a dry metric decides nothing");
}

/// Protects: canaries from silence. No data is no verdict; it is said at once, is an Error after the deadline, and the first
/// round of samples ends that.
#[test]
fn no_data() {
    let spec = spec(vec![metric("availability")]);
    let mut status = record(&spec, &AnalysisRunStatus::default(), &[BAD.samples(0, 5)], at(5));
    let evidence = status.metric_results[0].slo.clone();
    for seconds in (10..=400).step_by(5) {
        status =
            record(&spec, &status, &[taken(0, seconds, Measured::Error("the server cannot be reached".into()))], at(seconds));
    }
    assert_eq!((status.phase, status.completed_at.clone()), (RunPhase::Error, None));
    assert_eq!(
        status.message.as_deref(),
        Some("availability: no usable value for more than 5m; last: the server cannot be reached")
    );
    assert_eq!(status.metric_results[0].slo, evidence, "what was known stays");
    status = record(&spec, &status, &[BAD.samples(0, 405)], at(405));
    assert_eq!(status.phase, RunPhase::Failed, "the gap is read back: {:?}", status.message);
}

/// Protects: steps from going on at a weight at which nothing is known, and from waiting for ever.
#[test]
fn what_a_step_sees() {
    let spec = spec(vec![metric("availability")]);
    let accepted =
        |status: &AnalysisRunStatus| status.metric_results[0].slo.as_ref().is_some_and(|slo| slo.accepted_at.is_some());
    let (seconds, status) = run(&spec, &[GOOD], accepted);
    let seen = |weight: Option<Timestamp>| look(Some(&status), "availability", weight);
    assert!(seen(Some(at(2))).accepted);
    assert!(!seen(Some(at(3))).accepted, "another weight");
    assert!(!seen(None).accepted, "no weight");
    assert!(!look(None, "availability", Some(at(2))).accepted, "no evidence");
    let step = AnalysisRunSpec { evidence: None, at_most: Some("1m".parse().unwrap()), ..spec };
    let good = record(&step, &AnalysisRunStatus::default(), &[taken(0, 0, Measured::Look(seen(Some(at(2)))))], at(0));
    assert_eq!(good.phase, RunPhase::Successful, "{good:?}");
    let early = record(&step, &AnalysisRunStatus::default(), &[taken(0, 0, Measured::Look(seen(None)))], at(0));
    let late = record(&step, &early, &[taken(0, 60, Measured::Look(seen(None)))], at(60));
    assert_eq!((early.phase, late.phase), (RunPhase::Running, RunPhase::Inconclusive));
    let requests = 10 * seconds;
    let said = late.message.unwrap();
    let begins =
        format!("availability: the evidence does not suffice after 1m: canary 0 of {requests} requests failed (0 %), stable");
    assert!(said.starts_with(&begins) && said.ends_with("good at this weight beyond doubt"), "{said}");
}

/// Protects: the numbers that people compare, from looking like noise.
#[test]
fn digits() {
    let cases =
        [(0.0, "1"), (100_f64.ln(), "100"), (0.3141_f64.ln(), "0.314"), (12_345_f64.ln(), "12345"), (1e7_f64.ln(), "1.0e7")];
    for (ln, text) in cases {
        assert_eq!(in_three_digits(ln), text);
    }
    assert_eq!(in_three_digits(5000.0), "3.0e2171");
    assert_eq!(in_three_digits(-20.0), "2.1e-9");
}

/// Protects: results of an older version, and of nobody, from stopping the evidence.
#[test]
fn what_cannot_be_read_begins_anew() {
    let spec = spec(vec![metric("availability")]);
    let mut status = record(&spec, &AnalysisRunStatus::default(), &[BAD.samples(0, 5)], at(5));
    status.metric_results[0].slo.as_mut().unwrap().ledger = "another form".to_owned();
    let metric = &spec.metrics[0];
    let ask = ask(metric, spec.evidence.as_ref().unwrap(), &status.metric_results[0], at(30));
    assert_eq!((ask.counter.cut(), ask.history), (BEGIN * 1000, Some(at(0))));
    let fresh = super::ask(metric, spec.evidence.as_ref().unwrap(), &unmeasured(metric), at(7200));
    assert_eq!(fresh.counter.cut(), (BEGIN + 3600) * 1000, "what is older than an hour is given up");
}
