//! The definitions on a real API server: accepted as they are, and each rule and bound refuses what it should.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tidegate::api;
use tidegate::api::names::SYSTEM_NAMESPACE;

use crate::examples::{application, examples, metric, project, rollout, run, slos, template, unrouted};
use crate::support;

/// Asks whether `object` could be created; the refusals as (field, message).
async fn refusals(client: &kube::Client, object: &Value) -> Vec<(String, String)> {
    let namespace =
        (!["Project", "ClusterAnalysisTemplate"].contains(&object["kind"].as_str().unwrap())).then_some(SYSTEM_NAMESPACE);
    match support::create(client, namespace, object, true).await {
        Ok(_) => Vec::new(),
        Err(error) => {
            let causes = support::refusal::<()>(Err(error)).details.unwrap().causes;
            // Schema first, rules after it: that the rules had to wait is not a finding of its own.
            let own = causes.into_iter().filter(|cause| !cause.message.contains("some validation rules were not checked"));
            own.map(|cause| (cause.field, cause.message)).collect()
        }
    }
}

/// Protects: real objects. Each kind's example with every field is accepted, and so is the shortest one.
#[tokio::test]
async fn examples_are_accepted() {
    let Some(client) = support::cluster().await else { return };
    for example in examples() {
        assert_eq!(refusals(&client, &example).await, [], "{}", example["kind"]);
    }
    let mut short = rollout();
    short["spec"]["strategy"]["canary"].as_object_mut().unwrap().retain(|key, _| !["steps", "analysis"].contains(&key.as_str()));
    let mut bare = application();
    bare["spec"].as_object_mut().unwrap().retain(|key, _| ["source", "destination"].contains(&key.as_str()));
    bare["spec"]["source"]["path"] = json!(".");
    let mut http = application();
    http["spec"]["source"]["repoURL"] = json!("http://127.0.0.1:3000/acme/deploy");
    let mut dry = application();
    dry["spec"]["writeBack"] = json!({"mode": "DryRun"});
    let mut one_service = unrouted();
    one_service["spec"]["strategy"]["canary"]["canaryService"] = json!("web-canary");
    for example in [short, bare, http, dry, unrouted(), one_service] {
        assert_eq!(refusals(&client, &example).await, [], "{example}");
    }
}

/// Protects: one opinion about a null. The API server drops it as we do, so that rules judge what we will read.
#[tokio::test]
async fn nulls_are_as_if_left_out() {
    let Some(client) = support::cluster().await else { return };
    let mut object = rollout();
    object["spec"]["strategy"]["canary"]["steps"][0]["pause"] = json!(null);
    object["spec"]["strategy"]["canary"]["analysis"] = json!(null);
    object["spec"]["replicas"] = json!(null);
    let kept = support::create(&client, Some(SYSTEM_NAMESPACE), &object, true).await.unwrap().data;
    let canary = &kept["spec"]["strategy"]["canary"];
    assert_eq!(
        (&canary["steps"][0], canary.get("analysis"), &kept["spec"]["replicas"]),
        (&json!({"setWeight": 10}), None, &json!(1))
    );
}

