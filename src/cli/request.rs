//! Commands to a Rollout: a request written so that it cannot overwrite another unseen, and its answer.

use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::args::Ask;
use super::connect::Session;
use super::error::{CliError, Exit};
use super::text;
use crate::api::Rollout;
use crate::api::names::MANAGER_CLI;
use crate::api::request::{Outcome, RequestAnswer, RolloutAction, RolloutRequest};

/// How often a request is written anew because somebody else's came first.
const TRIES: u32 = 5;

/// The command as a person types it.
#[must_use]
pub const fn verb(action: RolloutAction) -> &'static str {
    match action {
        RolloutAction::Promote => "promote",
        RolloutAction::PromoteFull => "promote --full",
        RolloutAction::Abort => "abort",
        RolloutAction::Retry => "retry",
        RolloutAction::Pause => "pause",
        RolloutAction::Resume => "resume",
        RolloutAction::Undo => "undo",
        RolloutAction::Restart => "restart",
    }
}

/// The request for what the person sees in `seen`.
///
/// The revision always goes along, and the step with a `promote`, so that a command meant for one state is refused
/// in the next. An `abort` carries no step: it must not fail because the canary moved on meanwhile.
#[must_use]
pub fn request(seen: &Rollout, action: RolloutAction, id: String) -> RolloutRequest {
    let status = seen.status.as_ref();
    let revision = status.and_then(|s| s.canary.as_ref().or(s.stable.as_ref())).map(|revision| revision.revision);
    let step = status.and_then(|s| s.current_step_index).filter(|_| action == RolloutAction::Promote);
    RolloutRequest { id, action, revision, step, to_revision: None }
}

/// The request in `spec.request` that has no answer yet.
#[must_use]
pub fn unanswered(rollout: &Rollout) -> Option<&RolloutRequest> {
    rollout.spec.request.as_ref().filter(|request| answer(rollout, &request.id).is_none())
}

/// The answer to the request `id`.
#[must_use]
pub fn answer<'a>(rollout: &'a Rollout, id: &str) -> Option<&'a RequestAnswer> {
    rollout.status.as_ref()?.requests.iter().find(|answer| answer.id == id)
}

/// Writes `request` if the Rollout is still the same one, and its previous request the one that `seen` has.
///
/// # Errors
/// When the request does not fit into JSON, which its type rules out.
pub fn patch(seen: &Rollout, request: &RolloutRequest) -> Result<JsonPatch, serde_json::Error> {
    // JSON Patch: a test for null holds where there is nothing.
    let previous = match &seen.spec.request {
        Some(previous) => test(&["spec", "request", "id"], json!(previous.id)),
        None => test(&["spec", "request"], Value::Null),
    };
    let path = PointerBuf::from_tokens(["spec", "request"]);
    Ok(JsonPatch(vec![
        test(&["metadata", "uid"], json!(seen.metadata.uid)),
        previous,
        PatchOperation::Add(AddOperation { path, value: serde_json::to_value(request)? }),
    ]))
}

