//! Exactly what each command sends, and what it makes of the answers.

use serde_json::{Value, json};
use tidegate::cli::error::Exit;

use crate::fixtures;
use crate::script::{self, Answer, ID, ok, refusal};

const WEB: &str = "GET /apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web";

/// The one write of a command.
fn write(operations: &str) -> String {
    format!(
        "PATCH /apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web?&fieldManager=kubectl-tidegate\napplication/json-patch+json\n{operations}"
    )
}

fn test_uid() -> &'static str {
    r#"{"op":"test","path":"/metadata/uid","value":"u1"}"#
}

/// `rollout` with our request in it, and an answer.
fn answered(mut rollout: Value, action: &str, outcome: &str, message: &str) -> Value {
    rollout["spec"]["request"] = json!({"id": ID, "action": action});
    rollout["status"]["requests"] =
        json!([{"id": ID, "action": action, "outcome": outcome, "message": message, "at": "2026-11-21T10:30:01.000000Z"}]);
    rollout
}

fn with_request(mut rollout: Value, id: &str, action: &str) -> Value {
    rollout["spec"]["request"] = json!({"id": id, "action": action, "revision": 4});
    rollout
}

/// Protects: a command is one write that fails when somebody else's came between, it names the revision that the
/// person saw (and the step, where that matters), and nothing else is written.
#[tokio::test]
async fn each_command_is_one_guarded_write() {
    let first = r#"{"op":"test","path":"/spec/request","value":null}"#;
    for (line, action, body) in [
        ("promote web", "promote", r#"{"action":"promote","id":"THE-ID","revision":4,"step":3}"#),
        ("promote web --full", "promoteFull", r#"{"action":"promoteFull","id":"THE-ID","revision":4}"#),
        ("abort web", "abort", r#"{"action":"abort","id":"THE-ID","revision":4}"#),
        ("retry web", "retry", r#"{"action":"retry","id":"THE-ID","revision":4}"#),
        ("pause web", "pause", r#"{"action":"pause","id":"THE-ID","revision":4}"#),
        ("resume web", "resume", r#"{"action":"resume","id":"THE-ID","revision":4}"#),
        ("restart web", "restart", r#"{"action":"restart","id":"THE-ID","revision":4}"#),
        ("undo web", "undo", r#"{"action":"undo","id":"THE-ID","revision":4}"#),
        ("undo web --to-revision 2", "undo", r#"{"action":"undo","id":"THE-ID","revision":4,"toRevision":2}"#),
    ] {
        let seen = fixtures::waiting_for_person();
        let done = answered(seen.clone(), action, "Done", "as you wish");
        let ran = script::run(line, vec![ok(seen.clone()), ok(seen.clone()), ok(with_request(seen, ID, action)), ok(done)]).await;
        let patch = write(&format!("[{},{first},{{\"op\":\"add\",\"path\":\"/spec/request\",\"value\":{body}}}]", test_uid()));
        assert_eq!(ran.asked, [WEB.to_owned(), patch, WEB.to_owned(), WEB.to_owned()], "{line}");
        assert_eq!(ran.result, Ok(Exit::Done), "{line}");
        let verb = line.replace(" web", "").replace(" --to-revision 2", "");
        assert_eq!(ran.out, format!("web: {verb} done: as you wish\n"));
    }
}

/// Protects: without a canary the command speaks of stable's revision.
#[tokio::test]
async fn without_a_canary_stable_is_meant() {
    let seen = fixtures::held();
    let done = answered(seen.clone(), "retry", "Done", "");
    let ran = script::run("retry web", vec![ok(seen.clone()), ok(seen), ok(done)]).await;
    assert!(ran.asked[1].contains(r#""action":"retry","id":"THE-ID","revision":3}"#), "{}", ran.asked[1]);
    assert_eq!(ran.out, "web: retry done\n");
}

/// Protects: an abort goes over a request that nobody answered, and tests that it is still that one.
#[tokio::test]
async fn abort_goes_over_an_unanswered_request() {
    let seen = with_request(fixtures::stepping(), "theirs", "promote");
    let done = answered(seen.clone(), "abort", "Done", "traffic goes back to stable");
    let ran = script::run("abort web", vec![ok(seen.clone()), ok(seen), ok(done)]).await;
    let previous = r#"{"op":"test","path":"/spec/request/id","value":"theirs"}"#;
    let wish = r#"{"op":"add","path":"/spec/request","value":{"action":"abort","id":"THE-ID","revision":4}}"#;
    assert_eq!(ran.asked[1], write(&format!("[{},{previous},{wish}]", test_uid())));
    assert_eq!(ran.result, Ok(Exit::Done));
}

/// Protects: a promote never goes over somebody's unanswered request: it waits, and gives up with the reason.
#[tokio::test]
async fn promote_waits_for_the_answer_to_another_request() {
    let pending = with_request(fixtures::waiting_for_person(), "theirs", "retry");
    let ran = script::run("promote web --timeout 0s", vec![ok(pending.clone())]).await;
    let error = ran.result.unwrap_err();
    assert_eq!((error.exit, error.message.as_str()), (Exit::Refused, "web: an earlier request (retry) has no answer yet"));
    assert_eq!(ran.asked, [WEB], "nothing was written");

    let mut free = pending.clone();
    free["status"]["requests"] =
        json!([{"id": "theirs", "action": "retry", "outcome": "Refused", "message": "", "at": "2026-11-21T10:30:01.000000Z"}]);
    let done = answered(free.clone(), "promote", "Done", "");
    let ran = script::run("promote web", vec![ok(pending), ok(free.clone()), ok(free), ok(done)]).await;
    assert!(ran.asked[2].contains(r#"{"op":"test","path":"/spec/request/id","value":"theirs"}"#), "{}", ran.asked[2]);
    assert_eq!(ran.result, Ok(Exit::Done));
}

/// Protects: when another request came first, the command looks again instead of overwriting or giving up; what the
/// person saw stays what they first saw.
#[tokio::test]
async fn a_lost_race_is_run_again() {
    let seen = fixtures::waiting_for_person();
    let raced = with_request(fixtures::stepping(), "theirs", "promote");
    let failed_test = || refusal(422, "Invalid", "the server rejected our request due to an error in our request", "web");
    let done = answered(raced.clone(), "abort", "Done", "");
    let ran = script::run("abort web", vec![ok(seen.clone()), failed_test(), ok(raced.clone()), ok(raced), ok(done)]).await;
    assert!(ran.asked[3].contains(r#""path":"/spec/request/id","value":"theirs""#), "{}", ran.asked[3]);
    assert!(ran.asked[3].contains(r#""revision":4"#), "{}", ran.asked[3]);
    assert_eq!(ran.result, Ok(Exit::Done));

    // Nothing changed in between: the refusal is about the request itself, and is not repeated.
    let ran = script::run("abort web", vec![ok(seen.clone()), failed_test(), ok(seen)]).await;
    assert_eq!(ran.result.unwrap_err().exit, Exit::Unexpected);
}

/// Protects: a Rollout deleted and created anew under a person's hands is another one.
#[tokio::test]
async fn another_rollout_of_the_same_name_gets_no_command() {
    let seen = fixtures::waiting_for_person();
    let mut other = seen.clone();
    other["metadata"]["uid"] = json!("u2");
    let failed_test = refusal(422, "Invalid", "the server rejected our request due to an error in our request", "web");
    let ran = script::run("promote web", vec![ok(seen), failed_test, ok(other)]).await;
    let error = ran.result.unwrap_err();
    let message = "the Rollout web was deleted and created anew since you looked";
    assert_eq!((error.exit, error.message.as_str()), (Exit::Refused, message));
}

/// Protects: a refusal, a superseded request, an overwritten one and silence each end with their code and reason.
#[tokio::test]
async fn bad_answers() {
    let seen = fixtures::waiting_for_person();
    let cases: [(Vec<Answer>, Exit, &str); 5] = [
        (
            vec![ok(answered(seen.clone(), "promote", "Refused", "not while aborted"))],
            Exit::Refused,
            "web: promote refused: not while aborted",
        ),
        (
            vec![ok(answered(seen.clone(), "promote", "Superseded", "step is 4"))],
            Exit::Refused,
            "web: promote superseded: step is 4",
        ),
        (
            vec![ok(with_request(seen.clone(), "theirs", "abort"))],
            Exit::Refused,
            "web: promote was overwritten by another request (abort)",
        ),
        (vec![ok(seen.clone())], Exit::Refused, "web: promote was withdrawn before it was answered"),
        (vec![ok(with_request(seen.clone(), ID, "promote"))], Exit::TimedOut, "web: promote has no answer yet"),
    ];
    for (answers, exit, message) in cases {
        let script = [ok(seen.clone()), ok(seen.clone())].into_iter().chain(answers).collect();
        let ran = script::run("promote web --timeout 0s", script).await;
        let error = ran.result.unwrap_err();
        assert_eq!((error.exit, error.message.as_str(), ran.out.as_str()), (exit, message, ""));
    }
}

/// Protects: a connection lost while waiting does not lose the answer.
#[tokio::test]
async fn waiting_outlives_a_lost_connection() {
    let seen = fixtures::waiting_for_person();
    let done = answered(seen.clone(), "promote", "Done", "");
    let away = refusal(503, "ServiceUnavailable", "etcd is away", "web");
    let ran = script::run("promote web", vec![ok(seen.clone()), ok(seen), away, Answer::Hang, ok(done)]).await;
    assert_eq!(ran.result, Ok(Exit::Done));
}

/// Protects: `status` looks once; `--watch` prints changes until there is an end, and bears a lost connection.
#[tokio::test]
async fn status_and_watch() {
    let ran = script::run("status web", vec![ok(fixtures::stepping())]).await;
    assert_eq!((ran.result, ran.asked), (Ok(Exit::TimedOut), vec![WEB.to_owned()]));

    let away = refusal(500, "InternalError", "etcd is away", "web");
    let answers =
        vec![ok(fixtures::stepping()), ok(fixtures::stepping()), away, ok(fixtures::timed_pause()), ok(fixtures::failed())];
    let ran = script::run("status web --watch", answers).await;
    assert_eq!(ran.result, Ok(Exit::Degraded));
    assert_eq!(
        ran.out,
        "web: Progressing: goes through its steps (step 1/4, canary at 10 %)\n\
         web: Paused: pauses for 1m (step 2/4, canary at 10 %)\n\
         web: Degraded: AnalysisFailed: availability was 0.91, wanted at least 0.99 (step 3/4, canary at 0 %)\n"
    );

    let ran = script::run("status web --timeout 0s", vec![ok(fixtures::stepping())]).await;
    let error = ran.result.unwrap_err();
    assert_eq!((error.exit, error.message.as_str()), (Exit::TimedOut, "web: not there when the time was over"));
}

/// Protects: `get` asks for what was named, in the forms that scripts read, and shows fields that it does not know.
#[tokio::test]
async fn get_in_its_forms() {
    let mut newer = fixtures::healthy();
    newer["spec"]["fromTheFuture"] = json!(true);
    newer["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply"}]);
    let ran = script::run("get ro web -o json", vec![ok(newer.clone())]).await;
    let mut shown: Value = serde_json::from_str(&ran.out).unwrap();
    newer["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!(shown, newer);

    let list = || {
        ok(json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutList", "metadata": {}, "items": [fixtures::healthy()]}))
    };
    let ran = script::run("get rollouts -n blue -o yaml", vec![list()]).await;
    assert_eq!(ran.asked, ["GET /apis/tidegate.dev/v1alpha1/namespaces/blue/rollouts?&limit=500"]);
    shown = serde_saphyr::from_str(&ran.out).unwrap();
    assert_eq!((&shown["kind"], &shown["items"][0]["metadata"]["name"]), (&json!("List"), &json!("web")));

    let ran = script::run("get ro -A -o name", vec![list()]).await;
    assert_eq!(ran.asked, ["GET /apis/tidegate.dev/v1alpha1/rollouts?&limit=500"]);
    assert_eq!(ran.out, "rollout.tidegate.dev/web\n");

    let ran = script::run("get app shop", vec![ok(fixtures::application())]).await;
    assert_eq!(ran.asked, ["GET /apis/tidegate.dev/v1alpha1/namespaces/shop/applications/shop"]);
    assert!(ran.out.starts_with("Application shop/shop\n"), "{}", ran.out);
}

/// Protects: all pages of a long list are shown.
#[tokio::test]
async fn long_lists_are_read_to_the_end() {
    let page = |token: &str| {
        ok(json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": token}, "items": [fixtures::healthy()]}))
    };
    let ran = script::run("get ro -o name", vec![page("more"), page("")]).await;
    assert_eq!(ran.asked[1], "GET /apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts?&limit=500&continue=more");
    assert_eq!(ran.out, "rollout.tidegate.dev/web\nrollout.tidegate.dev/web\n");
}

/// Protects: `explain` reads, and nothing else.
#[tokio::test]
async fn explain_reads_the_runs() {
    let list =
        json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRunList", "metadata": {}, "items": fixtures::runs()});
    let ran = script::run("explain web", vec![ok(fixtures::stepping()), ok(list)]).await;
    let runs = "GET /apis/tidegate.dev/v1alpha1/namespaces/shop/analysisruns?&labelSelector=tidegate.dev%2Frollout%3Dweb";
    assert_eq!(ran.asked, [WEB, runs]);
    assert_eq!(ran.result, Ok(Exit::Done));
    assert!(ran.out.starts_with("Rollout shop/web, canary revision 4\n\nweb-4-1-slo: Failed: "), "{}", ran.out);
}
