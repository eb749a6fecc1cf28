use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rstest::rstest;

use super::*;

fn bounds(replicas: i32, max_surge: i32, max_unavailable: i32) -> Bounds {
    Bounds::new(replicas, PodCount::Pods(max_surge), PodCount::Pods(max_unavailable))
}

/// Protects: the sizes that people know from Argo Rollouts, and where that one leaves the canary, or stable, without pods,
/// sizes that do not.
#[rstest]
// With a surge.
#[case(10, 1, &[(10, 1, 9), (5, 1, 10), (25, 3, 8), (33, 3, 7), (75, 8, 3), (0, 0, 10), (100, 10, 0)])]
#[case(5, 1, &[(25, 1, 4)])]
#[case(4, 1, &[(50, 2, 2)])]
#[case(3, 1, &[(33, 1, 2)])]
#[case(2, 1, &[(10, 1, 2), (90, 2, 1)])]
#[case(1, 1, &[(1, 1, 1), (49, 1, 1), (50, 1, 1), (99, 1, 1), (0, 0, 1), (100, 1, 0)])]
// Without.
#[case(10, 0, &[(25, 3, 7), (95, 9, 1), (1, 1, 9)])]
#[case(5, 0, &[(50, 3, 2), (90, 4, 1)])]
#[case(1, 0, &[(49, 0, 1), (50, 1, 0)])]
#[case(2, 0, &[(75, 1, 1), (1, 1, 1), (99, 1, 1)])]
#[case(25, 0, &[(98, 24, 1)])]
#[case(50, 0, &[(99, 49, 1)])]
#[case(0, 1, &[(0, 0, 0), (50, 0, 0), (100, 0, 0)])]
fn table(#[case] replicas: i32, #[case] surge: i32, #[case] wanted: &[(i32, i32, i32)]) {
    let bounds = bounds(replicas, surge, 1);
    let found = wanted.iter().map(|(weight, _, _)| split(bounds, *weight));
    let found: Vec<_> = found.zip(wanted).map(|(split, (weight, _, _))| (*weight, split.canary, split.stable)).collect();
    assert_eq!(found, wanted);
}

/// Protects: the ratio. Of all splits of the same or one more pod that are allowed, none is closer to the weight, but for
/// a canary that would have more pods than its share of the replicas rounded up.
#[test]
fn no_split_is_closer() {
    for replicas in 0_i64..=60 {
        for weight in 0_i64..=100 {
            for surge in 0_i64..=1 {
                let found = split(
                    bounds(i32::try_from(replicas).unwrap(), i32::try_from(surge).unwrap(), 1),
                    i32::try_from(weight).unwrap(),
                );
                let (canary, stable) = (i64::from(found.canary), i64::from(found.stable));
                let total = canary + stable;
                let place = format!("{replicas} at {weight} %, surge {surge}: {canary}/{stable}");
                assert!(total == replicas || (surge == 1 && total == replicas + 1), "{place}");
                let (least, most) = (replicas * weight / 100, (replicas * weight + 99) / 100);
                assert!((least..=most).contains(&canary), "{place}");
                let lonely = weight > 0 && weight < 100 && replicas + surge > 1 && replicas > 0;
                assert!(!lonely || (canary > 0 && stable > 0), "{place}");
                for other_total in replicas..=replicas + surge {
                    for other in least..=most.min(other_total) {
                        if total == 0 || other_total == 0 || (lonely && (other == 0 || other == other_total)) {
                            continue;
                        }
                        let far = |canary: i64, total: i64| (canary * 100 - weight * total).abs();
                        assert!(
                            far(canary, total) * other_total <= far(other, other_total) * total,
                            "{place}, but {other} of {other_total}"
                        );
                    }
                }
            }
        }
    }
}

/// Protects: percentages as in a Deployment, and one pod where both bounds come out as none.
#[rstest]
#[case(10, DEFAULT_BOUND, DEFAULT_BOUND, 3, 2)]
#[case(1, DEFAULT_BOUND, DEFAULT_BOUND, 1, 0)]
#[case(4, PodCount::Pods(0), DEFAULT_BOUND, 0, 1)]
#[case(3, PodCount::Pods(0), DEFAULT_BOUND, 0, 1)]
#[case(5, PodCount::Pods(2), PodCount::Pods(9), 2, 5)]
#[case(0, DEFAULT_BOUND, DEFAULT_BOUND, 0, 1)]
#[case(10_000, PodCount::Percent(100), PodCount::Percent(100), 10_000, 10_000)]
fn bounds_of(
    #[case] replicas: i32,
    #[case] surge: PodCount,
    #[case] unavailable: PodCount,
    #[case] pods: i32,
    #[case] missing: i32,
) {
    let found = Bounds::new(replicas, surge, unavailable);
    assert_eq!(found, Bounds { replicas, max_surge: pods, max_unavailable: missing });
}

fn member(side: Side, wanted: i32, ready: i32, target: i32) -> Member {
    Member { side, wanted, current: wanted, ready, available: ready, target }
}

