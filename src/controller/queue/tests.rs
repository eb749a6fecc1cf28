use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::*;

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

/// Everybody whose turn comes now, in order.
fn taken(turns: &mut Turns, now: Instant) -> Vec<(String, Why)> {
    std::iter::from_fn(|| turns.take(now)).map(|(key, why)| (key.name.to_string(), why)).collect()
}

fn turn(name: &str, why: Why) -> (String, Why) {
    (name.to_owned(), why)
}

/// Protects: what changed comes before calm looks, in the order in which it came; one turn however often it was asked
/// for, with the strongest reason.
#[test]
fn changes_first() {
    let (now, mut turns) = (Instant::now(), Turns::new(10));
    for (name, why) in [
        ("a", Why::Calm),
        ("b", Why::Calm),
        ("c", Why::Event),
        ("a", Why::Event),
        ("c", Why::Calm),
        ("c", Why::Spec),
        ("d", Why::Event),
        ("c", Why::Event),
    ] {
        turns.wake(key(name), why);
    }
    let expected = [turn("c", Why::Spec), turn("a", Why::Event), turn("d", Why::Event), turn("b", Why::Calm)];
    assert_eq!(taken(&mut turns, now), expected);
}

/// Protects: fairness. Objects that change all the time leave one turn in nine to calm looks, and one of them does not
/// come twice before another comes once.
#[test]
fn nobody_starves() {
    let (now, mut turns) = (Instant::now(), Turns::new(1));
    turns.wake(key("calm"), Why::Calm);
    turns.wake(key("hot"), Why::Event);
    turns.wake(key("warm"), Why::Event);
    let mut order = Vec::new();
    for _ in 0..10 {
        let (taken, _) = turns.take(now).unwrap();
        assert_eq!(turns.take(now), None, "one at a time");
        turns.wake(taken.clone(), Why::Event);
        turns.done(&taken, None);
        order.push(taken.name.to_string());
    }
    assert_eq!(order, ["hot", "warm", "hot", "warm", "hot", "warm", "hot", "warm", "calm", "hot"]);
}

/// Protects: a change that comes while a pass is under way is looked at after it, and never by two passes at once.
#[test]
fn once_more_after_a_pass() {
    let (now, mut turns) = (Instant::now(), Turns::new(10));
    turns.wake(key("a"), Why::Event);
    assert_eq!(taken(&mut turns, now), [turn("a", Why::Event)]);
    turns.wake(key("a"), Why::Spec);
    turns.wake(key("a"), Why::Event);
    assert_eq!(taken(&mut turns, now), []);
    turns.done(&key("a"), Some(now + Duration::from_secs(60)));
    assert_eq!(taken(&mut turns, now), [turn("a", Why::Spec)]);
    turns.done(&key("a"), None);
    assert_eq!((taken(&mut turns, now), turns.next_due()), (vec![], None), "and then it rests");
}

/// Protects: a look at a later time comes at that time, once; a change in between takes its place.
#[test]
fn later() {
    let (now, mut turns) = (Instant::now(), Turns::new(10));
    let at = |seconds| now + Duration::from_secs(seconds);
    for (name, seconds) in [("a", 5), ("b", 3), ("c", 5)] {
        turns.wake(key(name), Why::Event);
        turns.take(now);
        turns.done(&key(name), Some(at(seconds)));
    }
    assert_eq!((taken(&mut turns, at(2)), turns.next_due()), (vec![], Some(at(3))));
    turns.wake(key("c"), Why::Spec);
    assert_eq!(taken(&mut turns, at(2)), [turn("c", Why::Spec)]);
    turns.done(&key("c"), None);
    assert_eq!(taken(&mut turns, at(9)), [turn("b", Why::Event), turn("a", Why::Event)]);
    assert_eq!(turns.next_due(), None);
}

/// Protects: a bounded number of passes at the same time; and that a stop waits for those under way, and begins no other.
#[tokio::test]
async fn bounded_and_finished() {
    let (wakes, queue) = queue();
    let (stop, stopped) = signal::channel(false);
    let (begun, ended) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (started, gate) = (Semaphore::new(0), Semaphore::new(0));
    for name in ["a", "b", "c", "d", "e"] {
        wakes.wake(key(name), Why::Event);
    }
    let pass = async |key: Key, _| {
        begun.lock().unwrap().push(key.name.to_string());
        started.add_permits(1);
        gate.acquire().await.unwrap().forget();
        ended.lock().unwrap().push(key.name.to_string());
        None
    };
    let director = async {
        started.acquire_many(2).await.unwrap().forget();
        assert_eq!(*begun.lock().unwrap(), ["a", "b"]);
        gate.add_permits(1);
        started.acquire().await.unwrap().forget();
        assert_eq!(*begun.lock().unwrap(), ["a", "b", "c"]);
        stop.send(true).unwrap();
        tokio::task::yield_now().await;
        gate.add_permits(5);
    };
    tokio::join!(queue.work(2, stopped, pass), director);
    assert_eq!(*begun.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(ended.lock().unwrap().len(), 3);
}
