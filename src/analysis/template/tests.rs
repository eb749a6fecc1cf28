#![expect(clippy::disallowed_methods, reason = "the time that hostile queries take is what is tested")]

use super::*;

use std::sync::LazyLock;
use std::time::Instant;

use promql_parser::parser::Expr;
use proptest::prelude::*;
use serde_json::json;

fn metric(change: serde_json::Value) -> Metric {
    let mut metric = json!({
        "name": "success-rate", "interval": "10s", "count": 5, "successCondition": "result[0] >= 0.99",
        "provider": {"prometheus": {"address": "http://prometheus.monitoring:9090", "query": "up"}},
    });
    for (key, value) in change.as_object().unwrap() {
        match key.as_str() {
            "query" | "address" => metric["provider"]["prometheus"][key] = value.clone(),
            _ => metric[key] = value.clone(),
        }
    }
    serde_json::from_value(metric).unwrap()
}

fn arg(name: &str, value: Option<&str>) -> Argument {
    Argument { name: name.into(), value: value.map(str::to_owned) }
}

static ARMS: LazyLock<Arms> = LazyLock::new(|| {
    let arm = |service: &str, hash: &str| Arm {
        service: service.into(),
        port: Some(80),
        hash: hash.into(),
        replica_set: format!("web-{hash}"),
    };
    Arms { canary: arm("web-canary", "c1"), stable: arm("web.stable", "s1") }
});

fn context(purpose: Purpose) -> ResolveContext<'static> {
    ResolveContext { rollout: "web", namespace: "shop", arms: &ARMS, purpose }
}

const STEP: Purpose = Purpose::Step { bounded: true };

fn resolve_one(metric: &Metric, declared: &[Argument], given: &[Argument]) -> Result<Vec<Metric>, TemplateError> {
    let template = Template { name: "availability", args: declared, metrics: std::slice::from_ref(metric) };
    resolve(&[template], given, &context(STEP))
}

fn resolved_query(query: &str, value: &str) -> Result<String, String> {
    let metric = metric(json!({ "query": query }));
    let found = resolve_one(&metric, &[arg("service", None)], &[arg("service", Some(value))]);
    found.map(|metrics| metrics[0].provider.prometheus.query.clone().unwrap()).map_err(|error| error.to_string())
}

/// Protects: what a run copies. Everything of the metric stays, only placeholders are filled in.
#[test]
fn resolves() {
    let declared = [arg("service", None), arg("code", Some("5.."))];
    let first = metric(json!({
        "query": "sum(rate(http_requests_total{service=\"{{args.service}}\",code!~\"{{ args.code }}\"}[5m]))",
        "failureLimit": 1,
    }));
    let second = metric(json!({
        "name": "up", "query": "up{namespace='{{rollout.namespace}}',name='{{rollout.name}}-x'} # it's {{nothing}}",
    }));
    let templates = [
        Template { name: "rate", args: &declared, metrics: std::slice::from_ref(&first) },
        Template { name: "up", args: &[], metrics: std::slice::from_ref(&second) },
    ];
    let wanted = vec![
        metric(json!({
            "query": "sum(rate(http_requests_total{service=\"web-canary\",code!~\"5\\\\.\\\\.\"}[5m]))",
            "failureLimit": 1,
        })),
        metric(json!({"name": "up", "query": "up{namespace='shop',name='web-x'} "})),
    ];
    assert_eq!(resolve(&templates, &[arg("service", Some("web-canary"))], &context(STEP)), Ok(wanted));
}

