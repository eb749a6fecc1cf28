#![expect(clippy::disallowed_methods, reason = "the time that hanging servers cost is what is tested")]

use super::*;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::analysis::measured::QueryResult;

use address::check_ip;

/// The server's answer to every request.
#[derive(Clone)]
enum Script {
    /// Status and body.
    Say(u16, String),
    /// Status 302 to this address.
    Redirect(String),
    /// Never.
    Hang,
    /// A byte every 50 ms, for ever.
    Drip,
    /// So many bytes without saying how many.
    Stream(usize),
    /// 405 to everything but GET.
    OnlyGet(String),
}

/// Method, path and query, body.
type Seen = Arc<Mutex<Vec<(Method, String, String)>>>;

async fn answer(State((script, seen)): State<(Script, Seen)>, method: Method, uri: Uri, body: Bytes) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    seen.lock().unwrap().push((method.clone(), uri.to_string(), text));
    match script {
        Script::Say(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Script::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Script::Hang => std::future::pending().await,
        Script::Drip => Body::from_stream(futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        }))
        .into_response(),
        Script::Stream(size) => {
            let chunks = std::iter::repeat_n(Ok::<_, Infallible>(" ".repeat(1000)), size / 1000);
            Body::from_stream(futures::stream::iter(chunks)).into_response()
        }
        Script::OnlyGet(body) if method == Method::GET => body.into_response(),
        Script::OnlyGet(_) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// A server on loopback; `host:port` and what it was asked.
async fn serve(script: Script) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let app = Router::new().fallback(answer).with_state((script, Arc::clone(&seen)));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, seen)
}

/// A server that answers the first bytes of each connection with `bytes` and closes it.
async fn serve_raw(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    address
}

fn listed() -> AddressPolicy {
    AddressPolicy::Listed(vec!["127.0.0.1".into(), "localhost".into()])
}

fn at() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_250).unwrap()
}

async fn measure_with(limits: Limits, address: &str, policy: &AddressPolicy) -> Measured {
    let query = "sum(up{a=\"b c&d\"})".to_owned();
    let source = analysis::Provider { prometheus: analysis::Prometheus { address: address.to_owned(), query: Some(query) } };
    Prometheus::new(limits).unwrap().measure(&source, policy, at()).await
}

async fn measure(address: &str) -> Measured {
    measure_with(Limits::default(), address, &listed()).await
}

async fn said(status: u16, body: &str) -> Measured {
    let (host, _) = serve(Script::Say(status, body.to_owned())).await;
    measure(&format!("http://{host}")).await
}

fn value(result: QueryResult) -> Measured {
    Measured::Value { result, warnings: vec![] }
}

fn error(text: &str) -> Measured {
    Measured::Error(text.to_owned())
}

fn data(kind: &str, result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
}

