use super::*;

use proptest::prelude::*;
use serde_json::json;

use crate::analysis::evidence;
use crate::analysis::measured::{Measured, QueryResult};

/// Seconds after the run's first measurement.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn time(seconds: i64) -> Time {
    MicroTime(at(seconds))
}

fn spec(metrics: serde_json::Value) -> AnalysisRunSpec {
    let mut metrics = metrics;
    for metric in metrics.as_array_mut().unwrap() {
        metric["provider"] = json!({"prometheus": {"address": "http://prometheus.secret-host:9090", "query": "secret_query"}});
    }
    serde_json::from_value(json!({
        "subject": {"rollout": "web", "rolloutUid": "u1", "revision": 3, "attempt": 1},
        "metrics": metrics,
    }))
    .unwrap()
}

fn rate(change: serde_json::Value) -> AnalysisRunSpec {
    let mut metric = json!({"name": "rate", "interval": "30s", "count": 3, "successCondition": "result[0] >= 0.99"});
    for (key, value) in change.as_object().unwrap() {
        metric[key] = value.clone();
    }
    spec(json!([metric]))
}

fn value(value: f64) -> Measured {
    Measured::Value { result: QueryResult::Vector(vec![value]), warnings: vec![] }
}

fn no_data() -> Measured {
    Measured::NoData("no data: the query returned no series".into())
}

fn taken(metric: usize, seconds: i64, outcome: Measured) -> Taken {
    Taken { metric, started_at: at(seconds), finished_at: at(seconds + 1), outcome }
}

/// Measures metric 0 every 30 s, one outcome after the other.
fn after_all(spec: &AnalysisRunSpec, outcomes: &[Measured]) -> AnalysisRunStatus {
    let mut status = AnalysisRunStatus::default();
    for (index, outcome) in outcomes.iter().enumerate() {
        let seconds = 30 * i64::try_from(index).unwrap();
        status = record(spec, &status, &[taken(0, seconds, outcome.clone())], at(seconds + 1));
    }
    status
}

fn measurement(seconds: i64, phase: MeasuredPhase, value: Option<&str>, message: Option<&str>) -> Measurement {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Measurement { phase, value: text(value), message: text(message), started_at: time(seconds), finished_at: time(seconds + 1) }
}

/// Protects: the whole status of a run that fails: counts, times, words, measurements.
#[test]
fn a_failed_run() {
    let status = after_all(&rate(json!({"count": 5, "failureLimit": 1})), &[value(0.999), value(0.98), no_data(), value(0.9512)]);
    let sentence = "2 of 3 measurements failed, more than failureLimit 1; last value [0.9512] does not meet result[0] >= 0.99";
    let wanted = AnalysisRunStatus {
        observed_generation: None,
        phase: RunPhase::Failed,
        message: Some(format!("rate: {sentence}")),
        started_at: Some(time(0)),
        completed_at: Some(time(91)),
        metric_results: vec![MetricResult {
            name: "rate".into(),
            phase: RunPhase::Failed,
            message: Some(sentence.into()),
            successful: 1,
            failed: 2,
            inconclusive: 0,
            error: 1,
            consecutive_error: 0,
            consecutive_success: 0,
            last_usable_at: Some(time(90)),
            measurements: vec![
                measurement(0, MeasuredPhase::Successful, Some("[0.999]"), None),
                measurement(30, MeasuredPhase::Failed, Some("[0.98]"), None),
                measurement(60, MeasuredPhase::Error, None, Some("no data: the query returned no series")),
                measurement(90, MeasuredPhase::Failed, Some("[0.9512]"), None),
            ],
            slo: None,
        }],
        conditions: vec![],
    };
    assert_eq!(status, wanted);
    assert_eq!(evidence(&status), format!("rate: {sentence}"));
}

