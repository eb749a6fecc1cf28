//! Two replicas on one API server: who acts, what an old leader that wakes up can still do, and what becomes of an
//! election under a dead network, wrong clocks and people's hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::client::{Body, ClientBuilder};
use serde_json::json;
use tidegate::api::names::LEASE;
use tidegate::controller::leader::Leadership;
use tidegate::controller::leader::election::Times;
use tidegate::controller::leader::lease::Candidate;
use tidegate::controller::{Clock, Surroundings, wall_clock};
use tokio::task::JoinHandle;
use tower::{BoxError, Layer, Service};

use crate::crash::{AT_ONCE, End, Story, end, paused};
use crate::faults::{Journal, Wire, Write};
use crate::support;
use crate::world::{World, in_world};

#[expect(clippy::disallowed_methods, reason = "the local monotonic clock is what is tested")]
fn now() -> Instant {
    Instant::now()
}

fn leading(leadership: &Leadership) -> Surroundings {
    leadership.set(Some(now() + Duration::from_secs(3600)));
    Surroundings { leadership: leadership.clone(), ..Surroundings::default() }
}

/// The leader is stopped just before its `nth` write, and another replica carries the story to its end. Then the old one
/// wakes up, with that write already past every check of its own. What the old one did after that, and the end.
async fn stopped(world: &World, story: Story, nth: usize) -> (Vec<String>, End) {
    let name = format!("{}-stopped-{nth}", story.word);
    let journal = Arc::new(Journal::default());
    paused(world, &name, &journal).await;
    story.begin(world, &name).await;
    let (old, new) = (Leadership::standby(), Leadership::standby());
    let (wire, gate) = Wire::holds(&journal, world.judge(&name), nth, |_| true);
    let ctx = world.replica(&wire, leading(&old)).await;
    let mut first = Box::pin(async {
        while old.holds() {
            // Passes that fail are tried again; this one is seen to the end also when its term is over.
            let _ = world.look(&ctx, &name).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    });
    // While nobody polls it, it is as a process that got a SIGSTOP.
    tokio::select! {
        () = &mut first => {}
        () = gate.reached() => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{name}: there is no such write"),
    }
    old.set(Some(now()));
    let second = world.replica(&Wire::new(&journal, world.judge(&name)), leading(&new)).await;
    world.drive(&second, &name, "the new leader comes to the end", story.over).await;
    let known = journal.applied().len();
    gate.open();
    first.await;
    let late = journal.applied()[known..].iter().map(Write::object).collect();
    let known = journal.applied().len();
    world.look(&second, &name).await.unwrap();
    assert_eq!(journal.applied().len(), known, "{name}: not at rest after the old leader woke up");
    assert_eq!(journal.violations(), [] as [String; 0], "{name}");
    (late, end(world, &name, &journal).await)
}

/// How many writes a story has, and how it ends when one replica leads all the way.
async fn golden(world: &World, story: Story) -> (usize, End) {
    let name = format!("{}-golden", story.word);
    let journal = Arc::new(Journal::default());
    paused(world, &name, &journal).await;
    let before = world.story(&journal).len();
    story.begin(world, &name).await;
    let ctx = world.replica(&Wire::new(&journal, world.judge(&name)), leading(&Leadership::standby())).await;
    world.drive(&ctx, &name, "the end", story.over).await;
    (world.story(&journal).len() - before, end(world, &name, &journal).await)
}

/// Protects: one effect. Wherever a leader is stopped between its check and its write, what it still sends when it wakes
/// up fails the test that it carries, and it sends nothing more.
#[tokio::test]
async fn stopped_before_each_write_and_resumed_after_takeover() {
    in_world(async |world| {
        world.error_template("errors", &world.prometheus).await;
        for story in [Story::ABORT, Story::PROMOTE] {
            let (writes, golden) = golden(world, story).await;
            assert!(writes >= 4, "the story has {writes} writes only");
            // The last write is the end: nobody needs to take over after it.
            let all = stream::iter(0..writes).map(|nth| async move { (nth, stopped(world, story, nth).await) }.boxed_local());
            for (nth, (late, end)) in all.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
                assert_eq!(late, [] as [String; 0], "{}, stopped before write {nth}: it came through", story.word);
                assert_eq!(end, golden, "{}, stopped before write {nth}", story.word);
            }
        }
    })
    .await;
}