/// Protects: arguments and names. Each refusal names what is wrong and where.
#[test]
fn refused_arguments_and_names() {
    let plain = metric(json!({}));
    let one = |given: &[Argument], declared: &[Argument]| resolve_one(&plain, declared, given).unwrap_err().to_string();
    assert_eq!(
        one(&[], &[arg("service", None)]),
        "template 'availability': argument 'service' has no value; give one in the Rollout's args or a default in the template"
    );
    assert_eq!(
        one(&[arg("serivce", Some("x"))], &[arg("service", Some("d")), arg("code", Some("d"))]),
        "argument 'serivce' is not declared by any template of the analysis; declared are: code, service"
    );
    assert_eq!(
        one(&[arg("x", Some("x"))], &[]),
        "argument 'x' is not declared by any template of the analysis; declared are: none"
    );
    assert_eq!(
        one(&[arg("service", Some("a")), arg("service", Some("b"))], &[arg("service", None)]),
        "argument 'service' is given twice"
    );
    assert_eq!(
        one(&[arg("service", None)], &[arg("service", Some("d"))]),
        "argument 'service': the Rollout names it without a value"
    );
    assert_eq!(
        one(&[arg("service", Some("a\nb"))], &[arg("service", None)]),
        "argument 'service': control characters and line breaks are not allowed in a value"
    );
    assert_eq!(
        one(&[arg("service", Some(&"x".repeat(1025)))], &[arg("service", None)]),
        "argument 'service': the value is too long; at most 1024 characters are allowed"
    );
    let metrics = [plain.clone()];
    let twice = [Template { name: "a", args: &[], metrics: &metrics }, Template { name: "b", args: &[], metrics: &metrics }];
    assert_eq!(
        resolve(&twice, &[], &context(STEP)).unwrap_err().to_string(),
        "metric 'success-rate' is defined by template 'a' and again by 'b'; names are unique in an analysis"
    );
    assert_eq!(resolve(&[], &[], &context(STEP)), Err(TemplateError::NoMetrics));
}