fn test(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

/// Asks for `action` (an `undo` also says `to_revision`), waits for the answer at most as long as was said, and prints it.
///
/// # Errors
/// `Refused` with the controller's reason, or when another request has no answer yet; `TimedOut` when the controller
/// gives none; and what the API server refuses.
pub async fn ask(
    session: &mut Session<'_>,
    ask: &Ask,
    action: RolloutAction,
    to_revision: Option<i64>,
) -> Result<Exit, CliError> {
    let name = ask.name.as_str();
    let until = Instant::now() + ask.timeout.std();
    let seen = read(session, name).await?;
    let id = format!("{:x}-{:x}", session.now().as_nanosecond(), std::process::id());
    let wish = RolloutRequest { to_revision, ..request(&seen, action, id) };
    write(session, name, seen, &wish, until).await?;
    let answer = wait(session, name, &wish, until).await?;
    let line = format!("{}: {}", text::clean(name, 253), words(&answer));
    match answer.outcome {
        Outcome::Done => {
            writeln!(session.out, "{line}")?;
            Ok(Exit::Done)
        }
        Outcome::Refused => Err(CliError::new(Exit::Refused, &line)),
        Outcome::Superseded => Err(CliError::new(Exit::Refused, &line)
            .hint(&format!("the Rollout moved on since you looked; look again: kubectl tidegate get rollout {name}"))),
    }
}

fn words(answer: &RequestAnswer) -> String {
    let outcome = match answer.outcome {
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Superseded => "superseded",
    };
    let message = text::clean(&answer.message, 400);
    if message.is_empty() {
        format!("{} {outcome}", verb(answer.action))
    } else {
        format!("{} {outcome}: {message}", verb(answer.action))
    }
}

async fn read(session: &Session<'_>, name: &str) -> Result<Rollout, CliError> {
    let object = session.get::<Rollout>(name).await?;
    Session::typed(&object)
}

/// Gets `wish` into `spec.request`. Somebody else's unanswered request is waited for; only an abort goes over it.
async fn write(
    session: &Session<'_>,
    name: &str,
    mut current: Rollout,
    wish: &RolloutRequest,
    until: Instant,
) -> Result<(), CliError> {
    let uid = current.metadata.uid.clone();
    let mut tries = 0;
    loop {
        if current.metadata.uid != uid {
            return Err(CliError::new(
                Exit::Refused,
                &format!("the Rollout {name} was deleted and created anew since you looked"),
            ));
        }
        match unanswered(&current) {
            Some(pending) if wish.action != RolloutAction::Abort => {
                if Instant::now() >= until {
                    return Err(still_pending(name, pending));
                }
                tokio::time::sleep(session.poll).await;
            }
            _ => {
                tries += 1;
                let error = match put(session, name, &current, wish).await {
                    Ok(()) => return Ok(()),
                    Err(error) if error.exit != Exit::Unexpected => return Err(error),
                    Err(error) => error,
                };
                // 422 is a failed test as well as a refused value; only the object tells which.
                let next = read(session, name).await?;
                if next.spec.request == current.spec.request && next.metadata.uid == uid || tries == TRIES {
                    return Err(error);
                }
                current = next;
                continue;
            }
        }
        current = read(session, name).await?;
    }
}

fn still_pending(name: &str, pending: &RolloutRequest) -> CliError {
    let message = format!("{name}: an earlier request ({}) has no answer yet", verb(pending.action));
    CliError::new(Exit::Refused, &message).hint(
        "is the controller running? kubectl -n tidegate-system get pods. Only an abort goes over a request without an answer",
    )
}

/// One try.
async fn put(session: &Session<'_>, name: &str, seen: &Rollout, wish: &RolloutRequest) -> Result<(), CliError> {
    let doing = format!("ask for {}", verb(wish.action));
    let operations =
        patch(seen, wish).map_err(|error| CliError::new(Exit::Unexpected, &format!("failed to {doing}: {error}")))?;
    let params = PatchParams { field_manager: Some(MANAGER_CLI.to_owned()), ..PatchParams::default() };
    let api = session.api::<Rollout>();
    session.call(&doing, api.patch(name, &params, &Patch::Json::<()>(operations))).await.map(|_| ())
}

/// Looks until `wish` is answered.
async fn wait(session: &Session<'_>, name: &str, wish: &RolloutRequest, until: Instant) -> Result<RequestAnswer, CliError> {
    loop {
        let current = match read(session, name).await {
            Ok(current) => current,
            // The request stands; a lost connection does not end the waiting before its time.
            Err(error) if error.exit == Exit::Unreachable && Instant::now() < until => {
                tokio::time::sleep(session.poll).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = answer(&current, &wish.id) {
            return Ok(answer.clone());
        }
        match &current.spec.request {
            Some(request) if request.id == wish.id => {}
            Some(other) => {
                let message =
                    format!("{name}: {} was overwritten by another request ({})", verb(wish.action), verb(other.action));
                return Err(CliError::new(Exit::Refused, &message));
            }
            None => {
                let message = format!("{name}: {} was withdrawn before it was answered", verb(wish.action));
                return Err(CliError::new(Exit::Refused, &message));
            }
        }
        if Instant::now() >= until {
            let message = format!("{name}: {} has no answer yet", verb(wish.action));
            return Err(CliError::new(Exit::TimedOut, &message).hint(
                "the request stands and will be carried out; is the controller running? kubectl -n tidegate-system get pods",
            ));
        }
        tokio::time::sleep(session.poll).await;
    }
}