fn samples(values: &[&str]) -> String {
    let series: Vec<String> =
        values.iter().map(|v| format!(r#"{{"metric":{{"pod":"p"}},"value":[1700000000.25,"{v}"]}}"#)).collect();
    data("vector", &format!("[{}]", series.join(",")))
}

/// Protects: numbers are read as what they are.
#[tokio::test]
async fn numbers() {
    let vector = |values: &[f64]| value(QueryResult::Vector(values.to_vec()));
    assert_eq!(said(200, &samples(&["0.9512"])).await, vector(&[0.9512]));
    assert_eq!(said(200, &samples(&["1", "2e3", "-0.5"])).await, vector(&[1.0, 2000.0, -0.5]));
    assert_eq!(said(200, &samples(&["+Inf", "-Inf"])).await, vector(&[f64::INFINITY, f64::NEG_INFINITY]));
    assert_eq!(said(200, &data("scalar", r#"[1700000000,"7"]"#)).await, value(QueryResult::Scalar(7.0)));
    let nan = said(200, &samples(&["NaN"])).await;
    assert!(matches!(&nan, Measured::Value { result: QueryResult::Vector(v), .. } if v.len() == 1 && v[0].is_nan()), "{nan:?}");
    let warned = format!(r#"{},"warnings":["partial\nresponse","x"]}}"#, samples(&["1"]).trim_end_matches('}').to_owned() + "}");
    let warnings = vec!["partial response".to_owned(), "x".to_owned()];
    assert_eq!(said(200, &warned).await, Measured::Value { result: QueryResult::Vector(vec![1.0]), warnings });
}

/// Protects: no data, trouble and a wrong query are told apart, and no text of the server is repeated.
#[rstest]
#[case::empty(200, data("vector", "[]"), Measured::NoData("no data: the query returned no series".into()))]
#[case::matrix(
    200,
    data("matrix", "[]"),
    error("the query gives a range vector (matrix); an instant vector or a scalar is needed")
)]
#[case::string(
    200,
    data("string", r#"[1,"secret"]"#),
    error("the query gives a string; an instant vector or a scalar is needed")
)]
#[case::unknown_type(
    200,
    data("secret", "[]"),
    error("the answer is of an unknown type; an instant vector or a scalar is needed")
)]
#[case::no_data_field(200, r#"{"status":"success"}"#.into(), error("the answer has no data"))]
#[case::histogram(
    200,
    data("vector", r#"[{"metric":{},"histogram":[1,{"count":"1"}]}]"#),
    error("the query returned a native histogram; a number is needed, use histogram_quantile or similar")
)]
#[case::not_a_number(200, samples(&["secret"]), error("the answer holds samples that cannot be read"))]
#[case::infinity_in_words(200, samples(&["infinity"]), error("the answer holds samples that cannot be read"))]
#[case::overflow(200, samples(&["1e999"]), error("the answer holds samples that cannot be read"))]
#[case::not_samples(200, data("vector", r#"{"secret":1}"#), error("the answer holds samples that cannot be read"))]
#[case::many_series(
    200,
    samples(&["1"; 1001]),
    error("the query returned 1001 series; at most 1000 are allowed, aggregate them in the query")
)]
#[case::html(200, "<html>secret</html>".into(), error("the answer (HTTP 200) is not an answer of the Prometheus API"))]
#[case::other_json(200, r#"{"secret":1}"#.into(), error("the answer (HTTP 200) is not an answer of the Prometheus API"))]
#[case::nothing(204, String::new(), error("the answer (HTTP 204) is not an answer of the Prometheus API"))]
#[case::deep(200, "[".repeat(100_000), error("the answer (HTTP 200) is not an answer of the Prometheus API"))]
#[case::truncated(
    200,
    samples(&["1"])[..60].to_owned(),
    error("the answer (HTTP 200) is not an answer of the Prometheus API")
)]
#[case::error_with_200(
    200,
    r#"{"status":"error","errorType":"execution","error":"secret"}"#.into(),
    error("the server cannot execute the query (HTTP 200, execution)")
)]
#[case::bad_query(
    400,
    r#"{"status":"error","errorType":"bad_data","error":"secret"}"#.into(),
    error("the server refuses the query as wrong (HTTP 400, bad_data)")
)]
#[case::bad_without_json(400, "secret".into(), error("the server refuses the query as wrong (HTTP 400)"))]
#[case::strange_type(
    418,
    r#"{"status":"error","errorType":"secret"}"#.into(),
    error("the server refuses the query as wrong (HTTP 418, other)")
)]
#[case::denied(403, "secret".into(), error("the server denies access (HTTP 403)"))]
#[case::not_there(404, "secret".into(), error("the server has no Prometheus API at this address (HTTP 404)"))]
#[case::too_often(429, String::new(), error("the server is asked too often (HTTP 429)"))]
#[case::execution(
    422,
    r#"{"status":"error","errorType":"execution","error":"secret"}"#.into(),
    error("the server cannot execute the query (HTTP 422, execution)")
)]
#[case::gave_up(
    503,
    r#"{"status":"error","errorType":"timeout","error":"secret"}"#.into(),
    error("the server gave up on the query (HTTP 503, timeout)")
)]
#[case::failed(500, "secret".into(), error("the server failed (HTTP 500)"))]
#[case::unavailable(503, "<html>secret".into(), error("the server failed (HTTP 503)"))]
#[case::teapot_success(500, samples(&["1"]), error("the server failed (HTTP 500)"))]
#[tokio::test]
async fn answers_without_a_value(#[case] status: u16, #[case] body: String, #[case] wanted: Measured) {
    assert_eq!(said(status, &body).await, wanted);
}

