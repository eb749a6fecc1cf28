//! The built binary, twice, on one API server: what happens to releases when the one that leads ends, dies, or is stopped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support;
use crate::world::{World, account, in_world};

/// Longest time without a leader after one died.
const AFTER_A_CRASH: Duration = Duration::from_secs(17);
/// The same after one ended in good order.
const AFTER_AN_END: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn now() -> Instant {
    Instant::now()
}

/// One process of the controller.
struct Replica {
    child: Child,
    port: u16,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Replica {
    /// Starts one and waits until it is ready.
    async fn start(world: &World, folder: &TempDir, number: u32) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = folder.path().join(number.to_string());
        let log = std::fs::File::create(folder.path().join(format!("{number}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["controller", "--namespace", &world.namespace, "--metrics-address", &format!("127.0.0.1:{port}")])
            .args(["--log-format", "text", "--data-dir", data.to_str().unwrap()])
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let replica = Self { child, port };
        support::eventually("it is ready", async || replica.get("/readyz").ends_with("ready")).await;
        replica
    }

    /// What it answers; empty when it does not.
    fn get(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// What its metric says.
    fn leads(&self) -> Option<bool> {
        let text = self.get("/metrics");
        let line = text.lines().find(|line| line.starts_with("tidegate_leader "))?;
        Some(line.ends_with(" 1"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

/// A kubeconfig with which a process is the controller's service account, and that account's right to the Lease here.
async fn prepare(world: &World) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut kubeconfig = Kubeconfig::read_from(support::kubeconfig().unwrap()).unwrap();
    for auth in &mut kubeconfig.auth_infos {
        auth.auth_info.as_mut().unwrap().impersonate = Some(account());
    }
    std::fs::write(folder.path().join("kubeconfig"), serde_json::to_string(&kubeconfig).unwrap()).unwrap();
    let role = support::deployed("rbac.yaml").into_iter().find(|object| object["kind"] == "Role").unwrap();
    support::allow(&world.admin, &world.namespace, &account(), role["rules"].clone()).await;
    folder
}

/// Which one leads; the other does not.
async fn leader(replicas: &[Replica; 2]) -> usize {
    let mut leads = None;
    support::eventually("exactly one leads", async || {
        let all = [0, 1].map(|index| replicas[index].leads() == Some(true));
        leads = all.iter().position(|leads| *leads);
        all != [true, true] && leads.is_some()
    })
    .await;
    leads.unwrap()
}

/// Protects: releases, from the end of the process that looks after them. Killed, ended, stopped: another one goes on within
/// its time; one that wakes up stands by in the same process, and leads when it is its turn again.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_ends_dies_and_is_stopped() {
    in_world(async |world| {
        let folder = prepare(world).await;
        let (mut rollout, steps) = (world.rollout("shop", "shop:1"), json!([{"setWeight": 50}, {"pause": {}}]));
        rollout["spec"]["strategy"]["canary"]["steps"] = steps;
        world.surroundings("shop").await;
        world.create(&rollout).await;
        let mut replicas = [Replica::start(world, &folder, 0).await, Replica::start(world, &folder, 1).await];
        world.until_healthy("shop", "shop:1").await;
        let canary = |image: &'static str| {
            move |status: &Value| status["canary"]["hash"].as_str().map(|hash| world.image(hash)).as_deref() == Some(image)
        };

        let at = leader(&replicas).await;
        replicas[at].signal("-TERM");
        let ended = now();
        world.deploy("shop", "shop:2").await;
        world.until("shop", "the other one acts", canary("shop:2")).await;
        let failover = ended.elapsed();
        assert!(failover <= AFTER_AN_END, "{failover:?} after an end");
        assert!(replicas[at].child.wait().unwrap().success(), "it ended in bad order");
        world.until_paused("shop", 1).await;
        replicas[at] = Replica::start(world, &folder, 2).await;
        assert_eq!(replicas[at].leads(), Some(false));

        let at = leader(&replicas).await;
        replicas[at].signal("-KILL");
        let died = now();
        world.request("shop", "1", "promote").await;
        world.until("shop", "the other one acts", |status| status["requests"][0]["id"] == "1").await;
        let crash = died.elapsed();
        assert!(crash <= AFTER_A_CRASH, "{crash:?} after a crash");
        world.until_healthy("shop", "shop:2").await;
        replicas[at] = Replica::start(world, &folder, 3).await;

        let at = leader(&replicas).await;
        replicas[at].signal("-STOP");
        let stopped = now();
        world.deploy("shop", "shop:3").await;
        world.until("shop", "the other one acts", canary("shop:3")).await;
        let stop = stopped.elapsed();
        assert!(stop <= AFTER_A_CRASH, "{stop:?} after a stop");
        replicas[at].signal("-CONT");
        world.until_paused("shop", 1).await;
        support::eventually("the one that woke up stands by", async || replicas[at].leads() == Some(false)).await;
        assert_eq!(leader(&replicas).await, 1 - at);
        replicas[1 - at].signal("-TERM");
        let ended = now();
        world.request("shop", "2", "promote").await;
        world.until("shop", "it leads again", |status| status["requests"][0]["id"] == "2").await;
        assert!(ended.elapsed() <= AFTER_AN_END, "{:?} after an end", ended.elapsed());
        assert_eq!((replicas[at].leads(), replicas[at].child.try_wait().unwrap()), (Some(true), None));
        world.until_healthy("shop", "shop:3").await;
        told(failover, crash, stop);
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "measured times are worth a look")]
fn told(end: Duration, crash: Duration, stop: Duration) {
    eprintln!("another replica acted {end:.1?} after an end, {crash:.1?} after a crash, {stop:.1?} after a stop");
}