/// One refused example: kind, where it differs from the accepted one, with what, the field named, the sentence.
type Refused = (Value, &'static str, Value, &'static str, &'static str);

fn refused_rollouts() -> Vec<Refused> {
    let canary = "/spec/strategy/canary";
    let one_key = "a step has exactly one of setWeight, setCanaryScale, pause, analysis, setHeaderRoute, setMirrorRoute";
    let at = |rest: &str| -> &'static str { Box::leak(format!("{canary}{rest}").into_boxed_str()) };
    let name =
        "a Rollout's name may have at most 52 characters, because its ReplicaSets and AnalysisRuns carry it in their names";
    let hash = "spec.selector.matchLabels must not name tidegate.dev/pod-template-hash; it is added for each revision";
    let mut asking = rollout();
    asking["spec"]["request"] = json!({});
    let misplaced = json!({"id": "1", "action": "retry", "toRevision": 2});
    vec![
        (asking, "/spec/request", misplaced, "spec.request", "spec.request.toRevision is for the action undo"),
        (rollout(), "/metadata/name", json!("a".repeat(53)), "", name),
        (
            rollout(),
            "/spec/selector/matchLabels",
            json!({"tidegate.dev/pod-template-hash": "x"}),
            "spec.selector.matchLabels",
            hash,
        ),
        (rollout(), "/spec/selector/matchLabels", json!({}), "spec.selector.matchLabels", "should have at least 1 properties"),
        (
            rollout(),
            at("/canaryService"),
            json!("web-stable"),
            "spec.strategy.canary",
            "canaryService must be another Service than stableService",
        ),
        (rollout(), at("/steps/0"), json!({}), "spec.strategy.canary.steps[0]", one_key),
        (
            rollout(),
            at("/steps/8/setHeaderRoute/name"),
            json!("staff"),
            "spec.strategy.canary",
            "setHeaderRoute.name must be one of trafficRouting.managedRoutes",
        ),
        (
            rollout(),
            at("/steps/8/setHeaderRoute/match/0/headerValue"),
            json!({"exact": "1", "regex": "1"}),
            "spec.strategy.canary.steps[8].setHeaderRoute.match[0].headerValue",
            "headerValue has exactly one of exact, prefix, regex",
        ),
        (
            rollout(),
            at("/analysis/args/1/value"),
            json!("twice"),
            "spec.strategy.canary.analysis.args[1]",
            "an argument has exactly one of value, valueFrom",
        ),
        (
            rollout(),
            at("/analysis/args/1/valueFrom"),
            json!({}),
            "spec.strategy.canary.analysis.args[1].valueFrom",
            "valueFrom has exactly one of podTemplateHashValue, fieldRef",
        ),
        (
            rollout(),
            at("/steps/4/analysis/args/2/valueFrom/fieldRef/fieldPath"),
            json!("spec.replicas"),
            "spec.strategy.canary.steps[4].analysis.args[2].valueFrom.fieldRef.fieldPath",
            "should match",
        ),
        (
            rollout(),
            at("/steps/10/setMirrorRoute/name"),
            json!("staff"),
            "spec.strategy.canary",
            "setMirrorRoute.name must be one of trafficRouting.managedRoutes",
        ),
        (
            rollout(),
            at("/steps/10/setMirrorRoute/match/0"),
            json!({}),
            "spec.strategy.canary.steps[10].setMirrorRoute.match[0]",
            "a match of setMirrorRoute has at least one of method, path, headers",
        ),
        (
            rollout(),
            at("/steps/10/setMirrorRoute/match/0/path"),
            json!({"exact": "/", "regex": "/"}),
            "spec.strategy.canary.steps[10].setMirrorRoute.match[0].path",
            "exactly one of exact, prefix, regex is given",
        ),
        (
            rollout(),
            at("/trafficRouting/gatewayAPI"),
            json!({"httpRoutes": []}),
            "spec.strategy.canary.trafficRouting.gatewayAPI",
            "gatewayAPI names at least one route, in httpRoutes or grpcRoutes",
        ),
        (
            rollout(),
            at("/steps/0"),
            json!({"setWeight": 1001}),
            "spec.strategy.canary",
            "must not be more than trafficRouting.maxTrafficWeight",
        ),
        (
            rollout(),
            at("/steps/6/setCanaryScale/weight"),
            json!(1001),
            "spec.strategy.canary",
            "must not be more than trafficRouting.maxTrafficWeight",
        ),
        (
            rollout(),
            at("/trafficRouting/maxTrafficWeight"),
            json!(100),
            "spec.strategy.canary",
            "must not be more than trafficRouting.maxTrafficWeight, which is 100 where",
        ),
        (rollout(), at("/steps/0"), json!({"setWeight": 10, "pause": {}}), "spec.strategy.canary.steps[0]", one_key),
        (
            rollout(),
            at("/steps/0"),
            json!({"setWeight": "10"}),
            "spec.strategy.canary.steps[0].setWeight",
            "must be of type integer",
        ),
        (
            rollout(),
            at("/steps/1/pause/duration"),
            json!("5 minutes"),
            "spec.strategy.canary.steps[1].pause.duration",
            "should match",
        ),
        (
            rollout(),
            at("/steps/1/pause/duration"),
            json!(1.5),
            "spec.strategy.canary.steps[1].pause.duration",
            "must be of type integer,string",
        ),
        (rollout(), "/spec/template", json!("web:1"), "spec.template", "must be of type object"),
    ]
}

/// What makes sense only with a router, or only without one.
fn refused_sizes() -> Vec<Refused> {
    let canary = "spec.strategy.canary";
    let both = "maxSurge and maxUnavailable must not both be 0: no pod could ever be exchanged";
    let needs = "trafficRouting needs stableService and canaryService, whose weights it sets";
    let (surge, missing) = ("/spec/strategy/canary/maxSurge", "/spec/strategy/canary/maxUnavailable");
    let (surge_field, missing_field) = ("spec.strategy.canary.maxSurge", "spec.strategy.canary.maxUnavailable");
    vec![
        (rollout(), "/spec/strategy/canary/stableService", Value::Null, canary, needs),
        (rollout(), "/spec/strategy/canary/canaryService", Value::Null, canary, needs),
        (rollout(), surge, json!(1), canary, "maxSurge has no effect with trafficRouting"),
        (unrouted(), surge, json!(0), canary, both),
        (unrouted(), surge, json!("0%"), canary, both),
        (unrouted(), surge, json!(-1), surge_field, "greater than or equal to 0"),
        (unrouted(), surge, json!(10_001), surge_field, "less than or equal to 10000"),
        (unrouted(), missing, json!("101%"), missing_field, "should match"),
        (unrouted(), missing, json!("25"), missing_field, "should match"),
        (
            unrouted(),
            "/spec/strategy/canary/scaleDownDelaySeconds",
            json!(5),
            canary,
            "scaleDownDelaySeconds needs trafficRouting",
        ),
        (
            unrouted(),
            "/spec/strategy/canary/abortScaleDownDelaySeconds",
            json!(5),
            canary,
            "abortScaleDownDelaySeconds needs trafficRouting",
        ),
        (unrouted(), "/spec/strategy/canary/dynamicStableScale", json!(true), canary, "dynamicStableScale needs trafficRouting"),
        (unrouted(), "/spec/strategy/canary/minPodsPerReplicaSet", json!(2), canary, "minPodsPerReplicaSet needs trafficRouting"),
        (unrouted(), "/spec/strategy/canary/scaleDownDelayRevisionLimit", json!(2), canary, "scaleDownDelayRevisionLimit needs"),
        (unrouted(), "/spec/strategy/canary/steps/0", json!({"setCanaryScale": {"replicas": 1}}), canary, "setCanaryScale needs"),
        (
            rollout(),
            "/spec/strategy/canary/steps/0",
            json!({"setCanaryScale": {}}),
            "spec.strategy.canary.steps[0].setCanaryScale",
            "exactly one of replicas, weight",
        ),
        (
            rollout(),
            "/spec/strategy/canary/antiAffinity",
            json!({}),
            "spec.strategy.canary.antiAffinity",
            "antiAffinity has exactly one of",
        ),
        (
            rollout(),
            "/spec/strategy/canary/canaryMetadata/labels",
            json!({"tidegate.dev/x": "1"}),
            "spec.strategy.canary.canaryMetadata",
            "labels under tidegate.dev/",
        ),
        (
            rollout(),
            "/spec/strategy/canary/stableMetadata/annotations",
            json!({"tidegate.dev/x": "1"}),
            "spec.strategy.canary.stableMetadata",
            "annotations under tidegate.dev/",
        ),
    ]
}

fn refused_applications() -> Vec<Refused> {
    let name = "an Application's name may have at most 53 characters, because its inventory carries it in its name";
    let url = "spec.source.repoURL must be an https:// address without user, password, query or spaces";
    let path = "spec.source.path must be a relative path of plain names such as apps/shop, without '..', leading or trailing '/'";
    let branch = "spec.source.revision.branch is not a branch name";
    let push = "spec.writeBack.mode Push needs spec.writeBack.secretRef: a credential of its own that may push; or set mode to DryRun or Disabled";
    let mut all = vec![(application(), "/metadata/name", json!("a".repeat(54)), "", name)];
    for text in [
        "git@host:acme/deploy",
        "ssh://host/x",
        "file:///etc",
        "ext::sh -c x",
        "https://jo:secret@host/x",
        "https://host/x?token=y",
        "https://host/a b",
        "--upload-pack=x",
    ] {
        all.push((application(), "/spec/source/repoURL", json!(text), "spec.source.repoURL", url));
    }
    for text in ["/etc", "../x", "apps/../../x", "apps/", "apps//shop", "./apps", "apps/./shop", ".."] {
        all.push((application(), "/spec/source/path", json!(text), "spec.source.path", path));
    }
    for text in ["-x", "a..b", "a//b", "a/", "a.lock", "a b", "refs/heads/@{1}", "a~1", "a:b"] {
        all.push((application(), "/spec/source/revision/branch", json!(text), "spec.source.revision.branch", branch));
    }
    for write_back in [json!({}), json!({"mode": "Push"}), json!({"author": {"name": "T", "email": "t@example.com"}})] {
        all.push((application(), "/spec/writeBack", write_back, "spec.writeBack", push));
    }
    all
}

fn refused_others() -> Vec<Refused> {
    let deciding =
        "a metric needs slo, or successCondition, failureCondition or both; without any no value could decide anything";
    let mut undecided = metric();
    undecided.as_object_mut().unwrap().retain(|key, _| !key.ends_with("Condition"));
    let mut nulls = undecided.clone();
    nulls["successCondition"] = json!(null);
    let mut hasty = metric();
    hasty.as_object_mut().unwrap().retain(|key, _| !["interval", "consecutiveSuccessLimit"].contains(&key.as_str()));
    let mut all = Vec::new();
    for example in [template("AnalysisTemplate"), template("ClusterAnalysisTemplate"), run()] {
        all.push((example.clone(), "/spec/metrics/0", undecided.clone(), "spec.metrics[0]", deciding));
        all.push((example.clone(), "/spec/metrics/0", nulls.clone(), "spec.metrics[0]", deciding));
        all.push((
            example.clone(),
            "/spec/metrics/0",
            hasty.clone(),
            "spec.metrics[0]",
            "a metric with count above 1 needs an interval",
        ));
        let mut rowless = metric();
        (rowless["count"], rowless["interval"]) = (json!(null), json!(null));
        all.push((example.clone(), "/spec/metrics/0", rowless, "spec.metrics[0]", "consecutiveSuccessLimit needs an interval"));
        let mut endless = metric();
        (endless["failureLimit"], endless["consecutiveSuccessLimit"]) = (json!(-1), json!(null));
        let failing = "failureLimit -1, no limit, needs consecutiveSuccessLimit: otherwise nothing could fail";
        all.push((example.clone(), "/spec/metrics/0", endless, "spec.metrics[0]", failing));
        let own_query = "a metric needs provider.prometheus.query, or with slo none: an slo has queries of its own";
        let mut without = metric();
        without["provider"]["prometheus"].as_object_mut().unwrap().remove("query");
        all.push((example.clone(), "/spec/metrics/0", without, "spec.metrics[0]", own_query));
        let [slo, _] = slos();
        let changed = |change: Value| {
            let mut slo = slo.clone();
            json_patch::merge(&mut slo, &change);
            slo
        };
        let queried = changed(json!({"provider": {"prometheus": {"query": "up"}}}));
        let conditional = changed(json!({"successCondition": "true"}));
        let twofold = changed(json!({"slo": {"slow": {"bucket": "b", "le": "1"}}}));
        for (changed, field, sentence) in [
            (queried, "spec.metrics[1]", own_query),
            (conditional, "spec.metrics[1]", "with slo there are no conditions, limits and counts: the evidence decides"),
            (
                changed(json!({"initialDelay": "1m"})),
                "spec.metrics[1]",
                "with slo there is no initialDelay; slo.warmUp is the time that does not count",
            ),
            (changed(json!({"interval": null})), "spec.metrics[1]", "slo needs an interval, such as 5s"),
            (twofold, "spec.metrics[1].slo", "an slo has exactly one of errors, slow"),
        ] {
            all.push((example.clone(), "/spec/metrics/1", changed, field, sentence));
        }
        for address in ["ftp://host", "http://jo:pw@host", "http://host/?x=y", "host:9090", "http://a b"] {
            let place = "/spec/metrics/0/provider/prometheus/address";
            all.push((example.clone(), place, json!(address), "spec.metrics[0].provider.prometheus.address", "should match"));
        }
    }
    for example in [template("AnalysisTemplate"), template("ClusterAnalysisTemplate")] {
        let twice = json!([metric(), metric()]);
        all.push((example.clone(), "/spec/metrics", twice, "spec.metrics", "two metrics have the same name"));
        all.push((example, "/spec/args", json!([{"name": "a"}, {"name": "a"}]), "spec.args", "two args have the same name"));
    }
    for namespace in ["Shop", "a*b", "-x", "**"] {
        all.push((project(), "/spec/applicationNamespaces", json!([namespace]), "spec.applicationNamespaces[0]", "should match"));
        all.push((
            project(),
            "/spec/destinations/0/namespace",
            json!(namespace),
            "spec.destinations[0].namespace",
            "should match",
        ));
    }
    all
}

/// The sentences of all rules below a schema.
fn sentences(schema: &JSONSchemaProps, out: &mut BTreeSet<String>) {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    out.extend(rules.map(|rule| rule.message.clone().unwrap_or_else(|| panic!("a rule without a sentence: {}", rule.rule))));
    for inner in schema.properties.iter().flatten().map(|(_, inner)| inner) {
        sentences(inner, out);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        sentences(item, out);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        sentences(values, out);
    }
}

/// Protects: each rule of ours refuses its example, and says why in our words; and no rule is without an example.
#[tokio::test]
async fn each_rule_refuses_its_example() {
    let Some(client) = support::cluster().await else { return };
    let mut told = Vec::new();
    for (mut object, pointer, value, field, sentence) in
        [refused_rollouts(), refused_sizes(), refused_applications(), refused_others()].concat()
    {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match object.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => object.pointer_mut(parent).unwrap()[key] = value.clone(),
        }
        let found = refusals(&client, &object).await;
        let case = format!("{} {pointer} = {value}: {found:#?}", object["kind"]);
        assert_eq!(found.len(), 1, "{case}");
        assert!(found[0].1.contains(sentence), "{case}");
        assert!(field.is_empty() || found[0].0 == field, "{case}");
        told.push(found[0].1.clone());
    }
    let mut all = BTreeSet::new();
    for crd in api::crds() {
        sentences(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap(), &mut all);
    }
    // Tried where there is something to change: `the_selector_stays`.
    all.retain(|sentence| !sentence.ends_with("cannot be changed; create a new Rollout instead"));
    assert!(all.len() >= 10, "only {} rules were found", all.len());
    all.retain(|sentence| !told.iter().any(|told| told.contains(sentence)));
    assert_eq!(all, BTreeSet::new(), "rules without an example");
}

