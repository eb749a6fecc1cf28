//! An API server that answers from a script and writes down what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tidegate::cli::connect::Session;
use tidegate::cli::error::{CliError, Exit};

/// The generated id of a request stands as this in what was asked, and may stand so in answers.
pub const ID: &str = "THE-ID";

/// One answer.
pub enum Answer {
    /// Status code and body.
    Say(u16, Value),
    /// None, ever.
    Hang,
}

/// An object, with code 200.
pub fn ok(value: Value) -> Answer {
    Answer::Say(200, value)
}

/// A refusal as the API server writes it.
pub fn refusal(code: u16, reason: &str, message: &str, name: &str) -> Answer {
    let details = json!({"name": name, "group": "tidegate.dev", "kind": "rollouts"});
    Answer::Say(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details}),
    )
}

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    asked: Vec<String>,
    id: Option<String>,
}

/// What came of a command.
#[derive(Debug)]
pub struct Ran {
    pub result: Result<Exit, CliError>,
    pub out: String,
    pub asked: Vec<String>,
}

/// Runs `line` (without the program's name) against the script. Panics when the script has answers left.
pub async fn run(line: &str, answers: Vec<Answer>) -> Ran {
    let state = Arc::new(Mutex::new(State { answers: answers.into(), ..State::default() }));
    let shared = Arc::clone(&state);
    let service = tower::service_fn(move |request: Request<Body>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let words = std::iter::once("kubectl tidegate").chain(line.split(' '));
    let parsed = <tidegate::cli::args::Line as clap::Parser>::try_parse_from(words).unwrap();
    let mut out = Vec::new();
    let mut session = Session {
        client: Client::new(service, "shop"),
        namespace: parsed.target.namespace.clone().unwrap_or_else(|| "shop".to_owned()),
        deadline: Duration::from_millis(200),
        poll: Duration::from_millis(1),
        out: &mut out,
    };
    let result = tidegate::cli::execute(&parsed.command, &mut session).await;
    drop(session);
    let state = state.lock().unwrap();
    assert!(state.answers.is_empty(), "{} answers were not asked for; asked: {:#?}", state.answers.len(), state.asked);
    Ran { result, out: String::from_utf8(out).unwrap(), asked: state.asked.clone() }
}

async fn answer(state: &Arc<Mutex<State>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let next = {
        let mut state = state.lock().unwrap();
        let mut line = format!("{} {}", head.method, head.uri);
        if let Some(kind) = head.headers.get("content-type").filter(|_| !body.is_empty()) {
            // Keys sorted: their order means nothing.
            let mut operations: Value = serde_json::from_str(&body).unwrap();
            operations.sort_all_objects();
            line = format!("{line}\n{}\n{operations}", kind.to_str().unwrap());
            if let Some(id) = operations[2]["value"]["id"].as_str() {
                line = line.replace(id, ID);
                state.id = Some(id.to_owned());
            }
        }
        state.asked.push(line);
        let id = state.id.clone().unwrap_or_default();
        let answer = state.answers.pop_front();
        assert!(answer.is_some(), "one question more than the script has answers: {:#?}", state.asked);
        (answer.unwrap(), id)
    };
    match next {
        (Answer::Say(code, value), id) => {
            let text = value.to_string().replace(ID, &id);
            Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap()
        }
        (Answer::Hang, _) => std::future::pending().await,
    }
}
