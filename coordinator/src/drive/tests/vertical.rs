//! Sizes and disks of machines, on the fake cloud.

use slipstream_shared::{
    disk::DiskSpec,
    id::RunId,
    plan::{OnSilent, Plan},
    state::RunState,
};

use super::site::{Script, Site, plan};
use crate::cloud::{Observed, fake::Habits};

fn disk(size: u64, mount: Option<&str>) -> DiskSpec {
    DiskSpec { size, mount: mount.map(str::to_owned), fs: None }
}

fn with_disks(count: u32) -> Plan {
    let mut plan = plan(count);
    let web = plan.nodes.values_mut().next().expect("web");
    web.disks = vec![disk(20 << 30, Some("/data")), disk(1 << 30, None)];
    web.on_silent = OnSilent::Replace;
    plan
}

async fn up(plan: Plan) -> (Site, RunId) {
    let mut site = Site::new().await;
    site.cloud.set_habits(Habits { idempotent: false, ..Habits::default() });
    let run = site.launch(plan).await;
    site.play_agents(Script::Succeed);
    site.wait_for(run, RunState::Ready).await;
    (site, run)
}

/// What the cloud shows of the only machine.
async fn seen(site: &Site, run: RunId) -> Observed {
    let mut found = site.cloud.connector().find(run).await.expect("found");
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn disks(site: &Site, run: RunId) -> Vec<String> {
    seen(site, run).await.disks.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn declared_disks_come_with_the_machine_and_with_the_one_that_replaces_it() {
    let (site, run) = up(with_disks(1)).await;
    assert_eq!(disks(&site, run).await, ["disk1", "disk2"]);
    let first = seen(&site, run).await.machine;
    site.cloud.vanish(&first);
    site.wait_until(run, |d| d.nodes[0].attempt == 2 && d.summary.ready == 1).await;
    assert_eq!(disks(&site, run).await, ["disk1", "disk2"], "of the same names");
    site.handle(run).await.terminate(super::ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cloud_without_disks_refuses_a_plan_with_some_before_anything_is_made() {
    let site = Site::new().await;
    site.cloud.make_plain();
    let error = site.try_launch(with_disks(1)).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "cloud `fake` cannot launch this: `web` has `disks`, which a cloud of kind `fake` cannot give to machines \
         (choose another cloud for `web`, or take its `disks` away)"
    );
    assert_eq!((site.list().await.len(), site.cloud.machines()), (0, 0));
    site.launch(plan(1)).await;
}