/// Protects: Argo's limits, counts and negations; (phase of the run, phase of the metric, its message).
#[test]
fn verdicts() {
    use RunPhase::{Error, Failed, Inconclusive, Running, Successful};
    let both = json!({"successCondition": "result[0] >= 0.99", "failureCondition": "result[0] < 0.9"});
    type Case<'a> = (&'a str, AnalysisRunSpec, Vec<Measured>, RunPhase, Option<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        (
            "so many in a row, which a failure and a gap begin anew",
            rate(json!({"count": null, "failureLimit": 1, "consecutiveSuccessLimit": 2})),
            vec![value(1.0), no_data(), value(1.0), value(0.1), value(1.0), value(1.0)],
            Successful,
            Some("4 of 5 measurements successful, the last 2 in a row, 1 failed (failureLimit 1)"),
        ),
        (
            "not so many in a row yet",
            rate(json!({"count": null, "consecutiveSuccessLimit": 3})),
            vec![value(1.0), value(1.0), no_data(), value(1.0)],
            Running,
            None,
        ),
        (
            "the count is used up before",
            rate(json!({"count": 4, "failureLimit": -1, "consecutiveSuccessLimit": 2})),
            vec![value(1.0), value(0.1), value(0.1), value(1.0)],
            Inconclusive,
            Some("count 4 is used up, and the last 1 in a row were successful, fewer than consecutiveSuccessLimit 2"),
        ),
        (
            "the limit of failures stands beside it",
            rate(json!({"count": null, "consecutiveSuccessLimit": 3})),
            vec![value(1.0), value(1.0), value(0.1)],
            Failed,
            Some("1 of 3 measurements failed, more than failureLimit 0; last value [0.1] does not meet result[0] >= 0.99"),
        ),
        (
            "without a limit of failures it goes on",
            rate(json!({"count": null, "failureLimit": -1, "consecutiveSuccessLimit": 2})),
            vec![value(0.1), value(0.1), value(0.1), value(1.0)],
            Running,
            None,
        ),
        ("not all yet", rate(json!({})), vec![value(1.0), value(1.0)], Running, None),
        ("count reached", rate(json!({})), vec![value(1.0); 3], Successful, Some("3 of 3 measurements successful")),
        ("errors do not use up the count", rate(json!({})), vec![value(1.0), no_data(), value(1.0)], Running, None),
        (
            "the limit itself is allowed",
            rate(json!({"failureLimit": 1})),
            vec![value(0.5), value(1.0), value(1.0)],
            Successful,
            Some("2 of 3 measurements successful, 1 failed (failureLimit 1)"),
        ),
        (
            "one over the limit",
            rate(json!({"failureLimit": 1})),
            vec![value(0.5), value(0.6)],
            Failed,
            Some("2 of 2 measurements failed, more than failureLimit 1; last value [0.6] does not meet result[0] >= 0.99"),
        ),
        (
            "default limit 0",
            rate(json!({})),
            vec![value(0.5)],
            Failed,
            Some("1 of 1 measurement failed, more than failureLimit 0; last value [0.5] does not meet result[0] >= 0.99"),
        ),
        (
            "failure only: not met is good",
            rate(json!({"successCondition": null, "failureCondition": "result[0] < 0.9", "count": 1})),
            vec![value(0.95)],
            Successful,
            Some("1 of 1 measurement successful"),
        ),
        (
            "both: failure wins",
            rate(json!({"successCondition": "result[0] > 0", "failureCondition": "result[0] > 0"})),
            vec![value(1.0)],
            Failed,
            Some("1 of 1 measurement failed, more than failureLimit 0; last value [1] meets failureCondition result[0] > 0"),
        ),
        (
            "both: neither is inconclusive",
            rate(both.clone()),
            vec![value(0.95)],
            Inconclusive,
            Some(
                "1 of 1 measurement inconclusive, more than inconclusiveLimit 0; last value [0.95] meets neither \
                 successCondition result[0] >= 0.99 nor failureCondition result[0] < 0.9",
            ),
        ),
        (
            "both: within the limit",
            rate(
                json!({"successCondition": "result[0] >= 0.99", "failureCondition": "result[0] < 0.9", "inconclusiveLimit": 1, "count": 2}),
            ),
            vec![value(0.95), value(1.0)],
            Successful,
            Some("1 of 2 measurements successful, 1 inconclusive (inconclusiveLimit 1)"),
        ),
        ("no count: goes on", rate(json!({"count": null})), vec![value(1.0); 30], Running, None),
        (
            "neither count nor interval: one measurement",
            rate(json!({"count": null, "interval": null})),
            vec![value(1.0)],
            Successful,
            Some("1 of 1 measurement successful"),
        ),
        (
            "NaN is an error",
            rate(json!({})),
            vec![value(f64::NAN)],
            Running,
            Some("no usable value in the last 1 measurement: no usable value: NaN"),
        ),
        (
            "a scalar condition over two series is an error",
            rate(json!({})),
            vec![Measured::Value { result: QueryResult::Vector(vec![1.0, 1.0]), warnings: vec![] }],
            Running,
            Some(
                "no usable value in the last 1 measurement: the query returned 2 series, but the condition reads one number; \
                 aggregate them in the query or write all(result, # ...)",
            ),
        ),
        (
            "infinite values are values",
            rate(json!({})),
            vec![value(f64::NEG_INFINITY)],
            Failed,
            Some("1 of 1 measurement failed, more than failureLimit 0; last value [-Inf] does not meet result[0] >= 0.99"),
        ),
        (
            "consecutiveErrorLimit itself is allowed",
            rate(json!({"consecutiveErrorLimit": 2})),
            vec![no_data(), no_data()],
            Running,
            Some("no usable value in the last 2 measurements: no data: the query returned no series"),
        ),
        (
            "over consecutiveErrorLimit",
            rate(json!({"consecutiveErrorLimit": 2})),
            vec![no_data(), no_data(), no_data()],
            Error,
            Some(
                "no usable value in the last 3 measurements, more than consecutiveErrorLimit 2; last: no data: the query returned no series",
            ),
        ),
        ("a usable value leads back", rate(json!({"consecutiveErrorLimit": 0})), vec![no_data(), value(1.0)], Running, None),
        (
            "consecutiveErrorLimit stands in place of the deadline",
            rate(json!({"consecutiveErrorLimit": 1000})),
            vec![no_data(); 60],
            Running,
            Some("no usable value in the last 60 measurements: no data: the query returned no series"),
        ),
        ("within the deadline of 5m", rate(json!({})), vec![no_data(); 10], Running, None),
        (
            "past the deadline of 5m",
            rate(json!({})),
            vec![no_data(); 11],
            Error,
            Some("no usable value for more than 5m; last: no data: the query returned no series"),
        ),
        (
            "past the deadline since the last value was due",
            rate(json!({"noDataDeadline": "1m"})),
            vec![value(1.0), no_data(), no_data(), no_data()],
            Error,
            Some("no usable value for more than 1m; last: no data: the query returned no series"),
        ),
        ("not yet", rate(json!({"noDataDeadline": "1m"})), vec![value(1.0), no_data(), no_data()], Running, None),
        ("and back from it", rate(json!({})), [vec![no_data(); 20], vec![value(1.0)]].concat(), Running, None),
    ];
    for (name, spec, outcomes, phase, message) in cases {
        let status = after_all(&spec, &outcomes);
        let result = &status.metric_results[0];
        assert_eq!((status.phase, result.phase), (phase, phase), "{name}");
        let intermediate = message.is_none() && result.consecutive_error > 0;
        if !intermediate {
            assert_eq!(result.message.as_deref(), message, "{name}");
        }
        assert_eq!(status.completed_at.is_some(), matches!(phase, Successful | Failed | Inconclusive), "{name}");
        assert!(result.measurements.len() <= KEPT_MEASUREMENTS, "{name}");
        let spent = result.successful + result.failed + result.inconclusive + result.error;
        assert_eq!(usize::try_from(spent).unwrap(), outcomes.len(), "{name}");
        assert_eq!(evidence(&status).is_empty(), phase != Failed, "{name}");
    }
}