/// Protects: what is asked, and that a proxy which lets only GET through is no obstacle.
#[tokio::test]
async fn the_request() {
    let wanted = "query=sum%28up%7Ba%3D%22b+c%26d%22%7D%29&time=1700000000.250&timeout=10000ms";
    let (host, seen) = serve(Script::Say(200, samples(&["1"]))).await;
    assert_eq!(measure(&format!("http://{host}/prom/")).await, value(QueryResult::Vector(vec![1.0])));
    let post = (Method::POST, "/prom/api/v1/query".to_owned(), wanted.to_owned());
    assert_eq!(*seen.lock().unwrap(), std::slice::from_ref(&post));
    let (host, seen) = serve(Script::OnlyGet(samples(&["1"]))).await;
    assert_eq!(measure(&format!("http://{host}/prom")).await, value(QueryResult::Vector(vec![1.0])));
    assert_eq!(*seen.lock().unwrap(), [post, (Method::GET, format!("/prom/api/v1/query?{wanted}"), String::new())]);
}

/// Protects: no redirect is followed, to nowhere.
#[tokio::test]
async fn redirects() {
    let (target, asked) = serve(Script::Say(200, samples(&["1"]))).await;
    let (host, _) = serve(Script::Redirect(format!("http://{target}/api/v1/query"))).await;
    let wanted = error("the server redirects (HTTP 302); redirects are not followed, give the final address");
    assert_eq!(measure(&format!("http://{host}")).await, wanted);
    assert!(asked.lock().unwrap().is_empty());
}

/// Protects: time. A server that hangs, at whichever point, costs the deadline and no more.
#[tokio::test]
async fn deadlines() {
    let limits = Limits { total: Duration::from_millis(400), ..Limits::default() };
    for script in [Script::Hang, Script::Drip] {
        let (host, _) = serve(script).await;
        let begin = Instant::now();
        let found = measure_with(limits, &format!("http://{host}"), &listed()).await;
        assert_eq!(found, error("the server did not answer in time"));
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
    // Accepts connections and says nothing, not even TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap();
    let found = measure_with(limits, &format!("http://{host}"), &listed()).await;
    assert_eq!(found, error("the server did not answer in time"));
    let tls = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    let found = measure_with(tls, &format!("https://{host}"), &listed()).await;
    assert_eq!(found, error("the server cannot be reached: no connection in time"));
}

/// Protects: memory.
#[tokio::test]
async fn huge_bodies() {
    let wanted = error("the answer is larger than 1048576 bytes; name more labels, or aggregate in a query for a value");
    assert_eq!(said(200, &" ".repeat(3 * 1024 * 1024)).await, wanted);
    let (host, _) = serve(Script::Stream(3 * 1024 * 1024)).await;
    assert_eq!(measure(&format!("http://{host}")).await, wanted);
    let padded = format!("{}{}", samples(&["1"]), " ".repeat(1_000_000));
    assert_eq!(said(200, &padded).await, value(QueryResult::Vector(vec![1.0])));
}

/// Protects: broken connections are outcomes with a name, and the name holds no host.
#[tokio::test]
async fn broken_connections() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(measure(&format!("http://{unused}")).await, error("the server cannot be reached: connection refused"));
    let broken = error("the connection broke before the answer was complete");
    let host = serve_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":\"success\"").await;
    assert_eq!(measure(&format!("http://{host}")).await, broken);
    let host = serve_raw(b"").await;
    assert_eq!(measure(&format!("http://{host}")).await, broken);
    let host = serve_raw(b"not HTTP at all\r\n\r\n").await;
    assert_eq!(measure(&format!("http://{host}")).await, broken);
    let (host, _) = serve(Script::Say(200, String::new())).await;
    assert_eq!(measure(&format!("https://{host}")).await, error("the server cannot be reached: the TLS handshake failed"));
}

/// Protects: the controller's own network. Nothing is sent to a host that is not allowed, however it is written.
#[tokio::test]
async fn refused_hosts() {
    let (host, seen) = serve(Script::Say(200, samples(&["1"]))).await;
    let port = host.rsplit_once(':').unwrap().1.to_owned();
    let loopback = error(&Refusal::Loopback.to_string());
    let link_local = error(&Refusal::LinkLocal.to_string());
    for name in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ] {
        let address = format!("http://{name}:{port}");
        assert_eq!(measure_with(Limits::default(), &address, &AddressPolicy::AnyRemote).await, loopback, "{name}");
    }
    for name in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]"] {
        let address = format!("http://{name}");
        let everything = AddressPolicy::Listed(vec![name.to_owned()]);
        for policy in [AddressPolicy::AnyRemote, everything] {
            assert_eq!(measure_with(Limits::default(), &address, &policy).await, link_local, "{name}");
        }
    }
    let not_listed = error(&Refusal::NotListed.to_string());
    let other = AddressPolicy::Listed(vec!["prometheus.monitoring".into(), "127.0.0.1:1".into()]);
    assert_eq!(measure_with(Limits::default(), &format!("http://{host}"), &other).await, not_listed);
    assert_eq!(measure_with(Limits::default(), &format!("http://{host}"), &AddressPolicy::Listed(vec![])).await, not_listed);
    let form = error("the address is not http://host:port or https://host:port");
    for address in ["", "file:///etc/passwd", "http://user@127.0.0.1", "http://127.0.0.1/?q=1", "gopher://127.0.0.1"] {
        assert_eq!(measure(address).await, form, "{address}");
    }
    assert!(seen.lock().unwrap().is_empty(), "nothing was sent");
    let named = AddressPolicy::Listed(vec![format!("localhost:{port}")]);
    let found = measure_with(Limits::default(), &format!("http://localhost:{port}"), &named).await;
    assert_eq!(found, value(QueryResult::Vector(vec![1.0])), "a listed name may be this machine");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// Protects: a name without addresses is an outcome like others.