/// Protects: a selector that changed would leave pods that nobody owns.
#[tokio::test]
async fn the_selector_stays() {
    let Some(client) = support::cluster().await else { return };
    support::in_namespace(&client, async |namespace| {
        support::create(&client, Some(namespace), &rollout(), false).await.unwrap();
        let patch = Patch::Merge(json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}));
        let changed = support::api_of(&client, &rollout(), Some(namespace)).patch("web", &PatchParams::default(), &patch).await;
        let causes = support::refusal(changed).details.unwrap().causes;
        let found: Vec<_> = causes
            .iter()
            .map(|cause| {
                (cause.field.as_str(), cause.message.ends_with("spec.selector cannot be changed; create a new Rollout instead"))
            })
            .collect();
        assert_eq!(found, [("spec.selector", true)]);
    })
    .await;
}

/// Protects: every bound of every field of every spec is known to the API server, which names the field.
#[tokio::test]
async fn each_bound_is_kept() {
    let Some(client) = support::cluster().await else { return };
    let mut tried = 0;
    for (crd, example) in api::crds().iter().zip(examples()) {
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()).unwrap();
        let spec = &schema.properties.as_ref().unwrap()["spec"];
        let mut cases = Vec::new();
        violations(spec, &example["spec"], "spec", "/spec", &mut cases);
        for (field, pointer, value) in cases {
            let mut object = example.clone();
            match value {
                Some(value) => *object.pointer_mut(&pointer).unwrap() = value,
                None => {
                    let (parent, key) = pointer.rsplit_once('/').unwrap();
                    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
                }
            }
            let found = refusals(&client, &object).await;
            let case = format!("{} {field} = {:?}: {found:#?}", crd.spec.names.kind, object.pointer(&pointer));
            assert!(
                found.iter().any(|(named, _)| *named == field || named.starts_with(&format!("{field}["))),
                "{}",
                &case[..case.len().min(2000)]
            );
            tried += 1;
        }
    }
    assert!(tried > 150, "only {tried} bounds were found: the walk misses some");
}