/// Protects: the moment at which missing data becomes an Error: the deadline after the value was due, not at it, and
/// not earlier because the interval is long.
#[test]
fn the_deadline_for_missing_data() {
    let phase = |change, first: Measured, sent: i64, now: i64| {
        let spec = rate(change);
        let status = record(&spec, &AnalysisRunStatus::default(), &[taken(0, 0, first)], at(0));
        record(&spec, &status, &[taken(0, sent, no_data())], at(now)).phase
    };
    let (running, error) = (RunPhase::Running, RunPhase::Error);
    assert_eq!(phase(json!({}), no_data(), 299, 300), running);
    assert_eq!(phase(json!({}), no_data(), 299, 301), error);
    assert_eq!(phase(json!({}), value(1.0), 329, 330), running);
    assert_eq!(phase(json!({}), value(1.0), 330, 331), error);
    assert_eq!(phase(json!({"interval": "10m"}), value(1.0), 600, 610), running);
    assert_eq!(phase(json!({"interval": "10m"}), value(1.0), 600, 901), error);
    assert_eq!(phase(json!({"noDataDeadline": "0s"}), no_data(), 0, 1), error);
    // Time alone makes no Error: the run was perhaps not looked at, and the last value was usable.
    let spec = rate(json!({}));
    let status = record(&spec, &AnalysisRunStatus::default(), &[taken(0, 0, value(1.0))], at(1));
    assert_eq!(record(&spec, &status, &[], at(100_000)), status);
}

