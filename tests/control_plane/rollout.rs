//! Rollouts on a real API server: what is written, in which order, and that nothing else is.

use serde_json::{Value, json};

use crate::faults::{Journal, Wire};
use crate::world::{World, in_world, lines};
use std::sync::Arc;

/// A Rollout `shop` of `shop:1` with these steps, analysed in the background when asked, at rest as stable.
async fn stable(world: &World, steps: Value, analysed: bool) {
    let mut rollout = world.rollout("shop", "shop:1");
    rollout["spec"]["strategy"]["canary"]["steps"] = steps;
    if analysed {
        world.error_template().await;
        rollout["spec"]["strategy"]["canary"]["analysis"] = json!({"templates": [{"templateName": "errors"}]});
    }
    world.surroundings("shop").await;
    world.create(&rollout).await;
}

/// Protects: the documented order of writes from the first deployment to a promotion, each after its record.
#[tokio::test]
async fn happy_path() {
    in_world(async |world| {
        let journal = Arc::new(Journal::default());
        let wire = Wire::new(&journal, world.judge("shop"));
        let running = world.run(&wire).await;
        let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
        stable(world, steps, true).await;
        world.until_healthy("shop", "shop:1").await;
        world.deploy("shop", "shop:2").await;
        world.until_paused("shop", 1).await;
        world.request("shop", "1", "promote").await;
        world.until_healthy("shop", "shop:2").await;
        world.rest(&journal).await;
        running.kill().await;
        assert_eq!(world.story(&journal), lines(""),);
        assert_eq!(journal.violations(), [] as [String; 0]);
        assert_eq!(world.picture("shop").await, lines(""));
    })
    .await;
}
