//! What an autoscaler is told through `/scale`.

use rstest::rstest;

use crate::world;

const ROUTED: &str = "#! {}";
const DYNAMIC: &str = r#"#! {"spec": {"strategy": {"canary": {"dynamicStableScale": true}}}}"#;
const NO_ROUTER: &str = r#"#! {"spec": {"strategy": {"canary": {"trafficRouting": null}}}}"#;

/// Protects: the number that an autoscaler multiplies with. Pods of a canary beside a stable at full strength are not counted
/// on top of it, nor are those that wait to go; where revisions share the replicas, all count, but never more than are wanted.
/// And which pods it measures: those with traffic.
#[rstest]
#[case::before_the_first_is_stable(ROUTED, "wait 1s", 4, "app=web")]
#[case::nothing_under_way(ROUTED, "wait 10s", 4, "app=web,tidegate.dev/pod-template-hash in (stable)")]
#[case::a_canary_without_traffic(
    ROUTED,
    "wait 10s\ndeploy shop:2\nwait 1s",
    4,
    "app=web,tidegate.dev/pod-template-hash in (stable)"
)]
#[case::half_of_the_traffic(
    ROUTED,
    "measure good\nwait 10s\ndeploy shop:2\nwait 50s",
    4,
    "app=web,tidegate.dev/pod-template-hash in (stable,canary)"
)]
#[case::old_pods_wait_to_go(
    ROUTED,
    "measure good\nwait 10s\ndeploy shop:2\nwait 80s",
    4,
    "app=web,tidegate.dev/pod-template-hash in (stable)"
)]
#[case::shared_replicas(
    DYNAMIC,
    "measure good\nwait 10s\ndeploy shop:2\nwait 50s",
    4,
    "app=web,tidegate.dev/pod-template-hash in (stable,canary)"
)]
#[case::pods_are_the_traffic(NO_ROUTER, "measure good\nwait 10s\ndeploy shop:2\nwait 50s", 4, "app=web")]
#[case::pods_above_the_replicas(NO_ROUTER, "wait 10s\npods never shop:2\ndeploy shop:2\nwait 20s", 4, "app=web")]
fn told(#[case] header: &str, #[case] story: &str, #[case] pods: i32, #[case] selector: &str) {
    let status = world::run(&format!("{header}\n{story}")).status;
    let hash = |revision: Option<&tidegate::api::rollout::Revision>| revision.map(|found| found.hash.clone()).unwrap_or_default();
    let mut hashes = vec![hash(status.stable.as_ref())];
    if selector.contains("canary") {
        hashes.push(hash(status.canary.as_ref()));
    }
    hashes.sort();
    let wanted = match selector.split_once(" in (") {
        Some((before, _)) => format!("{before} in ({})", hashes.join(",")),
        None => selector.to_owned(),
    };
    assert_eq!((status.hpa_replicas, status.selector), (pods, Some(wanted)));
}