/// Protects: several metrics. One that fails ends the run at once; Failed wins over all, Inconclusive over Error.
#[test]
fn several_metrics() {
    let two = spec(json!([
        {"name": "a", "interval": "30s", "count": 2, "successCondition": "result[0] > 0"},
        {"name": "b", "interval": "30s", "successCondition": "result[0] > 0", "failureCondition": "result[0] < -1", "consecutiveErrorLimit": 0},
    ]));
    let play = |steps: &[(usize, i64, Measured)]| {
        steps.iter().fold(AnalysisRunStatus::default(), |status, (metric, seconds, outcome)| {
            record(&two, &status, &[taken(*metric, *seconds, outcome.clone())], at(*seconds + 1))
        })
    };
    let phases = |status: &AnalysisRunStatus| {
        (status.phase, status.metric_results[0].phase, status.metric_results[1].phase, status.message.clone())
    };
    use RunPhase::{Error, Failed, Inconclusive, Running, Successful};
    let good = [(0, 0, value(1.0)), (1, 0, value(1.0)), (0, 30, value(1.0))];
    assert_eq!(phases(&play(&good)), (Running, Successful, Running, None));
    assert_eq!(
        phases(&play(&[&good[..], &[(1, 30, no_data())]].concat())),
        (
            Error,
            Successful,
            Error,
            Some(
                "b: no usable value in the last 1 measurement, more than consecutiveErrorLimit 0; last: no data: the query returned no series"
                    .into()
            )
        )
    );
    let status = play(&[(1, 0, no_data()), (0, 0, value(-1.0))]);
    let failed = "a: 1 of 1 measurement failed, more than failureLimit 0; last value [-1] does not meet result[0] > 0";
    assert_eq!(phases(&status), (Failed, Failed, Error, Some(failed.into())));
    assert_eq!(due(&two, &status, at(1000)), Due::default());
    // Both in the same pass.
    let both = [taken(0, 0, value(-1.0)), taken(1, 0, value(-0.5))];
    let status = record(&two, &AnalysisRunStatus::default(), &both, at(1));
    assert_eq!(phases(&status), (Failed, Failed, Inconclusive, Some(failed.into())));
    assert_eq!(evidence(&status), failed);
}

