//! The lines of a script.

use std::time::Duration;

use super::cluster::Kind;
use super::engine::Engine;
use super::fault::time;
use super::script::Script;
use crate::api::analysis::RunPhase;
use crate::api::request::RolloutAction;
use crate::rollout::trouble;

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}

impl Script {
    /// Carries out one line.
    pub(super) fn command(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        for group in [Self::story, Self::people, Self::world, Self::controller] {
            if group(self, word, rest)? {
                return Ok(());
            }
        }
        Err(format!("'{line}' is no command"))
    }

    /// What an operator does and sees. False: the line is none of these.
    fn story(&mut self, word: &str, rest: &str) -> Result<bool, String> {
        match (word, rest) {
            ("deploy", image) => self.cluster.set_image(image),
            ("wait", length) => self.wait(time(length)?)?,
            ("measure", "good") => (self.measuring, self.measured_each) = (true, 1),
            ("measure", what) if what.starts_with("good each ") => {
                let each = time(what.trim_start_matches("good each "))?.as_secs();
                (self.measuring, self.measured_each) = (true, each.max(1));
            }
            ("measure", "nothing") => self.measuring = false,
            ("verdict", what) => {
                let (step, what) = match what.strip_prefix("of step ").and_then(|rest| rest.split_once(' ')) {
                    Some((step, rest)) => (Some(number(step)?), rest),
                    None => (None, what),
                };
                let (phase, message) = what.split_once(' ').unwrap_or((what, "as the script says"));
                let phase = match phase {
                    "failed" => RunPhase::Failed,
                    "inconclusive" => RunPhase::Inconclusive,
                    "successful" => RunPhase::Successful,
                    "error" => RunPhase::Error,
                    other => return Err(format!("verdict '{other}'; allowed are failed, inconclusive, successful, error")),
                };
                self.measuring &= step.is_some();
                let at = self.engine.now(&self.cluster);
                self.cluster.verdict(phase, message, at, step);
            }
            ("outage", "begins") => self.cluster.set_outage(true),
            ("outage", "ends") => self.cluster.set_outage(false),
            ("abort", "") => self.request(RolloutAction::Abort, None),
            ("promote", "") => self.request(RolloutAction::Promote, None),
            ("promote", "full") => self.request(RolloutAction::PromoteFull, None),
            ("retry", "") => self.request(RolloutAction::Retry, None),
            ("pause", "") => self.request(RolloutAction::Pause, None),
            ("resume", "") => self.request(RolloutAction::Resume, None),
            ("restart", "pods") => self.request(RolloutAction::Restart, None),
            ("undo", "") => self.request(RolloutAction::Undo, None),
            ("undo", revision) => {
                let revision = number(revision)?;
                self.request(RolloutAction::Undo, Some(revision));
            }
            ("runs", "") => self.print_runs(),
            ("replicas", count) => {
                let count = number(count)?;
                self.cluster.edit(|rollout| rollout.spec.replicas = count);
            }
            ("spec", patch) => {
                let patch = serde_json::from_str(patch).map_err(|error| format!("spec: {error}"))?;
                self.cluster.merge_spec(&patch)?;
            }
            ("status", "") => self.print_status(),
            ("roles", "") => self.print_roles(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What other people do to the objects.
    fn people(&mut self, word: &str, rest: &str) -> Result<bool, String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let all = self.cluster.route_names();
        let first = all.first().cloned().unwrap_or_default();
        match (word, &words[..]) {
            ("weight", [weight]) => self.cluster.edit_weight(number(weight)?, None),
            ("weight", [weight, "route", route, "rule", rule]) => {
                self.cluster.edit_weight(number(weight)?, Some((route, number(rule)?)));
            }
            ("route", ["deleted"]) => self.cluster.delete_route(&first),
            ("route", ["created"]) => all.iter().for_each(|name| self.cluster.create_route(name, 1)),
            ("route", [name, "deleted"]) => self.cluster.delete_route(name),
            ("route", [name, "rules", rules]) => {
                self.cluster.delete_route(name);
                self.cluster.create_route(name, number(rules)?);
            }
            ("service", [which, "deleted"]) => self.cluster.delete_service(&self.service_name(which)?),
            ("service", [which, "created"]) => self.cluster.create_service(&self.service_name(which)?),
            ("service", [which, "selects", "none"]) => self.cluster.edit_selector(&self.service_name(which)?, None),
            ("service", [which, "selects", image]) => self.cluster.edit_selector(&self.service_name(which)?, Some(image)),
            ("replicaset", [image, "deleted"]) => self.cluster.delete_set_of(image),
            ("replicaset", [image, "scaled", to]) => self.cluster.scale_set_of(image, number(to)?),
            ("stable", ["pods", left]) => self.cluster.lose_stable_pods(number(left)?),
            ("canary", ["pods", left]) => self.cluster.lose_canary_pods(number(left)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn service_name(&self, which: &str) -> Result<String, String> {
        let canary = &self.cluster.rollout.spec.strategy.canary;
        match which {
            "stable" => Ok(canary.stable_service.clone().unwrap_or_default()),
            "canary" => Ok(canary.canary_service.clone().unwrap_or_default()),
            other => Err(format!("service '{other}'; allowed are stable, canary")),
        }
    }

    /// How the world behaves from now on.
    fn world(&mut self, word: &str, rest: &str) -> Result<bool, String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let world = &mut self.cluster.world;
        let lag = |text: &str| if text == "silent" { Ok(None) } else { time(text).map(Some) };
        match (word, &words[..]) {
            ("gateway", ["of", route, answers]) => {
                let answers = lag(answers)?;
                world.gateways.insert((*route).to_owned(), answers);
            }
            ("gateway", [answers]) => {
                world.gateway_answers_in = lag(answers)?;
                world.gateways.clear();
            }
            ("endpoints", [length]) => world.endpoints_follow_in = time(length)?,
            ("budget", ["none"]) => world.keep_ready = None,
            ("budget", [pods]) => world.keep_ready = Some(number(pods)?),
            ("pods", ["well"]) => {
                world.never_ready.clear();
                world.trouble.clear();
                world.at_most.clear();
            }
            ("pods", ["never", image]) => world.never_ready.push((*image).to_owned()),
            ("pods", ["never", image, why]) => {
                let why = trouble_named(why)?;
                world.never_ready.push((*image).to_owned());
                world.trouble.insert((*image).to_owned(), why);
            }
            ("pods", [image, "at", "most", pods]) => {
                let pods = number(pods)?;
                world.at_most.insert((*image).to_owned(), pods);
            }
            ("pods", [length]) => world.pods_start_in = time(length)?,
            ("refuse", ["nothing"]) => world.refused.clear(),
            ("refuse", ["writes", "of", kind]) => {
                let kind = kind_named(kind)?;
                world.refused.push(kind);
            }
            ("clock", [by]) => {
                let (back, length) = by.strip_prefix('-').map_or((false, by.trim_start_matches('+')), |rest| (true, rest));
                let length = jiff::SignedDuration::try_from(time(length)?).map_err(|error| error.to_string())?;
                self.cluster.set_clock(if back { -length } else { length });
            }
            _ => return Ok(false),
        }
        self.cluster.gateways_answer();
        Ok(true)
    }

    /// What happens to the controllers.
    fn controller(&mut self, word: &str, rest: &str) -> Result<bool, String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (word, &words[..]) {
            ("crash" | "lose" | "refuse", [.., "effect", _] | [.., "effect", _, "away", _]) => {
                self.plan.read(&format!("{word} {rest}"))?;
            }
            ("no", ["more", "faults"]) => {
                self.plan.clear();
                self.late = None;
            }
            ("restart", []) => self.engine.die(&mut self.cluster, Duration::ZERO),
            ("away", [length]) => {
                let length = time(length)?;
                self.engine.die(&mut self.cluster, length);
            }
            ("stale", [length]) => {
                let length = time(length)?;
                self.engine.stale.extend(Kind::ALL.map(|kind| (kind, length)));
            }
            ("stale", [kind, length]) => {
                self.engine.stale.insert(kind_named(kind)?, time(length)?);
            }
            ("late", ["look"]) => {
                let mut late = Engine::new(&self.cluster);
                late.look(&self.cluster);
                self.late = Some(late);
            }
            ("late", ["acts"]) => self.late_acts(usize::MAX),
            ("late", ["acts", times]) => self.late_acts(number(times)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn trouble_named(name: &str) -> Result<trouble::Kind, String> {
    match name {
        "crash" => Ok(trouble::Kind::NotReady),
        "starting" => Ok(trouble::Kind::Starting),
        "unschedulable" => Ok(trouble::Kind::Unschedulable),
        "quota" => Ok(trouble::Kind::QuotaExceeded),
        "refused" => Ok(trouble::Kind::Refused),
        "image" => Ok(trouble::Kind::ImagePull),
        "lost" => Ok(trouble::Kind::NodeLost),
        other => Err(format!(
            "pods never ready for '{other}'; allowed are crash, starting, unschedulable, quota, refused, image, lost"
        )),
    }
}

fn kind_named(name: &str) -> Result<Kind, String> {
    match name {
        "rollout" => Ok(Kind::Rollout),
        "replicasets" => Ok(Kind::ReplicaSets),
        "services" => Ok(Kind::Services),
        "routes" => Ok(Kind::Routes),
        "runs" => Ok(Kind::Runs),
        other => Err(format!("kind '{other}'; allowed are rollout, replicasets, services, routes, runs")),
    }
}
