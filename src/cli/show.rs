//! `get` and `status`.

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::args::{Explain, Get, Kind, Output, StatusArgs};
use super::connect::Session;
use super::error::{CliError, Exit};
use super::{render, text};
use crate::api::names;
use crate::api::rollout::{PauseReason, RolloutPhase, RolloutStatus, WaitingReason};
use crate::api::{AnalysisRun, Application, Rollout};

/// How long a lost connection is borne while watching, in looks at the Rollout.
const BORNE: u32 = 30;
/// Objects per answer when all are listed.
const PAGE: u32 = 500;

/// Carries out `get`.
///
/// # Errors
/// What the API server refuses, and `NotFound` with near names.
pub async fn get(session: &mut Session<'_>, args: &Get) -> Result<Exit, CliError> {
    match args.kind {
        Kind::Rollout => get_kind::<Rollout>(session, args, render::rollout, render::rollout_table).await,
        Kind::Application => get_kind::<Application>(session, args, render::application, render::application_table).await,
    }
}

async fn get_kind<K>(
    session: &mut Session<'_>,
    args: &Get,
    one: impl Fn(&K, jiff::Timestamp) -> String,
    table: impl Fn(&[K], bool, jiff::Timestamp) -> String,
) -> Result<Exit, CliError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    let objects = match &args.name {
        Some(name) => vec![session.get::<K>(name).await?],
        None => list::<K>(session, args.all_namespaces).await?,
    };
    let now = session.now();
    let out = match args.output {
        Some(Output::Name) => {
            let plural = K::plural(&());
            let line = |object: &DynamicObject| {
                let kind = plural.trim_end_matches('s');
                format!("{kind}.{}/{}\n", K::group(&()), text::clean(&object.name_any(), 253))
            };
            objects.iter().map(line).collect()
        }
        Some(form) => serialized(objects, args.name.is_some(), form)?,
        None => {
            let typed = objects.iter().map(Session::typed::<K>).collect::<Result<Vec<_>, _>>()?;
            match typed.as_slice() {
                [object] if args.name.is_some() => one(object, now),
                [] if args.all_namespaces => "There is none in this cluster.\n".to_owned(),
                [] => format!("There is none in namespace {}.\n", session.namespace),
                all => table(all, args.all_namespaces, now),
            }
        }
    };
    session.out.write_all(out.as_bytes())?;
    Ok(Exit::Done)
}

async fn list<K>(session: &Session<'_>, everywhere: bool) -> Result<Vec<DynamicObject>, CliError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let api = if everywhere { Api::all_with(session.client.clone(), &ApiResource::erase::<K>(&())) } else { session.api::<K>() };
    let doing = format!("list {}", K::plural(&()));
    let mut all: Vec<DynamicObject> = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = session.call(&doing, api.list(&params)).await?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        all.extend(page.items);
        match next {
            Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// JSON or YAML, as kubectl shows it: without managedFields.
fn serialized(mut objects: Vec<DynamicObject>, single: bool, form: Output) -> Result<String, CliError> {
    let unexpected =
        |error: &dyn std::fmt::Display| CliError::new(Exit::Unexpected, &format!("failed to write the object: {error}"));
    for object in &mut objects {
        object.metadata.managed_fields = None;
    }
    let values = objects.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>().map_err(|e| unexpected(&e))?;
    let value = match <[Value; 1]>::try_from(values) {
        Ok([value]) if single => value,
        Ok([value]) => json!({"apiVersion": "v1", "kind": "List", "items": [value]}),
        Err(values) => json!({"apiVersion": "v1", "kind": "List", "items": values}),
    };
    if form == Output::Yaml {
        serde_saphyr::to_string(&value).map_err(|e| unexpected(&e))
    } else {
        serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(|e| unexpected(&e))
    }
}

/// Carries out `explain`: the runs of the attempt under way; where none is, those of the last one on what is stable.
///
/// # Errors
/// What the API server refuses, and `NotFound` with near names.
pub async fn explain(session: &mut Session<'_>, args: &Explain) -> Result<Exit, CliError> {
    let object = session.get::<Rollout>(&args.name).await?;
    let rollout: Rollout = Session::typed(&object)?;
    let params = ListParams::default().labels(&format!("{}={}", names::ROLLOUT, args.name));
    let found = session.call("list analysisruns", session.api::<AnalysisRun>().list(&params)).await?;
    let runs = found.items.iter().map(Session::typed::<AnalysisRun>).collect::<Result<Vec<_>, _>>()?;
    let text = render::explanation(&rollout, &runs, session.now());
    session.out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Carries out `status`: one line now, or with `--watch` a line for each change until there is an end.
///
/// # Errors
/// What the API server refuses; `TimedOut` with what is waited for.
pub async fn status(session: &mut Session<'_>, args: &StatusArgs) -> Result<Exit, CliError> {
    let watch = args.watch || args.timeout.is_some();
    let until = args.timeout.map(|timeout| Instant::now() + timeout.std());
    let mut shown = String::new();
    let mut lost = 0;
    loop {
        let found = session.get::<Rollout>(&args.name).await.and_then(|object| Session::typed::<Rollout>(&object));
        let over = until.is_some_and(|until| Instant::now() >= until);
        match found {
            Ok(rollout) => {
                lost = 0;
                let line = render::rollout_line(&rollout);
                if line != shown {
                    writeln!(session.out, "{line}")?;
                    shown = line;
                }
                match verdict(&rollout) {
                    Exit::TimedOut if watch && !over => {}
                    Exit::TimedOut if watch => {
                        let message = format!("{}: not there when the time was over", args.name);
                        return Err(CliError::new(Exit::TimedOut, &message)
                            .hint(&format!("kubectl tidegate get rollout {} shows what it waits on", args.name)));
                    }
                    end => return Ok(end),
                }
            }
            Err(error) if error.exit == Exit::Unreachable && watch && !over && lost < BORNE => lost += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(session.poll).await;
    }
}

/// What a Rollout's status means to somebody who waits for it: `Done`, `Degraded`, `WaitsForPerson`, or `TimedOut`
/// for all that goes on by itself. A status that speaks of an older spec is one of those.
#[must_use]
pub fn verdict(rollout: &Rollout) -> Exit {
    let Some(status) = &rollout.status else { return Exit::TimedOut };
    if render::is_outdated(rollout, status) {
        return Exit::TimedOut;
    }
    match status.phase {
        Some(RolloutPhase::Healthy) => Exit::Done,
        Some(RolloutPhase::Degraded) => Exit::Degraded,
        Some(RolloutPhase::Paused) if needs_person(status) => Exit::WaitsForPerson,
        Some(RolloutPhase::Paused | RolloutPhase::Progressing) | None => Exit::TimedOut,
    }
}

/// A timed pause ends by itself, and an analysis without values goes on when they come back.
fn needs_person(status: &RolloutStatus) -> bool {
    let waits = status.waiting_on.as_ref().map(|waiting| waiting.reason);
    let inconclusive = status.pause_conditions.iter().any(|pause| pause.reason == PauseReason::InconclusiveAnalysis);
    inconclusive || waits == Some(WaitingReason::UserPromotion)
}
