use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn data(kind: &str, result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}},"warnings":["w"],"more":1}}"#)
}

fn one(values: &str) -> String {
    data("matrix", &format!(r#"[{{"metric":{{"__name__":"t","pod":"web-1"}},"values":{values}}}]"#))
}

/// Protects: what is counted. Samples keep their own times, and a series is itself under both kinds of query.
#[test]
fn samples() {
    let body = data(
        "matrix",
        r#"[{"metric":{"__name__":"t","pod":"web-1","instance":"i"},"values":[[1700000000.25,"1"],[1700000005.251,"2.5e3"],[1700000010,"NaN"]]},
            {"metric":{"instance":"i","\u006aob":"\"x"},"values":[[1700000000,"+Inf"]]}, {"metric":{},"histograms":[[1,{}]]}]"#,
    );
    let series = read(200, body.as_bytes()).unwrap();
    let times: Vec<i64> = series[0].samples.iter().map(|sample| sample.at).collect();
    assert_eq!(times, [1_700_000_000_250, 1_700_000_005_251, 1_700_000_010_000]);
    assert_eq!(series[0].samples[1].value, 2500.0);
    assert!(series[0].samples[2].value.is_nan() && series[1].samples[0].value.is_infinite(), "judged where they are counted");
    let pods: Vec<Option<&str>> = series.iter().map(|series| series.pod.as_deref()).collect();
    assert_eq!(pods, [Some("web-1"), Some("i"), None]);
    assert_eq!(series[2].samples, []);
    // Functions drop the name.
    let last = data("vector", r#"[{"metric":{"pod":"web-1","instance":"i"},"value":[1700000010,"7"]}]"#);
    let last = read(200, last.as_bytes()).unwrap();
    assert_eq!((last[0].key, last[0].samples[0].value), (series[0].key, 7.0));
    assert_ne!(series[0].key, series[1].key);
    assert_eq!(read(200, data("matrix", "[]").as_bytes()), Ok(vec![]), "no series is no error");
}

/// Protects: canaries from answers that are none, and status from their text.
#[rstest]
#[case::string(200, data("string", "[]"), "the answer holds samples that cannot be read")]
#[case::scalar(200, data("scalar", r#"[1,"secret"]"#), "the answer holds samples that cannot be read")]
#[case::word(200, one(r#"[[1,"secret"]]"#), "the answer holds samples that cannot be read")]
#[case::number(200, one("[[1,2]]"), "the answer holds samples that cannot be read")]
#[case::overflow(200, one(r#"[[1,"1e999"]]"#), "the answer holds samples that cannot be read")]
#[case::before_time(200, one(r#"[[-1,"1"]]"#), "the answer holds samples that cannot be read")]
#[case::after_time(200, one(r#"[[1e300,"1"]]"#), "the answer holds samples that cannot be read")]
#[case::html(200, "<html>secret</html>".into(), "the answer (HTTP 200) is not an answer of the Prometheus API")]
#[case::nothing(204, String::new(), "the answer (HTTP 204) is not an answer of the Prometheus API")]
#[case::redirect(302, String::new(), "the server redirects (HTTP 302); redirects are not followed, give the final address")]
#[case::denied(403, "secret".into(), "the server denies access (HTTP 403)")]
#[case::wrong(400, r#"{"status":"error","errorType":"bad_data","error":"secret"}"#.into(), "the server refuses the query as wrong (HTTP 400, bad_data)")]
#[case::too_much(422, r#"{"status":"error","errorType":"execution","error":"secret"}"#.into(), "the server cannot execute the query (HTTP 422, execution)")]
#[case::broken(503, data("matrix", "[]"), "the server failed (HTTP 503)")]
fn refused(#[case] status: u16, #[case] body: String, #[case] why: &str) {
    assert_eq!(read(status, body.as_bytes()), Err(why.to_owned()));
}

/// Protects: memory. More series than can be counted are not kept.
#[test]
fn too_many_series() {
    let body = data("matrix", &format!("[{}]", vec![r#"{"metric":{},"values":[]}"#; MAX_SERIES + 1].join(",")));
    let why = read(200, body.as_bytes()).unwrap_err();
    assert_eq!(why, "the selector matches 2001 series; at most 2000 are allowed, name more labels");
}

proptest! {
    /// Protects: the process from any bytes.
    #[test]
    fn any_bytes(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..200), times in prop::collection::vec(any::<f64>(), 0..5)) {
        let _ = read(status, &body);
        let values: Vec<String> = times.iter().filter(|at| at.is_finite()).map(|at| format!("[{at},\"{at}\"]")).collect();
        let _ = read(200, one(&format!("[{}]", values.join(","))).as_bytes());
    }
}