/// Protects: an argument never leaves its literal, and placeholders stand nowhere else.
#[test]
fn placeholders() {
    let at = |query: &str| resolved_query(query, "web").unwrap_err();
    let prefix = "template 'availability', metric 'success-rate', query: ";
    let cases = [
        (
            "up{{args.service}}",
            "placeholder at position 3 is not inside a string literal; allowed is for example {service=\"{{args.service}}\"}",
        ),
        (
            "sum({{args.service}})",
            "placeholder at position 5 is not inside a string literal; allowed is for example {service=\"{{args.service}}\"}",
        ),
        (
            "rate(up[{{args.service}}])",
            "placeholder at position 9 stands in a duration; durations are written out, for example [5m]",
        ),
        (
            "up{a=`{{args.service}}`}",
            "placeholder at position 7 stands in a backquoted literal; write the literal in double quotes",
        ),
        ("up{a=\"{{args.service\"}", "placeholder at position 7 has no }}"),
        (
            "up{a=\"{{arm.service}}\"}",
            "placeholder 'arm.service' at position 7 is for slo metrics, which measure canary and stable; \
             a condition measures one query: write the service's name, or make it an argument",
        ),
        (
            "up{a=\"é{{canary.service}}\"}",
            "placeholder 'canary.service' at position 8 is unknown; known are: args.service, rollout.name, rollout.namespace",
        ),
        ("up{a=\"x}", "the string literal that begins at position 6 is not closed"),
    ];
    for (query, problem) in cases {
        assert_eq!(at(query), format!("{prefix}{problem}"), "{query}");
    }
    let filled = [
        ("up{a=\"{{args.service}}\"}", r#"x"} or vector(1) #"#, r#"up{a="x\"} or vector(1) #"}"#),
        ("up{a='{{args.service}}'}", "it's", r"up{a='it\'s'}"),
        ("up{a=\"{{args.service}}\"}", r"a\", r#"up{a="a\\"}"#),
        ("up{a=~\"{{args.service}}-.*\"}", "a.b|c", r#"up{a=~"a\\.b\\|c-.*"}"#),
        ("up{a !~ # a 'comment'\n '{{args.service}}'}", "a\\'+", "up{a !~ \n 'a\\\\\\\\\\'\\\\+'}"),
        ("up{a=\"{{args.service}}\",b=~\"\\\"{{args.service}}\"}", ".", r#"up{a=".",b=~"\"\\."}"#),
        ("up{a=\"{{args.service}}\"}", "{{rollout.name}}", r#"up{a="{{rollout.name}}"}"#),
    ];
    for (query, value, wanted) in filled {
        assert_eq!(resolved_query(query, value).as_deref(), Ok(wanted), "{query} with {value}");
    }
}

/// Protects: metrics that would never end, cannot decide, ask a bad address or are not PromQL are found before a pod moves.
#[test]
fn refused_metrics() {
    let prefix = "template 'availability', metric 'success-rate'";
    let form = "address: write it as http://host:port or https://host:port/path";
    let cases = [
        (
            json!({"count": null}),
            ": it has an interval and no count, so a step with it would never end; give it a count, or use it in the background",
        ),
        (json!({"interval": null}), ": a count above 1 needs an interval"),
        (json!({"interval": "100ms"}), ": interval: at least 1s is allowed"),
        (json!({"count": 0}), ": count: at least 1 is allowed"),
        (json!({"failureLimit": -2}), ": limits are 0 or more"),
        (json!({"failureLimit": -1}), ": failureLimit -1, no limit, needs consecutiveSuccessLimit: otherwise nothing could fail"),
        (json!({"consecutiveSuccessLimit": 0}), ": consecutiveSuccessLimit: at least 1 is allowed"),
        (json!({"count": null, "interval": null, "consecutiveSuccessLimit": 1}), ": consecutiveSuccessLimit needs an interval"),
        (
            json!({"successCondition": null}),
            ": it needs successCondition, failureCondition or both; without either no value could decide anything",
        ),
        (
            json!({"failureCondition": "1..2"}),
            ", failureCondition: '..' at position 2 is not allowed in a condition: ranges are not allowed; compare with >= and <=",
        ),
        (
            json!({"successCondition": "result[0] >= {{args.limit}}"}),
            ": placeholders are not allowed in successCondition; they stand in string literals of the query",
        ),
        (json!({"address": "ftp://host"}), &format!(": {form}")),
        (json!({"address": "prometheus:9090"}), &format!(": {form}")),
        (json!({"address": "http://"}), &format!(": {form}")),
        (json!({"address": "http://host/?a=b"}), &format!(": {form}")),
        (json!({"address": "http://user:secret@host"}), ": address: credentials are not allowed in it"),
        (json!({"address": "http://{{args.host}}"}), ": address: placeholders are not allowed in it"),
        (json!({"query": "up{"}), ": query: it is not PromQL: unexpected end of input inside braces"),
        (json!({"query": "up[5m]"}), ": query: it gives a range vector; wrap it in a function such as rate(...)"),
        (json!({"query": "\"text\""}), ": query: it gives a string; a number is needed"),
    ];
    for (change, problem) in cases {
        let found = resolve_one(&metric(change.clone()), &[], &[]).unwrap_err().to_string();
        assert_eq!(found, format!("{prefix}{problem}"), "{change}");
    }
    let endless = metric(json!({"count": null}));
    let template = Template { name: "t", args: &[], metrics: std::slice::from_ref(&endless) };
    let background = context(Purpose::Background);
    assert_eq!(resolve(&[template], &[], &background), Ok(vec![endless.clone()]));
}

/// Protects: the process. A stack overflow in a parser cannot be caught.
#[test]
fn hostile_queries_are_refused_at_once() {
    let begin = Instant::now();
    let sum = |terms: usize| vec!["a"; terms].join("+");
    let cases = [
        (sum(700), Ok(())),
        (sum(3000), Err("it has 5999 words and signs; at most 1500 are allowed")),
        (vec!["a"; 1500].join(" or "), Err("it has 2999 words and signs; at most 1500 are allowed")),
        ("-".repeat(1400) + "a", Ok(())),
        ("-".repeat(8000) + "a", Err("it has 8001 words and signs; at most 1500 are allowed")),
        ("(".repeat(64) + "a" + &")".repeat(64), Ok(())),
        ("(".repeat(4000) + "a" + &")".repeat(4000), Err("it nests brackets more than 64 deep")),
        (format!("up{{a=\"{}\"}}", "+(".repeat(3000)), Ok(())),
    ];
    for (query, wanted) in cases {
        let found = resolve_one(&metric(json!({ "query": query })), &[], &[]).map(|_| ()).map_err(|error| error.to_string());
        let wanted = wanted.map_err(|problem| format!("template 'availability', metric 'success-rate': query: {problem}"));
        assert_eq!(found, wanted, "{:.40}", query);
    }
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

/// The matchers of `up{a=...,b=...}`.
fn matchers(query: &str) -> Vec<(String, String)> {
    match promql_parser::parser::parse(query) {
        Ok(Expr::VectorSelector(selector)) => {
            selector.matchers.matchers.iter().map(|m| (m.name.clone(), m.value.clone())).collect()
        }
        other => panic!("{query} is read as {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Protects: no value changes what the query means. In a literal it is itself, in a regex it matches itself only.
    #[test]
    fn values_stay_inside(value in "[ -~é✓]{0,24}|[\"'\\\\{}()|.*+?^$\\[\\]`#-]{1,12}", double in any::<bool>()) {
        let quote = if double { '"' } else { '\'' };
        let query = format!("up{{a={quote}{{{{args.service}}}}{quote},b=~{quote}{{{{args.service}}}}{quote}}}");
        let found = resolved_query(&query, &value).unwrap();
        let matchers = matchers(&found);
        prop_assert_eq!(matchers.len(), 2);
        prop_assert_eq!(&matchers[0], &("a".to_owned(), value.clone()));
        prop_assert_eq!(&matchers[1].0, "b");
        // RE2's QuoteMeta: every sign with a meaning has a backslash before it, and nothing else was added.
        let mut unquoted = String::new();
        let mut chars = matchers[1].1.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => unquoted.push(chars.next().unwrap()),
                _ => {
                    prop_assert!(!"\\.+*?()|[]{}^$".contains(c), "{} in {}", c, found);
                    unquoted.push(c);
                }
            }
        }
        prop_assert_eq!(unquoted, value);
    }

    /// Protects: the process against arbitrary queries.
    #[test]
    fn arbitrary_queries_never_panic(query in ".{1,120}|[a-z{}()\\[\\]\"'`#=~!,:@+*/ 0-9.smh-]{1,60}") {
        if let Ok(filled) = resolved_query(&query, "x") {
            prop_assert!(promql_parser::parser::parse(&filled).is_ok());
        }
    }
}

fn slo(change: serde_json::Value) -> Metric {
    let mut metric = json!({
        "name": "availability", "interval": "5s", "provider": {"prometheus": {"address": "http://prometheus:9090"}},
        "slo": {
            "errors": "http_requests_total{service=\"{{arm.service}}\",code=~\"5..\"}",
            "total": "http_requests_total{service=\"{{arm.service}}\"}", "budget": "1%",
        },
    });
    json_patch::merge(&mut metric, &change);
    serde_json::from_value(metric).unwrap()
}

/// Protects: both arms from being measured as one another; values are escaped like all others.
#[test]
fn both_arms() {
    let queries = |metric: &Metric| {
        let slo = resolve_one(metric, &[], &[])?.remove(0).slo.unwrap();
        let part = slo.errors.or(slo.slow.map(|slow| slow.bucket)).unwrap();
        Ok::<_, TemplateError>([slo.total, part, slo.stable.clone().unwrap().total, slo.stable.unwrap().part])
    };
    assert_eq!(
        queries(&slo(json!({}))),
        Ok([
            r#"http_requests_total{service="web-canary"}"#.to_owned(),
            r#"http_requests_total{service="web-canary",code=~"5.."}"#.to_owned(),
            r#"http_requests_total{service="web.stable"}"#.to_owned(),
            r#"http_requests_total{service="web.stable",code=~"5.."}"#.to_owned(),
        ])
    );
    let by_pod = r#"latency_bucket{service=~"{{arm.service}}",rs="{{arm.replicaSet}}", hash = "{{arm.podTemplateHash}}" }"#;
    let slow = json!({"slo": {
        "errors": null, "total": "latency_count{port=\"{{arm.port}}\",hash=\"{{arm.podTemplateHash}}\"} # all",
        "slow": {"bucket": by_pod, "le": "0.3"},
    }});
    assert_eq!(
        queries(&slo(slow)),
        Ok([
            r#"latency_count{port="80",hash="c1"}"#.to_owned(),
            r#"latency_bucket{service=~"web-canary",rs="web-c1", hash = "c1",le="0.3"}"#.to_owned(),
            r#"latency_count{port="80",hash="s1"}"#.to_owned(),
            r#"latency_bucket{service=~"web\\.stable",rs="web-s1", hash = "s1",le="0.3"}"#.to_owned(),
        ])
    );
    for (bucket, bounded) in [("b", "b{le=\"1\"}"), ("b{}", "b{le=\"1\"}"), ("b{a=\"1\",}", "b{a=\"1\",le=\"1\"}")] {
        let slow = crate::api::slo::Slow { bucket: bucket.to_owned(), le: "1".to_owned() };
        assert_eq!(super::slo::with_bound(&slow), bounded);
    }
}

/// Protects: SLOs that could never be measured, from being found out only when the canary has traffic.
#[test]
fn slos_that_are_refused() {
    let refused = |change: serde_json::Value| match resolve_one(&slo(change), &[], &[]) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string().replace("template 'availability', metric 'availability'", "M"),
    };
    let cases = [
        (json!({"slo": {"budget": "0%"}}), "M: slo.budget: 0%; it is above 0% and at most 50%"),
        (json!({"slo": {"budget": "60%"}}), "M: slo.budget: 60%; it is above 0% and at most 50%"),
        (json!({"slo": {"ignoreBelow": "2%"}}), "M: slo.ignoreBelow: 2%; it is at most the budget, 1%"),
        (json!({"slo": {"maxRatioToStable": 0.5}}), "M: slo.maxRatioToStable: it is at least 1 and at most 100"),
        (
            json!({"slo": {"total": "http_requests_total"}}),
            "M: slo.total: without a placeholder such as {{arm.service}} canary and stable would be the same series",
        ),
        (
            json!({"slo": {"errors": "sum(http_requests_total{service=\"{{arm.service}}\"})"}}),
            "M: slo.errors: it must be a selector of raw counters, such as http_requests_total{service=\"{{arm.service}}\"}: \
             functions, sums and ranges hide when each series began and was reset",
        ),
        (
            json!({"slo": {"total": "t{service=\"{{arm.service}}\"} offset 5m"}}),
            "M: slo.total: offset and @ are not allowed: it is measured as time goes on",
        ),
        (
            json!({"slo": {"total": "t{service=\"{{arm.name}}\"}"}}),
            "M, query: placeholder 'arm.name' at position 12 is unknown; known are: arm.podTemplateHash, arm.port, \
             arm.replicaSet, arm.service, rollout.name, rollout.namespace",
        ),
        (
            json!({"slo": {"stable": {"total": "a", "part": "b"}}}),
            "M: slo.stable: it is filled in by Tidegate; write {{arm.service}} in the queries instead",
        ),
        (json!({"interval": null}), "M: slo needs an interval, such as 5s"),
        (json!({"initialDelay": "1m"}), "M: with slo there is no initialDelay; slo.warmUp is the time that does not count"),
        (json!({"consecutiveSuccessLimit": 3}), "M: with slo there are no conditions, limits and counts: the evidence decides"),
        (json!({"count": 3}), "M: with slo there are no conditions, limits and counts: the evidence decides"),
        (json!({"provider": {"prometheus": {"query": "up"}}}), "M: with slo there is no provider.prometheus.query"),
    ];
    for (change, wanted) in cases {
        assert_eq!(refused(change.clone()), wanted, "{change}");
    }
    let template = [slo(json!({}))];
    let template = Template { name: "availability", args: &[], metrics: &template };
    let unbounded = resolve(&[template], &[], &context(Purpose::Step { bounded: false })).unwrap_err().to_string();
    assert!(unbounded.ends_with("in a step its evidence could take for ever; give the step atMost, such as 10m"), "{unbounded}");
}