/// Protects: an ended run stays as it ended, a terminated one is Cancelled, and late answers change nothing.
#[test]
fn ends() {
    let ended = after_all(&rate(json!({})), &[value(0.1)]);
    let late = [taken(0, 60, value(1.0))];
    assert_eq!(record(&rate(json!({})), &ended, &late, at(61)), ended);
    let mut stopped = rate(json!({}));
    stopped.terminate = Some("superseded\x1b by revision 4".into());
    assert_eq!(record(&stopped, &ended, &late, at(61)), ended);
    let running = after_all(&rate(json!({})), &[value(1.0)]);
    assert_eq!(due(&stopped, &running, at(500)), Due::default());
    let wanted = AnalysisRunStatus {
        phase: RunPhase::Cancelled,
        message: Some("superseded  by revision 4".into()),
        completed_at: Some(time(61)),
        ..running.clone()
    };
    assert_eq!(record(&stopped, &running, &[taken(0, 60, value(0.1))], at(61)), wanted);
    // Never begun.
    let status = record(&stopped, &AnalysisRunStatus::default(), &[], at(5));
    assert_eq!((status.phase, status.started_at, status.completed_at), (RunPhase::Cancelled, Some(time(5)), Some(time(5))));
}

/// Protects: one answer counts once, and only for its metric.
#[test]
fn recorded_once() {
    let limit = rate(json!({"failureLimit": 1}));
    let bad = taken(0, 0, value(0.1));
    let once = record(&limit, &AnalysisRunStatus::default(), std::slice::from_ref(&bad), at(1));
    let twice = record(&limit, &once, &[bad.clone(), bad], at(1));
    assert_eq!(twice, once);
    assert_eq!(once.metric_results[0].failed, 1);
    // Sub-microsecond times, which the API server does not keep, are the same after a round trip.
    let mut fine = taken(0, 0, value(0.1));
    fine.started_at = Timestamp::new(1_700_000_000, 123_456_789).unwrap();
    let once = record(&limit, &AnalysisRunStatus::default(), std::slice::from_ref(&fine), at(1));
    let kept: AnalysisRunStatus = serde_json::from_value(serde_json::to_value(&once).unwrap()).unwrap();
    assert_eq!(kept, once);
    assert_eq!(record(&limit, &kept, &[fine], at(1)), once);
    // An index that the spec does not have, and results of another metric.
    assert_eq!(record(&limit, &once, &[taken(7, 50, value(0.1))], at(51)), once);
    let renamed = record(&spec(json!([{"name": "other", "successCondition": "result[0] > 0"}])), &once, &[], at(60));
    assert_eq!((renamed.metric_results.len(), renamed.metric_results[0].failed), (1, 0));
}

/// Protects: the pace. (outcomes 30 s apart, seconds since the last one was sent, what is due, when next)
#[test]
fn pace() {
    let run = |change, outcomes: &[Measured], later: i64| {
        let spec = rate(change);
        let last = 30 * (i64::try_from(outcomes.len()).unwrap() - 1);
        let due = due(&spec, &after_all(&spec, outcomes), at(last + later));
        (due.metrics, due.next.map(|next| next.as_second() - at(last).as_second()))
    };
    let good = [value(1.0)];
    let empty = [no_data()];
    assert_eq!(due(&rate(json!({})), &AnalysisRunStatus::default(), at(0)), Due { metrics: vec![0], next: None });
    assert_eq!(run(json!({}), &good, 29), (vec![], Some(30)));
    assert_eq!(run(json!({}), &good, 30), (vec![0], None));
    assert_eq!(run(json!({}), &empty, 9), (vec![], Some(10)));
    assert_eq!(run(json!({}), &empty, 10), (vec![0], None));
    assert_eq!(run(json!({"interval": "5s"}), &empty, 4), (vec![], Some(5)));
    assert_eq!(run(json!({"interval": null, "count": null}), &empty, 9), (vec![], Some(10)));
    assert_eq!(run(json!({"interval": "0s"}), &good, 0), (vec![], Some(1)));
    assert_eq!(run(json!({"interval": "366d"}), &good, 5), (vec![], Some(366 * 86_400)));
    // The clock was set back by a year: the next measurement does not wait for a year.
    assert_eq!(run(json!({}), &good, -366 * 86_400), (vec![0], None));
    // Ended metrics are never due again; the next time is the earliest of the others.
    let three = spec(json!([
        {"name": "a", "successCondition": "result[0] > 0"},
        {"name": "b", "interval": "40s", "count": 9, "successCondition": "result[0] > 0"},
        {"name": "c", "interval": "20s", "count": 9, "successCondition": "result[0] > 0"},
    ]));
    let all = [taken(0, 0, value(1.0)), taken(1, 0, value(1.0)), taken(2, 0, value(1.0))];
    let status = record(&three, &AnalysisRunStatus::default(), &all, at(1));
    assert_eq!(due(&three, &status, at(2)), Due { metrics: vec![], next: Some(at(20)) });
    assert_eq!(due(&three, &status, at(20)), Due { metrics: vec![2], next: Some(at(40)) });
    assert_eq!(due(&three, &status, at(99)), Due { metrics: vec![1, 2], next: None });
}

