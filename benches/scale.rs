//! The real binary with thousands of Rollouts on a real API server: how fast, how large, and how quiet it is.
//!
//!     tests/scale            # 500 new ones, then 1,000
//!     ROLLOUTS=10000 tests/scale
//!
//! The Rollouts have no pods, so that no kubelet is part of what is measured, and no router; everything else is as it is
//! in a cluster. Numbers come from the process (`/proc`), its own metrics, and a watch beside it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints its table, reads clocks and its environment, and stops where it cannot measure"
)]

#[path = "scale/controller.rs"]
mod controller;
#[path = "scale/world.rs"]
mod world;

use std::time::Duration;

use controller::Controller;
use world::World;

/// How many new ones at once, and how long that may take.
const NEW: usize = 500;
/// How long it is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// How many changes per second, for how long.
const CHANGES: (u32, Duration) = (100, Duration::from_secs(20));

/// One line of the table.
struct Line(String, String, String);

fn line(what: impl Into<String>, found: impl Into<String>, aim: &str) -> Line {
    Line(what.into(), found.into(), aim.to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(times: &[Duration], percent: usize) -> String {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or_else(|| "none".to_owned(), |time| format!("{:.0} ms", time.as_secs_f64() * 1000.0))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// New Rollouts, with a controller that had none.
async fn new_ones(world: &World, table: &mut Vec<Line>) {
    let controller = Controller::start().await;
    let before = controller.requests().await;
    let took = world.create(NEW).await;
    let requests = controller.requests().await.since(&before);
    table.push(line(format!("{NEW} new: until the last is Healthy"), seconds(took), "<= 15 s"));
    table.push(line(format!("{NEW} new: writes each"), format!("{:.2}", requests.writes() as f64 / NEW as f64), "<= 4"));
    table.push(line(format!("{NEW} new: reads each"), format!("{:.1}", requests.reads() as f64 / NEW as f64), ""));
    table.push(line(format!("{NEW} new: RSS, highest"), mebibytes(controller.highest_rss()), "<= 30 MiB"));
}

/// What a controller costs that has nothing to do, and what a change costs then.
async fn many(world: &World, count: usize, table: &mut Vec<Line>) {
    let controller = Controller::start().await;
    let took = world.create(count - world.count()).await;
    table.push(line(format!("{count}: created and Healthy after"), seconds(took), ""));
    drop(controller);
    let controller = Controller::start().await;
    table.push(line(format!("{count}: start to ready"), seconds(controller.ready_after), ""));
    let looked = controller.until_looked_at(count).await;
    table.push(line(format!("{count}: start until each was looked at"), seconds(looked), ""));
    table.push(line(
        format!("{count}: requests for that, each"),
        format!("{:.1}", controller.requests().await.reads() as f64 / count as f64),
        "",
    ));
    controller.until_quiet().await;
    let (before, cpu) = (controller.requests().await, controller.cpu());
    tokio::time::sleep(IDLE).await;
    let idle = controller.requests().await.since(&before);
    let per_minute = 60.0 / IDLE.as_secs_f64();
    let used = (controller.cpu() - cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    table.push(line(format!("{count} idle: RSS"), mebibytes(controller.rss()), if count >= 10_000 { "<= 60 MiB" } else { "" }));
    table.push(line(format!("{count} idle: RSS, highest since start"), mebibytes(controller.highest_rss()), ""));
    table.push(line(format!("{count} idle: CPU"), format!("{used:.2} %"), ""));
    table.push(line(format!("{count} idle: watches renewed a minute"), format!("{:.0}", idle.watches() as f64 * per_minute), ""));
    table.push(line(
        format!("{count} idle: other requests a minute"),
        format!("{:.0}", (idle.reads() + idle.writes()) as f64 * per_minute),
        "0",
    ));
    let (before, cpu) = (controller.requests().await, controller.cpu());
    let times = world.change(CHANGES.0, CHANGES.1).await;
    let busy = controller.requests().await.since(&before);
    let used = (controller.cpu() - cpu).as_secs_f64() / CHANGES.1.as_secs_f64() * 100.0;
    let each = |number: u64| format!("{:.1}", number as f64 / times.len() as f64);
    let what = format!("{count}, {} changes/s", CHANGES.0);
    table.push(line(format!("{what}: to status, p50"), milliseconds(&times, 50), ""));
    table.push(line(format!("{what}: to status, p99"), milliseconds(&times, 99), "<= 250 ms"));
    table.push(line(format!("{what}: longest"), milliseconds(&times, 100), ""));
    table.push(line(format!("{what}: reads, writes each"), format!("{}, {}", each(busy.reads()), each(busy.writes())), ""));
    table.push(line(format!("{what}: CPU"), format!("{used:.0} %"), ""));
    table.push(line(format!("{what}: RSS after"), mebibytes(controller.rss()), ""));
}

#[tokio::main]
async fn main() {
    let counts = variable("ROLLOUTS").unwrap_or_else(|| "1000".to_owned());
    let mut table = Vec::new();
    let world = World::start().await;
    new_ones(&world, &mut table).await;
    for count in counts.split_whitespace() {
        many(&world, count.parse().unwrap(), &mut table).await;
    }
    println!("\n{:<52}{:>14}   aim", "what", "found");
    for Line(what, found, aim) in table {
        println!("{what:<52}{found:>14}   {aim}");
    }
}