#[tokio::test]
async fn unknown_names() {
    let limits = Limits { connect: Duration::from_secs(30), total: Duration::from_secs(30), ..Limits::default() };
    let found = measure_with(limits, "http://tidegate-test.invalid", &AddressPolicy::AnyRemote).await;
    assert_eq!(found, error("the name of the server cannot be resolved"));
}

/// Protects: lists mean what they say.
#[test]
fn lists() {
    let cases = [
        ("prometheus", "http://prometheus:9090", true),
        ("prometheus:9090", "http://prometheus:9090", true),
        ("Prometheus:9090", "http://PROMETHEUS.:9090", true),
        ("prometheus:9091", "http://prometheus:9090", false),
        ("prometheus:80", "http://prometheus", true),
        ("prometheus:443", "https://prometheus", true),
        ("*.svc", "http://prometheus.monitoring.svc", true),
        ("*.svc:9090", "http://prometheus.monitoring.svc:9090", true),
        ("*.svc", "http://svc", false),
        ("*.svc", "http://evilsvc", false),
        ("*.svc", "http://a.svc.evil.example", false),
        ("*", "http://prometheus", false),
        ("*.", "http://prometheus", false),
        ("prometheus", "http://prometheus.evil.example", false),
        ("10.0.0.7", "http://10.0.0.7", true),
        ("10.0.0.7:x", "http://10.0.0.7", false),
        ("[2001:db8::1]:9090", "http://[2001:db8::1]:9090", true),
        ("[2001:db8::1]", "http://[2001:db8::1]:9090", true),
        ("2001:db8::1", "http://[2001:db8::1]", true),
        ("", "http://prometheus", false),
    ];
    for (entry, url, allowed) in cases {
        let policy = AddressPolicy::Listed(vec!["unrelated".into(), entry.into()]);
        let found = policy.check(&url.parse().unwrap());
        assert_eq!(found, if allowed { Ok(()) } else { Err(Refusal::NotListed) }, "{entry} and {url}");
    }
}

/// Protects: each kind of address that is never, or not by default, a metric server.
#[test]
fn addresses() {
    type Checked = Result<(), Refusal>;
    let cases: [(&str, Checked, Checked); 13] = [
        ("10.0.0.1", Ok(()), Ok(())),
        ("203.0.113.7", Ok(()), Ok(())),
        ("2001:db8::1", Ok(()), Ok(())),
        ("127.8.8.8", Err(Refusal::Loopback), Ok(())),
        ("::1", Err(Refusal::Loopback), Ok(())),
        ("0.1.2.3", Err(Refusal::Loopback), Ok(())),
        ("::127.0.0.1", Err(Refusal::Loopback), Ok(())),
        ("2002:7f00:1::", Err(Refusal::Loopback), Ok(())),
        ("169.254.0.1", Err(Refusal::LinkLocal), Err(Refusal::LinkLocal)),
        ("febf::1", Err(Refusal::LinkLocal), Err(Refusal::LinkLocal)),
        ("100.100.100.200", Err(Refusal::LinkLocal), Err(Refusal::LinkLocal)),
        ("224.0.0.1", Err(Refusal::NotOneHost), Err(Refusal::NotOneHost)),
        ("255.255.255.255", Err(Refusal::NotOneHost), Err(Refusal::NotOneHost)),
    ];
    for (text, remote, with_loopback) in cases {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!((check_ip(ip, false), check_ip(ip, true)), (remote, with_loopback), "{text}");
    }
}
