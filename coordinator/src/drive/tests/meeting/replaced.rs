//! Barriers and leads where machines are replaced or leave.

use std::time::Duration;

use slipstream_shared::{plan::OnSilent, state::Milestone};

use super::*;
use crate::cloud::fake::Habits;

async fn replacing() -> Machines {
    let mut plan = plan(3);
    plan.nodes.values_mut().for_each(|node| node.on_silent = OnSilent::Replace);
    let machines = Machines::of(plan, 3).await;
    machines.site.cloud.set_habits(Habits { linger: Duration::from_secs(10), ..Habits::default() });
    machines
}

impl Machines {
    /// The machine of web.1 stops by itself, and the cloud takes its time to remove it.
    async fn lose_first(&self) {
        self.site.cloud.stop(&self.machine(0).await);
        self.site.wait_until(self.run, |d| d.nodes[0].milestone == Milestone::Terminating).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_lead_of_a_machine_that_is_replaced_passes_on_before_it_is_gone() {
    let mut machines = replacing().await;
    machines.ask(0, false).await;
    machines.ask(1, true).await;
    assert_eq!(machines.numbers(), [(0, 1)]);
    machines.lose_first().await;
    assert_eq!(machines.numbers(), [(1, 2)], "a larger number");
    let leads = machines.site.load(machines.run).await.lead_infos();
    assert_eq!((leads.len(), leads[0].leader.clone()), (1, Some(Leader::Instance(machines.links[1].0.clone()))));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_replaced_has_arrived_nowhere() {
    let mut machines = replacing().await;
    machines.arrive(0, all_of("web")).await;
    machines.arrive(1, all_of("web")).await;
    machines.lose_first().await;
    machines.arrive(2, all_of("web")).await;
    assert_eq!(machines.met(), [false, false, false], "the new one has to come");
    let barriers = machines.site.load(machines.run).await.barrier_infos();
    assert_eq!((barriers[0].arrived.len(), barriers[0].open), (2, None));
}