/// Protects: a canary that was stopped. A leader that slept from before its weight went up wakes up when the weight is
/// where it was again, and the content has failed meanwhile: nothing goes up.
#[tokio::test]
async fn an_old_leader_raises_no_weight_after_an_abort() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        world.error_template("errors", &world.prometheus).await;
        let mut rollout = world.rollout("shop", "shop:1");
        rollout["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
        rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
        world.surroundings("shop").await;
        world.create(&rollout).await;
        let (old, new) = (Leadership::standby(), Leadership::standby());
        let raises = |write: &Write| write.resource == "httproutes" && write.body.to_string().contains("\"value\":50");
        let (wire, gate) = Wire::holds(&journal, world.judge("shop"), 0, raises);
        let ctx = world.replica(&wire, leading(&old)).await;
        let mut first = Box::pin(async {
            world.drive(&ctx, "shop", "shop:1 is stable", |status| status["phase"] == "Healthy").await;
            world.deploy("shop", "shop:2").await;
            while old.holds() {
                let _ = world.look(&ctx, "shop").await;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        });
        tokio::select! {
            () = &mut first => {}
            () = gate.reached() => {}
        }
        old.set(None);
        let second = world.replica(&Wire::new(&journal, world.judge("shop")), leading(&new)).await;
        let paused = |status: &serde_json::Value| status["phase"] == "Paused" && status["currentStepIndex"] == 1;
        world.drive(&second, "shop", "paused at 50", paused).await;
        crate::crash::fail(world, "shop").await;
        world.drive(&second, "shop", "stopped", Story::ABORT.over).await;
        let weights = world.picture("shop").await[0].clone();
        assert_eq!(weights, "stable 100, canary 0");
        let known = journal.applied().len();
        gate.open();
        first.await;
        assert_eq!(journal.applied().len(), known, "{:?}", journal.applied().last());
        assert_eq!(world.picture("shop").await[0], weights);
        assert_eq!(journal.violations(), [] as [String; 0]);
    })
    .await;
}

/// Protects: a standby that is given passes all the same (a lost race at its start): it writes nothing, whatever it sees.
#[tokio::test]
async fn a_standby_sees_everything_and_writes_nothing() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        world.surroundings("shop").await;
        world.create(&world.rollout("shop", "shop:1")).await;
        let (standby, wire) = (Leadership::standby(), Wire::new(&journal, None));
        let surroundings = Surroundings { leadership: standby.clone(), ..Surroundings::default() };
        let ctx = world.replica(&wire, surroundings).await;
        let error = world.look(&ctx, "shop").await.unwrap_err();
        assert_eq!(error.category(), "not_leading", "{error}");
        assert_eq!(journal.len(), 0, "something was sent");
        leading(&standby);
        world.drive(&ctx, "shop", "shop:1 is stable", |status| status["phase"] == "Healthy").await;
    })
    .await;
}

/// Nothing comes back while it is cut, and nothing gets through.
#[derive(Clone, Default)]
struct Cable(Arc<AtomicBool>);

impl<S> Layer<S> for Cable {
    type Service = Cabled<S>;

    fn layer(&self, inner: S) -> Cabled<S> {
        Cabled { inner, cut: Arc::clone(&self.0) }
    }
}

struct Cabled<S> {
    inner: S,
    cut: Arc<AtomicBool>,
}

impl<S, B> Service<Request<Body>> for Cabled<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.cut.load(Ordering::SeqCst) {
            return std::future::pending().boxed();
        }
        let call = self.inner.call(request);
        async move { call.await.map_err(Into::into) }.boxed()
    }
}

/// One that takes part, over a cable and with a clock of its own.
struct Seat {
    leadership: Leadership,
    cable: Cable,
    /// How wrong its wall clock is, in seconds.
    wrong: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

/// An election in miniature: as the real one, five times as fast.
const QUICK: Times = Times {
    lease: Duration::from_millis(2400),
    renew_deadline: Duration::from_millis(1600),
    renew_every: Duration::from_millis(400),
    look_every: Duration::from_millis(200),
    call: Duration::from_millis(600),
};

impl Seat {
    async fn take(namespace: &str) -> Self {
        let (leadership, cable, wrong) = (Leadership::standby(), Cable::default(), Arc::new(AtomicI64::new(0)));
        let mut config = support::config().await.unwrap();
        config.default_retry = false;
        let client = ClientBuilder::try_from(config).unwrap().with_layer(&cable).build();
        let (wall, seconds) = (wall_clock(), Arc::clone(&wrong));
        let clock: Clock = Arc::new(move || wall() + jiff::SignedDuration::from_secs(seconds.load(Ordering::SeqCst)));
        let candidate = Candidate::new(client, namespace, QUICK, leadership.clone(), clock);
        Self { leadership, cable, wrong, task: tokio::spawn(candidate.run()) }
    }

    fn leads(&self) -> bool {
        self.leadership.holds()
    }

