//! Looks at the SLOs of an attempt: raw samples for the run that holds the evidence, and that run for the one of a step.

use futures::future::try_join;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use crate::analysis::counting::{Arm, Known, Series, Window, scrapes};
use crate::analysis::provider::{AddressPolicy, Provider, Unread};
use crate::analysis::sequential::Dispersion;
use crate::analysis::slo::{self, Gathered, HISTORY};
use crate::analysis::{Measured, run};
use crate::api::analysis::{AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, Metric};
use crate::api::names;
use crate::api::rollout::Rollout;
use crate::api::slo::{Slo, SloQueries};
use crate::controller::Context;
use crate::controller::error::{Error, find};

/// How far back the last value of a series is looked for that was silent for a while.
const LAST_VALUE: &str = "1h";

/// What is known of the attempt that a run belongs to.
pub struct Subject {
    /// When the present weight was confirmed; none while it is not, or while another attempt is under way.
    weight_at: Option<Timestamp>,
    /// The run that holds the evidence, where this one is a step's.
    evidence: Option<AnalysisRunStatus>,
}

impl Subject {
    /// Looks it up. What this process knows and has not written yet counts, as it does for the decision.
    pub async fn find(ctx: &Context, run: &AnalysisRun) -> Result<Self, Error> {
        let (namespace, subject) = (run.namespace().unwrap_or_default(), &run.spec.subject);
        let rollouts: Api<Rollout> = Api::namespaced(ctx.client.clone(), &namespace);
        let rollout = find("get Rollout", rollouts.get(&subject.rollout)).await?;
        let weight_at = rollout.filter(|rollout| rollout.uid().as_ref() == Some(&subject.rollout_uid)).and_then(|rollout| {
            let recorded = rollout.status.unwrap_or_default();
            let status = ctx.rollout_statuses.base(&subject.rollout_uid, &recorded);
            let current = status.canary.as_ref().is_some_and(|canary| canary.revision == subject.revision)
                && status.attempt.unwrap_or(1) == subject.attempt;
            let weights = status.weights.filter(|weights| current && weights.verified && weights.canary > 0)?;
            Some(weights.verified_at?.0)
        });
        if run.spec.evidence.is_some() {
            return Ok(Self { weight_at, evidence: None });
        }
        let name = names::evidence_run(&subject.rollout, subject.revision, subject.attempt);
        let runs: Api<AnalysisRun> = Api::namespaced(ctx.client.clone(), &namespace);
        let found = find("get AnalysisRun", runs.get(&name)).await?;
        let holder = found.filter(|found| found.spec.evidence.is_some() && found.spec.subject.rollout_uid == subject.rollout_uid);
        let evidence = holder.map(|holder| {
            let recorded = holder.status.clone().unwrap_or_default();
            ctx.run_statuses.base(&holder.uid().unwrap_or_default(), &recorded)
        });
        Ok(Self { weight_at, evidence })
    }

    /// Takes one look.
    pub async fn look(
        &self,
        ctx: &Context,
        policy: &AddressPolicy,
        spec: &AnalysisRunSpec,
        before: &AnalysisRunStatus,
        (metric, of): (&Metric, &Slo),
        at: Timestamp,
    ) -> Measured {
        let Some(evidence) = &spec.evidence else {
            return Measured::Look(slo::look(self.evidence.as_ref(), &metric.name, self.weight_at));
        };
        let ask = slo::ask(metric, evidence, &run::result_of(metric, before), at);
        let reader = Reader { ctx, policy, metric, of };
        match reader.gather(&ask, at, self.weight_at).await {
            Ok(gathered) => Measured::Samples(Box::new(gathered)),
            Err(why) => Measured::Error(why),
        }
    }
}

/// Reads for one metric.
struct Reader<'a> {
    ctx: &'a Context,
    policy: &'a AddressPolicy,
    metric: &'a Metric,
    of: &'a Slo,
}

impl Reader<'_> {
    async fn gather(&self, ask: &slo::Ask, at: Timestamp, weight_at: Option<Timestamp>) -> Result<Gathered, String> {
        let (canary, stable) = self.queries()?;
        let range = |query: &str| format!("{query}[{}ms]", ask.range);
        // What is counted in part of the requests is read after the requests, so that it is never behind.
        let (canary_total, stable_total) =
            try_join(self.read(range(&canary.total), at), self.read(range(&stable.total), at)).await.map_err(Unread::why)?;
        let (canary_part, stable_part) =
            try_join(self.read(range(&canary.part), at), self.read(range(&stable.part), at)).await.map_err(Unread::why)?;
        let arm = |total, part| Arm { total, part };
        let window = Window::checked(arm(canary_total, canary_part), arm(stable_total, stable_part), slo::part(self.of))
            .map_err(|unusable| unusable.to_string())?;
        let cut = Timestamp::from_millisecond(ask.counter.cut()).map_err(|_| "the time of the last round is lost".to_owned())?;
        let queries = [&canary.total, &canary.part, &stable.total, &stable.part];
        let mut known: [Known; 4] = Default::default();
        let strangers = ask.counter.strangers(&window);
        for ((known, query), _) in known.iter_mut().zip(queries).zip(strangers).filter(|(_, asked)| *asked) {
            let last = self.read(format!("last_over_time({query}[{LAST_VALUE}])"), cut).await.map_err(Unread::why)?;
            *known = last.into_iter().filter_map(|series| Some((series.key, series.samples.last()?.value))).collect();
        }
        let history = match ask.history {
            Some(before) => Some(self.history(&stable, before).await?),
            None => None,
        };
        Ok(Gathered { window, known, history, weight_at })
    }

    /// The queries of canary and stable.
    fn queries(&self) -> Result<(SloQueries, SloQueries), String> {
        match (self.of.part(), &self.of.stable) {
            (Some(part), Some(stable)) => {
                Ok((SloQueries { total: self.of.total.clone(), part: part.to_owned() }, stable.clone()))
            }
            _ => Err("the run's slo lacks its queries".to_owned()),
        }
    }

    /// How stable's errors bunched in the hour before. More samples than can be read are as good as none: then it is
    /// measured as the attempt goes on.
    async fn history(&self, stable: &SloQueries, before: Timestamp) -> Result<Dispersion, String> {
        let range = |query: &str| format!("{query}[{HISTORY}ms]");
        let total = self.read(range(&stable.total), before).await;
        let part = self.read(range(&stable.part), before).await;
        match (total, part) {
            (Ok(total), Ok(part)) => Ok(Dispersion::from_history(&scrapes(Arm { total, part }, slo::part(self.of)))),
            (Err(Unread::TooLarge(_)), _) | (_, Err(Unread::TooLarge(_))) => {
                tracing::info!(
                    metric = self.metric.name,
                    "stable's last hour is too large to be read; its dispersion is assumed"
                );
                Ok(Dispersion::UNKNOWN)
            }
            (Err(Unread::Other(why)), _) | (_, Err(Unread::Other(why))) => Err(why),
        }
    }

    async fn read(&self, query: String, at: Timestamp) -> Result<Vec<Series>, Unread> {
        self.ctx.prometheus.samples(&self.metric.provider, self.policy, &query, at).await
    }
}