/// Protects: who grows and who goes first. Stable grows before the canary; superseded revisions go before the canary and
/// before stable; pods that are not ready are not missed.
#[rstest]
#[case::canary_grows_into_the_surge((10, 3, 2), &[(Side::Stable, 10, 10, 7), (Side::Canary, 0, 0, 3)], &[8, 3])]
#[case::without_surge_stable_goes_first((4, 0, 1), &[(Side::Stable, 4, 4, 3), (Side::Canary, 0, 0, 1)], &[3, 0])]
#[case::stable_first((10, 3, 2), &[(Side::Canary, 5, 5, 8), (Side::Stable, 5, 5, 7)], &[6, 7])]
#[case::superseded_go_first((10, 3, 2), &[(Side::Stable, 7, 7, 5), (Side::Superseded, 3, 3, 0)], &[7, 1])]
#[case::not_ready_ones_go_at_once((10, 3, 2), &[(Side::Stable, 8, 8, 10), (Side::Canary, 5, 0, 0)], &[8, 0])]
#[case::nothing_goes_that_is_missed((10, 3, 2), &[(Side::Stable, 10, 5, 10), (Side::Canary, 3, 3, 0)], &[10, 3])]
fn who_goes_first(#[case] limits: (i32, i32, i32), #[case] members: &[(Side, i32, i32, i32)], #[case] wanted: &[i32]) {
    let members: Vec<Member> = members.iter().map(|m| member(m.0, m.1, m.2, m.3)).collect();
    assert_eq!(step(bounds(limits.0, limits.1, limits.2), &members), wanted);
}

/// Protects: pods that are ready but not yet available. The ReplicaSet's controller may take any ready pod, so one that
/// is needed is not risked; where none is available, none is missed.
#[test]
fn ready_is_not_available() {
    let bounds = bounds(4, 1, 0);
    let canary = Member { side: Side::Canary, wanted: 3, current: 3, ready: 3, available: 1, target: 0 };
    assert_eq!(step(bounds, &[member(Side::Stable, 3, 3, 4), canary]), [3, 3], "no room, and the one available is needed");
    let fresh = Member { available: 0, ..canary };
    assert_eq!(step(bounds, &[member(Side::Stable, 3, 3, 4), fresh]), [3, 0]);
}

/// Up to three ReplicaSets of a Rollout anywhere between two sizes, and which of their pods come up in which order.
fn scene() -> impl Strategy<Value = (Bounds, Vec<Member>, Vec<u8>)> {
    let numbers = (0_i32..13, 0_i32..5, 0_i32..5, 0_i32..101, any::<bool>());
    let sets = prop::collection::vec((0_i32..9, 0_i32..9), 3);
    (numbers, sets, prop::collection::vec(any::<u8>(), 40)).prop_map(|((replicas, surge, missing, weight, away), sets, dice)| {
        let bounds = bounds(replicas, surge, missing);
        let split = if away { Split { canary: 0, stable: replicas } } else { split(bounds, weight) };
        let sides = [(Side::Stable, split.stable), (Side::Canary, split.canary), (Side::Superseded, 0)];
        let members =
            sides.into_iter().zip(sets).map(|((side, target), (wanted, up))| member(side, wanted, up.min(wanted), target));
        (bounds, members.collect(), dice)
    })
}

/// One ReplicaSet gets a size: pods that are not ready go first, and new ones are not ready.
fn resize(member: &mut Member, size: i32) {
    member.ready = member.ready.min(size);
    member.available = member.available.min(member.ready);
    (member.wanted, member.current) = (size, size);
}

/// Protects: the bounds in every state on the way, whatever part of a plan is carried out; and that the way ends, once
/// pods come up.
#[test]
fn bounds_hold_on_the_way() {
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&scene(), |(bounds, mut members, dice)| {
        let total = |members: &[Member]| members.iter().map(|m| m.wanted).sum::<i32>();
        let available = |members: &[Member]| members.iter().map(|m| m.available).sum::<i32>();
        let mut dice = dice.into_iter();
        for _ in 0..400 {
            if members.iter().all(|m| m.wanted == m.target && m.available == m.target) {
                return Ok(());
            }
            for (index, size) in step(bounds, &members).into_iter().enumerate() {
                // A pass may die between any two of its effects.
                if dice.next().is_some_and(|die| die % 3 == 0) {
                    continue;
                }
                let (pods, up) = (total(&members), available(&members));
                resize(&mut members[index], size);
                prop_assert!(total(&members) <= pods.max(bounds.most()), "{bounds:?} {members:?}");
                prop_assert!(available(&members) >= up.min(bounds.least_available()), "{bounds:?} {members:?}");
            }
            for member in &mut members {
                if dice.next().is_none_or(|die| die % 2 == 0) {
                    member.available = member.ready;
                    member.ready = (member.ready + 1).min(member.wanted);
                }
            }
        }
        prop_assert!(false, "never there: {bounds:?} {members:?}");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