/// Protects: short statuses, and none of the server's own words in them.
#[test]
fn status_holds_no_foreign_text() {
    let warned = Measured::Value { result: QueryResult::Vector(vec![0.1; 100]), warnings: vec!["<secret-body>".into(); 2] };
    let spec = rate(json!({"successCondition": "all(result, # > 1)"}));
    let status = after_all(&spec, &[warned, Measured::Error("x\n".repeat(1000))]);
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.len() < 2000 && !text.contains("secret"), "{text}");
    assert_eq!(
        status.metric_results[0].measurements,
        [measurement(
            0,
            MeasuredPhase::Failed,
            Some("[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 90 more]"),
            Some("the server answered with 2 warnings")
        )]
    );
}

fn unusable() -> impl Strategy<Value = Measured> {
    prop_oneof![
        Just(no_data()),
        Just(Measured::Error("the server did not answer in time".into())),
        Just(value(f64::NAN)),
        Just(Measured::Value { result: QueryResult::Scalar(f64::NAN), warnings: vec![] }),
        Just(Measured::Value { result: QueryResult::Scalar(0.5), warnings: vec![] }),
        Just(Measured::Value { result: QueryResult::Vector(vec![]), warnings: vec![] }),
        Just(Measured::Value { result: QueryResult::Vector(vec![0.1, 1.0]), warnings: vec![] }),
        Just(Measured::Value { result: QueryResult::Vector(vec![f64::NAN, 1.0]), warnings: vec![] }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Protects: the promise of this room. Without a usable value there is no verdict, at whatever limits and times.
    #[test]
    fn no_verdict_without_values(
        outcomes in prop::collection::vec((unusable(), -100..4000_i64), 1..40),
        limits in (0..3_i32, 0..3_i32, prop::option::of(0..5_i32), 1..4_i32),
    ) {
        let spec = rate(json!({
            "failureLimit": limits.0, "inconclusiveLimit": limits.1, "consecutiveErrorLimit": limits.2, "count": limits.3,
            "failureCondition": "result[0] < 0.9",
        }));
        let mut status = AnalysisRunStatus::default();
        for (outcome, seconds) in outcomes {
            status = record(&spec, &status, &[taken(0, seconds, outcome)], at(seconds + 1));
            prop_assert!(matches!(status.phase, RunPhase::Running | RunPhase::Error), "{:?}", status);
            prop_assert_eq!(&status.completed_at, &None);
            prop_assert_eq!(evidence(&status), "");
        }
        // And the first value ends the Error, and is the only one that counts.
        let next = record(&spec, &status, &[taken(0, 9000, value(1.0))], at(9001));
        let wanted = if limits.3 == 1 { RunPhase::Successful } else { RunPhase::Running };
        prop_assert_eq!((next.phase, next.metric_results[0].successful, next.metric_results[0].failed), (wanted, 1, 0));
    }

    /// Protects: Successful means that every usable measurement that was asked for was there, within the limits.
    #[test]
    fn successful_is_earned(values in prop::collection::vec(prop::option::of(0.98..1.0_f64), 1..30), limit in 0..3_i32, count in 1..6_i32) {
        let spec = rate(json!({"failureLimit": limit, "count": count}));
        let outcomes: Vec<Measured> = values.iter().map(|v| v.map_or_else(no_data, value)).collect();
        let status = after_all(&spec, &outcomes);
        let usable: Vec<f64> = values.iter().flatten().copied().collect();
        let seen = &usable[..usable.len().min(usize::try_from(count).unwrap())];
        let bad = seen.iter().filter(|v| **v < 0.99).count();
        let over = bad > usize::try_from(limit).unwrap();
        let wanted = match (over, seen.len() == usize::try_from(count).unwrap()) {
            (true, _) => vec![RunPhase::Failed],
            (false, true) => vec![RunPhase::Successful],
            (false, false) => vec![RunPhase::Running, RunPhase::Error],
        };
        prop_assert!(wanted.contains(&status.phase), "{:?}, not {:?}", status, wanted);
    }
}

/// Protects: a metric in dry run is measured and shown, and neither fails, holds nor ends a run that has others; a run of
/// nothing else ends when all of them did.
#[test]
fn a_dry_run_decides_nothing() {
    let metric = |name: &str| json!({"name": name, "interval": "30s", "count": 2, "successCondition": "result[0] >= 0.99"});
    let mut both = spec(json!([metric("good"), metric("tried")]));
    both.dry_run = vec!["tried".to_owned()];
    let mut status = AnalysisRunStatus::default();
    let phases = [0, 30].map(|seconds| {
        status = record(&both, &status, &[taken(0, seconds, value(1.0)), taken(1, seconds, value(0.1))], at(seconds + 1));
        status.phase
    });
    assert_eq!(phases, [RunPhase::Running, RunPhase::Successful]);
    assert_eq!(status.metric_results[1].phase, RunPhase::Failed);
    assert!(!status.message.clone().unwrap_or_default().contains("tried"), "{:?}", status.message);

    let mut only = rate(json!({"count": 2}));
    only.dry_run = vec!["rate".to_owned()];
    assert_eq!(after_all(&only, &[value(1.0)]).phase, RunPhase::Running);
    assert_eq!(after_all(&only, &[value(1.0), value(1.0)]).phase, RunPhase::Successful);
    assert_eq!(after_all(&only, &[value(0.1)]).phase, RunPhase::Successful);
}

/// Protects: a first measurement that waits: counted from when the run began, also after a restart in between, and so is the
/// deadline for missing data. A clock that was set back makes it due at once rather than a year later.
#[test]
fn the_first_measurement_waits() {
    let later = rate(json!({"initialDelay": "10m"}));
    let first = due(&later, &AnalysisRunStatus::default(), at(0));
    assert_eq!(first, Due { metrics: vec![], next: Some(at(600)) });
    let begun = record(&later, &AnalysisRunStatus::default(), &[], at(0));
    assert_eq!((begun.phase, begun.started_at.clone()), (RunPhase::Running, Some(time(0))));
    assert_eq!(due(&later, &begun, at(599)), Due { metrics: vec![], next: Some(at(600)) });
    assert_eq!(due(&later, &begun, at(600)), Due { metrics: vec![0], next: None });
    assert_eq!(due(&later, &begun, at(-5)), Due { metrics: vec![0], next: None });
    let missing = record(&later, &begun, &[taken(0, 600, no_data())], at(601));
    assert_eq!(missing.phase, RunPhase::Running, "nobody missed anything in the 10 minutes before");
    let missing = record(&later, &missing, &[taken(0, 901, no_data())], at(902));
    assert_eq!(missing.phase, RunPhase::Error);
}