/// Where an example is to be changed, and to what (none: left out), so that one bound is broken.
type Violation = (String, String, Option<Value>);

fn violations(schema: &JSONSchemaProps, example: &Value, field: &str, pointer: &str, out: &mut Vec<Violation>) {
    let mut broken = |value: Value| out.push((field.to_owned(), pointer.to_owned(), Some(value)));
    let count = |number: i64| usize::try_from(number).unwrap();
    if let Some(low) = schema.minimum {
        broken(json!(low as i64 - 1));
    }
    if let Some(high) = schema.maximum {
        broken(json!(high as i64 + 1));
    }
    if let Some(low) = schema.min_length {
        broken(json!("1".repeat(count(low) - 1)));
    }
    if let Some(high) = schema.max_length {
        broken(json!("1".repeat(count(high) + 1)));
    }
    if schema.pattern.is_some() {
        broken(json!("\n\n\n\n"));
    }
    if schema.enum_.is_some() {
        broken(json!("Nonsense"));
    }
    if let Some(low) = schema.min_items {
        broken(Value::Array(vec![example[0].clone(); count(low) - 1]));
    }
    if let Some(high) = schema.max_items {
        broken(Value::Array(vec![example[0].clone(); count(high) + 1]));
    }
    if let Some(high) = schema.max_properties {
        broken((0..=high).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into());
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => {
            for (name, _) in item.properties.iter().flatten() {
                let found = example.as_array().unwrap().iter().position(|one| one.get(name).is_some());
                assert!(found.is_some(), "no example of {field}[].{name}");
            }
            for (index, one) in example.as_array().unwrap().iter().enumerate() {
                violations(item, one, &format!("{field}[{index}]"), &format!("{pointer}/{index}"), out);
            }
        }
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        let (key, value) = example.as_object().unwrap().iter().next().unwrap();
        violations(values, value, &format!("{field}.{key}"), &format!("{pointer}/{key}"), out);
    }
    for name in schema.required.iter().flatten() {
        out.push((format!("{field}.{name}"), format!("{pointer}/{name}"), None));
    }
    let in_list = field.ends_with(']');
    for (name, inner) in schema.properties.iter().flatten() {
        match example.get(name) {
            Some(value) => violations(inner, value, &format!("{field}.{name}"), &format!("{pointer}/{name}"), out),
            // A request cannot be created at all, and what one element of a list lacks, another one has.
            None => {
                let elsewhere = in_list || ["request", "maxSurge"].contains(&name.as_str());
                let one_of = [
                    "pause",
                    "setCanaryScale",
                    "antiAffinity",
                    "headerValue",
                    "setHeaderRoute",
                    "setMirrorRoute",
                    "valueFrom",
                    "prometheus",
                    "slo",
                ]
                .iter()
                .any(|end| field.ends_with(end))
                    || field.contains("].headers.")
                    || field.ends_with("].path");
                assert!(elsewhere || one_of, "no example of {field}.{name}");
            }
        }
    }
}
