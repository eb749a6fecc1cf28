//! Evidence on SLOs on a real API server: what was counted survives the controller and the metric server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate::api::Time;
use tidegate::api::analysis::RunPhase;
use tokio::net::TcpListener;

use crate::faults::{Journal, Wire};
use crate::support;
use crate::world::{World, in_world, run};

/// Requests per second of canary and stable.
const RATE: [i64; 2] = [50, 500];

/// A Prometheus that counts evenly, scraped each second: stable since long ago, the canary from a moment on.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Since when the canary has requests, and since when each of them fails; seconds since 1970.
    canary: Option<i64>,
    fails: Option<i64>,
    away: bool,
}

impl Counters {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let counters = self.clone();
        let router = Router::new().fallback(async move |body: String| counters.answer(&body));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn set(&self, change: impl FnOnce(&mut State, i64)) {
        #[expect(clippy::disallowed_methods, reason = "a metric server reads a clock")]
        change(&mut self.0.lock().unwrap(), Timestamp::now().as_second());
    }

    /// What a counter shows at a moment; none before it is born.
    fn value(&self, query: &str, at: i64) -> Option<i64> {
        let state = self.0.lock().unwrap();
        let (arm, born) = if query.contains("-canary") { (0, state.canary?) } else { (1, at - 1000) };
        let since = if query.contains("errors") { if arm == 0 { state.fails? } else { return None } } else { born };
        (at >= since).then(|| (at - since + if arm == 1 { at } else { 0 }) * RATE[arm])
    }

    fn answer(&self, body: &str) -> Response {
        if self.0.lock().unwrap().away {
            return axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let url = reqwest::Url::parse(&format!("http://x/?{body}")).unwrap();
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let (query, now) = (parameter("query"), parameter("time").parse::<f64>().unwrap());
        let range = query.rsplit_once('[').and_then(|(_, range)| range.strip_suffix("ms]")?.parse::<f64>().ok());
        let labels = json!({"pod": if query.contains("-canary") { "canary" } else { "stable" }});
        let last = now.floor() as i64;
        let (kind, series) = match range {
            Some(range) => {
                let first = (now - range / 1000.0).ceil() as i64;
                let points: Vec<Value> =
                    (first..=last).filter_map(|at| Some(json!([at, self.value(&query, at)?.to_string()]))).collect();
                ("matrix", json!({"metric": labels, "values": points}))
            }
            None => ("vector", json!({"metric": labels, "value": [last, self.value(&query, last).map(|v| v.to_string())]})),
        };
        let empty = series["values"] == json!([]) || series["value"][1].is_null() && kind == "vector";
        let result = if empty { json!([]) } else { json!([series]) };
        json!({"status": "success", "data": {"resultType": kind, "result": result}}).to_string().into_response()
    }
}

/// A template and a Rollout that are measured by `counters`.
async fn measured(world: &World, counters: &Counters) {
    let address = counters.start().await;
    let query = |name: &str| format!("{name}{{service=\"{{{{arm.service}}}}\"}}");
    let slo = json!({"errors": query("errors"), "total": query("total"), "budget": "1%"});
    world
        .create(&json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": {"name": "slo", "namespace": world.namespace},
            "spec": {"metrics": [
                {"name": "availability", "interval": "1s", "provider": {"prometheus": {"address": address}}, "slo": slo}]},
        }))
        .await;
    world.surroundings("shop").await;
    let mut rollout = world.rollout("shop", "shop:1");
    let canary = &mut rollout["spec"]["strategy"]["canary"];
    canary["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
    canary["analysis"] = json!({"templates": [{"templateName": "slo"}]});
    world.create(&rollout).await;
    world.until_healthy("shop", "shop:1").await;
}

/// Protects: verdicts, and what they rest on, from restarts. The controller dies twice in an attempt and the metric server is
/// away meanwhile; each request is counted once, one run is created, and the verdict falls as if nothing had been.
#[tokio::test]
async fn evidence_survives() {
    in_world(async |world| {
        let (journal, counters) = (Arc::new(Journal::default()), Counters::default());
        let wire = Wire::new(&journal, world.judge("shop"));
        let running = world.run(&wire).await;
        measured(world, &counters).await;
        world.deploy("shop", "shop:2").await;
        counters.set(|state, now| state.canary = Some(now));
        world.until_paused("shop", 1).await;
        let known = async || world.runs("shop").await[0].status.clone().unwrap_or_default();
        let requests = async || known().await.metric_results[0].slo.as_ref().map_or(0, |slo| slo.canary.requests);
        support::eventually("requests are counted", async || requests().await > 0).await;
        running.kill().await;

        counters.set(|state, _| state.away = true);
        let running = world.run(&wire).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(known().await.phase, RunPhase::Running, "no data decides nothing");
        running.kill().await;
        counters.set(|state, now| (state.away, state.fails) = (false, Some(now)));
        let running = world.run(&wire).await;
        let status = world.until("shop", "given up", |status| status["abort"] == true && status["weights"]["canary"] == 0).await;
        world.rest(&journal).await;
        running.kill().await;
        assert_eq!(journal.violations(), [] as [String; 0]);

        let runs = world.runs("shop").await;
        assert_eq!(runs.iter().map(run).collect::<Vec<_>>(), ["shop-2-1-slo Failed"]);
        let created = journal.applied().into_iter().filter(|write| write.verb == "create" && write.object().contains("slo"));
        assert_eq!(created.count(), 1, "one run in three lives");
        let slo = known().await.metric_results[0].slo.clone().unwrap();
        let second = |at: &Option<Time>| at.as_ref().unwrap().0.as_second();
        // What the canary had when the evidence began belongs to others.
        let (begin, end) = (second(&slo.first_sample_at), second(&slo.last_sample_at));
        let fails = counters.0.lock().unwrap().fails.unwrap();
        assert_eq!(slo.canary.requests, (end - begin) * RATE[0], "each request once: {slo:#?}");
        assert_eq!(slo.canary.errors, (end - fails) * RATE[0], "each error once: {slo:#?}");
        assert!(end - fails <= 10, "it took {} s", end - fails);
        let evidence = status["failure"]["evidence"].as_str().unwrap();
        let counted = format!("availability: canary {} of {} requests failed", slo.canary.errors, slo.canary.requests);
        assert!(evidence.starts_with(&counted), "{evidence}");
    })
    .await;
}
