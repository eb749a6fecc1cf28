//! `undo`: the template of an earlier revision that was promoted, written back into the spec.
//!
//! Two looks: the first records which template is to be written and writes it, the second finds it in the spec and
//! answers. Whatever happens in between, the same template is written, once.

use super::{Draft, Effect, Situation};
use crate::api::request::RolloutRequest;
use crate::api::rollout::{Revision, Undoing};

/// Carries out an `undo`, or says why not. None: it is not done yet, and there is no answer yet.
pub(super) fn carry_out(draft: &mut Draft<'_>, request: &RolloutRequest) -> Option<Result<String, String>> {
    if let Some(undoing) = draft.status.undoing.clone().filter(|undoing| undoing.request == request.id) {
        if draft.spec.digest == undoing.digest {
            draft.status.undoing = None;
            return Some(Ok(done(draft, undoing.revision)));
        }
        if draft.spec.digest != undoing.from {
            draft.status.undoing = None;
            return Some(Err("the template was changed by somebody else meanwhile".to_owned()));
        }
        return write(draft, undoing).err().map(Err);
    }
    let target = match target(draft, request) {
        Ok(target) => target,
        Err(why) => return Some(Err(why)),
    };
    let undoing = Undoing {
        request: request.id.clone(),
        revision: target.revision,
        hash: target.hash,
        digest: target.digest,
        from: draft.spec.digest.clone(),
    };
    write(draft, undoing).err().map(Err)
}

/// Records what is to be written, and writes it.
fn write(draft: &mut Draft<'_>, undoing: Undoing) -> Result<(), String> {
    let Some(template) = draft.seen.templates.get(&undoing.hash) else {
        draft.status.undoing = None;
        return Err(format!(
            "the template of revision {} was not kept (revisionHistoryLimit, or too large); change the template by hand",
            undoing.revision
        ));
    };
    draft.raise.push(Effect::RestoreTemplate {
        hash: undoing.hash.clone(),
        generation: draft.spec.generation,
        template: Box::new(template.clone()),
    });
    draft.status.undoing = Some(undoing);
    Ok(())
}

/// The revision to go back to: the one asked for, else stable while a canary is there, else the one promoted before stable.
fn target(draft: &Draft<'_>, request: &RolloutRequest) -> Result<Revision, String> {
    if let Some(application) = &draft.spec.life.application {
        let commit =
            draft.status.canary.as_ref().or(draft.status.stable.as_ref()).and_then(|revision| revision.commit.as_deref());
        let commit =
            commit.map_or_else(|| "the commit".to_owned(), |commit| format!("commit {}", commit.get(..12).unwrap_or(commit)));
        return Err(format!(
            "its template comes from Git (Application {application}), which would write it again: revert {commit} there; abort takes the traffic back at once"
        ));
    }
    if draft.status.promoting.is_some() {
        return Err("promotion under way, past the point of no return; undo when it is done".to_owned());
    }
    let Some(stable) = &draft.status.stable else {
        return Err("nothing was promoted yet; there is nothing to go back to".to_owned());
    };
    let known = || draft.status.revisions.iter().filter(|revision| revision.promoted_at.is_some());
    let target = match request.to_revision {
        Some(number) if stable.revision == number => stable.clone(),
        Some(number) => known().find(|revision| revision.revision == number).cloned().ok_or_else(|| {
            let numbers: Vec<String> = known().map(|revision| revision.revision.to_string()).collect();
            format!("revision {number} was never promoted, or is not remembered; promoted were {}", numbers.join(", "))
        })?,
        None if draft.situation() != Situation::AtStable => stable.clone(),
        None => known()
            .filter(|revision| revision.digest != stable.digest)
            .max_by_key(|revision| revision.promoted_at.as_ref().map(|at| at.0))
            .cloned()
            .ok_or("no revision before the present one was promoted, or none is remembered")?,
    };
    if draft.status.holds.iter().any(|hold| hold.digest == target.digest) {
        return Err(format!("revision {} failed since, and is held", target.revision));
    }
    if target.digest == draft.spec.digest {
        return Err(format!("the spec asks for revision {} already", target.revision));
    }
    Ok(target)
}

fn done(draft: &Draft<'_>, revision: i64) -> String {
    if draft.situation() == Situation::AtStable {
        format!("the template of revision {revision} is back, which is stable: traffic goes back to it at once")
    } else {
        format!("the template of revision {revision} is back; it goes through the steps")
    }
}