    async fn end(self) {
        self.leadership.seal();
        self.task.await.unwrap();
    }
}

/// Watches two seats until `until` says so; they must never both lead. Tells how long it took.
async fn watch(what: &str, seats: [&Seat; 2], mut until: impl FnMut(Duration) -> bool) -> Duration {
    let began = now();
    loop {
        let leads = seats.map(Seat::leads);
        assert_ne!(leads, [true, true], "{what}: both lead");
        if until(began.elapsed()) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Two seats in a new namespace; the first one leads.
async fn two_seats(admin: &Client, test: impl AsyncFnOnce(&str, Seat, Seat)) {
    support::in_namespace(admin, async |namespace| {
        let first = Seat::take(namespace).await;
        support::eventually("the first one leads", async || first.leads()).await;
        let second = Seat::take(namespace).await;
        test(namespace, first, second).await;
    })
    .await;
}

/// Protects: a leader without network. It ceases by its own clock, before anybody else begins; it stands by, and leads
/// again when the other one ends, which takes no lease's time.
#[tokio::test]
async fn a_leader_without_network() {
    let Some(admin) = support::cluster().await else { return };
    two_seats(&admin, async |_, first, second| {
        watch("renewed", [&first, &second], |passed| passed > QUICK.lease * 2).await;
        let term = first.leadership.term();
        assert!(first.leads());
        first.cable.0.store(true, Ordering::SeqCst);
        let ceased = watch("cut", [&first, &second], |_| !first.leads()).await;
        assert!(ceased <= QUICK.renew_deadline, "it led for {ceased:?} more");
        let began = watch("over", [&first, &second], |_| second.leads()).await;
        let most = QUICK.lease + QUICK.look_every + QUICK.call * 2;
        assert!(ceased + began <= most, "nobody led for {:?}", ceased + began);
        first.cable.0.store(false, Ordering::SeqCst);
        watch("back", [&first, &second], |passed| passed > QUICK.lease).await;
        assert!(second.leads() && first.leadership.term() == term);
        let asked = now();
        second.end().await;
        support::eventually("the first one leads again", async || first.leads()).await;
        assert!(asked.elapsed() <= QUICK.look_every + QUICK.call * 2, "after {:?}", asked.elapsed());
        assert_eq!(first.leadership.term(), term + 1);
    })
    .await;
}

/// Protects: elections from wall clocks. The leader's steps by an hour and by a year, back and forth; the other's is a year
/// off: nobody loses or takes anything for it, and a takeover takes its time all the same.
#[tokio::test]
async fn wall_clocks_that_step() {
    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;
    let Some(admin) = support::cluster().await else { return };
    for other in [-YEAR, YEAR] {
        two_seats(&admin, async |_, first, second| {
            second.wrong.store(other, Ordering::SeqCst);
            let term = first.leadership.term();
            for step in [HOUR, -HOUR, YEAR, -YEAR, 0] {
                first.wrong.store(step, Ordering::SeqCst);
                watch("stepped", [&first, &second], |passed| passed > QUICK.renew_every * 2).await;
                assert!(first.leads(), "by {step}");
            }
            watch("stepped", [&first, &second], |passed| passed > QUICK.lease).await;
            assert_eq!((first.leads(), first.leadership.term()), (true, term));
            first.cable.0.store(true, Ordering::SeqCst);
            first.task.abort();
            let began = watch("cut", [&first, &second], |_| second.leads()).await;
            assert!(began >= QUICK.lease - QUICK.renew_every - QUICK.look_every, "it took the lease after {began:?}");
        })
        .await;
    }
}

/// Protects: elections from people's hands. A Lease that is deleted or edited under its holder makes nobody else lead.
#[tokio::test]
async fn a_lease_that_somebody_edits() {
    let Some(admin) = support::cluster().await else { return };
    two_seats(&admin, async |namespace, first, second| {
        let leases: Api<Lease> = Api::namespaced(admin.clone(), namespace);
        let term = first.leadership.term();
        watch("seen", [&first, &second], |passed| passed > QUICK.renew_every).await;
        leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
        watch("deleted", [&first, &second], |passed| passed > QUICK.lease).await;
        assert_eq!((first.leads(), first.leadership.term()), (true, term));
        for number in 0..10 {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"by": number.to_string()}}}));
            leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
            watch("edited", [&first, &second], |passed| passed > Duration::from_millis(150)).await;
        }
        assert_eq!((first.leads(), first.leadership.term()), (true, term));
        // Another holder written in: the one that was written out ceases, and nobody leads before that one's time is over.
        let patch = Patch::Merge(json!({"spec": {"holderIdentity": "somebody"}}));
        leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
        let ceased = watch("written out", [&first, &second], |_| !first.leads()).await;
        assert!(ceased <= QUICK.renew_every + QUICK.call * 2, "it led for {ceased:?} more");
        let began = watch("somebody's", [&first, &second], |_| first.leads() || second.leads()).await;
        assert!(began >= QUICK.lease - QUICK.renew_every - QUICK.call * 2, "taken after {began:?}");
    })
    .await;
}
