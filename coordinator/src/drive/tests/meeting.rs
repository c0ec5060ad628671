//! Barriers and leads, on paused time.

mod replaced;

use slipstream_shared::{
    event::{Event, Record},
    id::{InstanceId, RunId},
    link::{Change, Down, RefusedCode, Reply, Up},
    meeting::{Leader, MeetingName, Parties},
    plan::Plan,
    state::RunState,
};

use super::{
    ann,
    site::{Site, plan, token},
};
use crate::drive::AgentLink;

/// Machines whose scripts a test plays.
struct Machines {
    site: Site,
    run: RunId,
    links: Vec<(InstanceId, AgentLink)>,
}

fn name(text: &str) -> MeetingName {
    text.parse().expect("valid")
}

fn all_of(node: &str) -> Parties {
    Parties::Nodes([node.parse().expect("valid")].into())
}

impl Machines {
    async fn new(count: u32) -> Self {
        Self::of(plan(count), count).await
    }

    async fn of(plan: Plan, count: u32) -> Self {
        let site = Site::new().await;
        let run = site.launch(plan).await;
        let mut machines = Machines { site, run, links: vec![] };
        for _ in 0..count {
            let started = machines.site.next_start().await;
            let id = started.key.instance.clone();
            machines.site.handle(run).await.enrol(&id, 1, &token(&started), "k", "1").await.expect("enrolled");
            let link = machines.attach(&id).await;
            machines.links.push((id, link));
        }
        machines.links.sort_by(|a, b| a.0.cmp(&b.0));
        machines
    }

    async fn attach(&self, id: &InstanceId) -> AgentLink {
        let mut link = self.site.handle(self.run).await.attach(id, 1, "k").await.expect("attached");
        assert!(matches!(link.down.recv().await, Some(Down::Hello { .. })));
        assert!(matches!(link.down.recv().await, Some(Down::Plan(_))));
        link
    }

    /// Connects again, so that questions without an answer are forgotten.
    async fn reconnect(&mut self, index: usize) {
        self.links[index].1 = self.attach(&self.links[index].0).await;
    }

    /// Another coordinator in its place, to which all connect again.
    async fn restart_coordinator(&mut self) {
        self.site.die_after(1);
        let handle = self.site.handle(self.run).await;
        let unanswered = handle.set(ann(), super::key("web.1:greeting"), Some("x".into()));
        tokio::time::timeout(std::time::Duration::from_secs(9), unanswered).await.expect_err("it has died");
        assert!(self.site.restart_when_dead().await);
        for index in 0..self.links.len() {
            self.reconnect(index).await;
        }
    }

    async fn say(&self, index: usize, line: Up) {
        self.links[index].1.up(line).await.expect("sent");
        // All that follows from it has happened.
        self.site.handle(self.run).await.detail().await.expect("read");
    }

    async fn arrive(&self, index: usize, parties: Parties) {
        self.say(index, Up::Barrier { id: 7, name: name("b"), parties, ignore_abort: false }).await;
    }

    async fn ask(&self, index: usize, wait: bool) {
        self.say(index, Up::Lead { id: 8, name: name("l"), wait, ignore_abort: false }).await;
    }

    async fn resign(&self, index: usize, op: u64) {
        self.say(index, Up::Do { op, change: Change::Resign { lead: name("l") } }).await;
    }

    /// What a machine was answered meanwhile.
    fn answers(&mut self, index: usize) -> Vec<Reply> {
        let mut all = Vec::new();
        while let Some(line) = self.links[index].1.down.try_recv() {
            if let Down::Answer { reply, .. } = line {
                all.push(reply);
            }
        }
        all
    }

    fn met(&mut self) -> Vec<bool> {
        let met = |replies: &[Reply]| matches!(replies, [Reply::Met { .. }]);
        (0..self.links.len()).map(|index| met(&self.answers(index))).collect()
    }

    /// The numbers that were told, with the machine.
    fn numbers(&mut self) -> Vec<(usize, u64)> {
        let number = |reply| match reply {
            Reply::Lead { number, .. } => number,
            other => panic!("{other:?}"),
        };
        (0..self.links.len())
            .flat_map(|index| self.answers(index).into_iter().filter_map(number).map(move |n| (index, n)))
            .collect()
    }

    async fn leave(&self, index: usize) {
        let event = Event::MachineGone { instance: self.links[index].0.clone(), attempt: 1, unexpected: true };
        self.site.cloud.vanish(&self.machine(index).await);
        let gone = self.links[index].0.clone();
        self.site
            .wait_until(self.run, move |d| {
                d.nodes.iter().any(|n| n.instance == gone && n.milestone == slipstream_shared::state::Milestone::Gone)
            })
            .await;
        assert!(self.site.events(self.run).await.iter().any(|r| r.event == event));
    }

    async fn machine(&self, index: usize) -> String {
        let detail = self.site.handle(self.run).await.detail().await.expect("read");
        let found = detail.nodes.iter().find(|n| n.instance == self.links[index].0);
        found.and_then(|n| n.machine.clone()).expect("launched")
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_opens_when_all_instances_have_arrived_each_of_them_once() {
    let mut machines = Machines::new(3).await;
    machines.arrive(0, all_of("web")).await;
    machines.arrive(1, all_of("web")).await;
    machines.reconnect(0).await;
    machines.arrive(0, all_of("web")).await;
    assert_eq!(machines.met(), [false; 3], "the first has arrived once");
    // What they wait for is on record.
    machines.site.wait_until(machines.run, |d| d.nodes[1].waiting.iter().any(|w| w.on == "barrier b")).await;
    machines.restart_coordinator().await;
    machines.arrive(1, all_of("web")).await;
    machines.arrive(2, all_of("web")).await;
    assert_eq!(machines.met(), [false, true, true], "the first has not asked this coordinator yet");
    machines.arrive(0, all_of("web")).await;
    assert_eq!(machines.met(), [true, false, false], "open for good");
    let events = machines.site.events(machines.run).await;
    let arrivals = events.iter().filter(|r| matches!(r.event, Event::BarrierArrived { .. })).count();
    assert_eq!(arrivals, 3);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_not_waited_for_and_does_not_count() {
    let mut machines = Machines::new(3).await;
    machines.site.handle(machines.run).await.abort(ann(), "for now".into()).await.expect("aborted");
    machines.site.handle(machines.run).await.cancel_abort(ann()).await.expect("taken back");
    let two = Up::Barrier { id: 9, name: name("two"), parties: Parties::Count(2), ignore_abort: false };
    machines.say(2, two.clone()).await;
    machines.arrive(0, all_of("web")).await;
    machines.arrive(1, all_of("web")).await;
    assert_eq!(machines.met(), [false; 3]);
    machines.leave(2).await;
    // Its loss aborts the run, so they ask again once that was taken back.
    machines.site.handle(machines.run).await.cancel_abort(ann()).await.expect("taken back");
    for index in 0..2 {
        machines.answers(index);
        machines.arrive(index, all_of("web")).await;
    }
    assert_eq!(machines.met()[..2], [true, true]);
    machines.say(0, two.clone()).await;
    assert!(machines.answers(0).is_empty(), "the one that has left is not one of two");
    machines.say(1, two).await;
    assert_eq!(machines.met()[..2], [true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_barrier_is_for_those_it_was_begun_for_and_for_people_who_count() {
    let mut machines = Machines::new(2).await;
    machines.arrive(0, Parties::Count(3)).await;
    for (parties, why) in [
        (all_of("web"), "barrier `b`: it was begun for 3, not for all of web; use another name"),
        (Parties::Count(0), "barrier `b`: it would open for nobody"),
        (Parties::Count(10_001), "barrier `b`: 10001 arrivals are more than the 10000 there may be"),
        (all_of("db"), "barrier `b`: this run has no node `db`"),
        (Parties::Nodes([].into()), "barrier `b`: it names no node"),
    ] {
        machines.arrive(1, parties).await;
        let [Reply::Refused(refused)] = &machines.answers(1)[..] else { panic!("accepted: {why}") };
        assert_eq!((refused.code, refused.message.as_str()), (RefusedCode::Invalid, why));
    }
    let seq = machines.site.events(machines.run).await.len();
    let handle = machines.site.handle(machines.run).await;
    let barrier = name("b");
    let met = handle.meet(ann(), &barrier, Some(3), false);
    let other = handle.meet(ann(), &barrier, None, false);
    let arrives = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        machines.arrive(1, Parties::Count(3)).await;
    };
    let (met, other, ()) = tokio::join!(met, other, arrives);
    assert!(met.expect("open").open.is_some() && other.expect("open").open.is_some());
    let events = machines.site.events(machines.run).await;
    let arrivals = events[seq..].iter().filter(|r| matches!(r.event, Event::BarrierArrived { .. })).count();
    assert_eq!(arrivals, 2, "one user is one of three, however often");
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_wait_but_not_the_arrival() {
    let mut machines = Machines::new(2).await;
    machines.arrive(0, all_of("web")).await;
    let handle = machines.site.handle(machines.run).await;
    handle.abort(ann(), "enough".into()).await.expect("aborted");
    assert!(matches!(&machines.answers(0)[..], [Reply::Refused(r)] if r.code == RefusedCode::Aborted));
    machines.arrive(1, all_of("web")).await;
    assert!(matches!(&machines.answers(1)[..], [Reply::Refused(r)] if r.code == RefusedCode::Aborted));
    assert_eq!(handle.barriers().await.expect("read")[0].arrived.len(), 1, "not who came after the abort");
    handle.cancel_abort(ann()).await.expect("taken back");
    machines.arrive(1, all_of("web")).await;
    assert_eq!(machines.met(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn an_arrival_that_was_not_recorded_is_made_again() {
    let mut machines = Machines::new(1).await;
    machines.site.fill_disk(true);
    machines.links[0]
        .1
        .up(Up::Barrier { id: 7, name: name("b"), parties: all_of("web"), ignore_abort: false })
        .await
        .expect("sent");
    machines.site.wait_until(machines.run, |_| true).await;
    assert!(matches!(&machines.answers(0)[..], [Reply::Refused(r)] if r.code == RefusedCode::Unavailable));
    machines.site.fill_disk(false);
    machines.arrive(0, all_of("web")).await;
    assert_eq!(machines.met(), [true]);
}

#[tokio::test(start_paused = true)]
async fn one_leads_at_a_time_and_each_with_a_larger_number() {
    let mut machines = Machines::new(3).await;
    for index in 0..3 {
        machines.ask(index, true).await;
    }
    assert_eq!(machines.numbers(), [(0, 1)]);
    machines.ask(0, true).await;
    machines.ask(1, false).await;
    assert_eq!(machines.answers(0), [Reply::Lead { number: Some(1), leader: None }], "the same, asked again");
    let first = Some(Leader::Instance(machines.links[0].0.clone()));
    assert_eq!(machines.answers(1), [Reply::Lead { number: None, leader: first }]);
    machines.resign(0, 1).await;
    machines.resign(0, 2).await;
    assert_eq!(machines.numbers(), [(1, 2)], "who has waited longest");
    // Who has led waits behind the others.
    machines.ask(0, true).await;
    machines.resign(1, 1).await;
    assert_eq!(machines.numbers(), [(2, 3)]);
    // Neither an interruption nor another coordinator makes another leader.
    machines.reconnect(2).await;
    machines.ask(2, true).await;
    assert_eq!(machines.numbers(), [(2, 3)]);
    machines.restart_coordinator().await;
    machines.ask(0, true).await;
    machines.ask(2, false).await;
    assert_eq!(machines.numbers(), [(2, 3)]);
    // A person may take it away.
    let handle = machines.site.handle(machines.run).await;
    handle.end_lead(ann(), name("l")).await.expect("taken");
    assert_eq!(machines.numbers(), [(0, 4)]);
    handle.end_lead(ann(), name("other")).await.expect_err("nobody has led that");
    machines.leave(0).await;
    let lead = &handle.leads().await.expect("read")[0];
    assert_eq!((lead.number, &lead.leader), (4, &None));
    handle.cancel_abort(ann()).await.expect("taken back");
    machines.answers(2);
    machines.ask(2, true).await;
    assert_eq!(machines.answers(2), [Reply::Lead { number: Some(5), leader: None }]);
}

#[tokio::test(start_paused = true)]
async fn the_lead_of_a_silent_machine_goes_to_the_next_and_it_waits_behind_when_it_is_back() {
    let mut machines = Machines::new(2).await;
    machines.ask(0, true).await;
    assert_eq!(machines.numbers(), [(0, 1)]);
    for _ in 0..12 {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        machines.say(1, Up::Heartbeat).await;
    }
    let handle = machines.site.handle(machines.run).await;
    let lead = &handle.leads().await.expect("read")[0];
    assert!(
        lead.silent && lead.leader == Some(Leader::Instance(machines.links[0].0.clone())),
        "it leads while nobody else asks"
    );
    machines.ask(1, true).await;
    assert_eq!(machines.numbers(), [(1, 2)]);
    machines.ask(0, true).await;
    assert_eq!(machines.numbers(), [], "heard again, but behind");
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(machines.numbers(), []);
        machines.say(0, Up::Heartbeat).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    handle.detail().await.expect("read");
    assert_eq!(machines.numbers(), [(0, 3)], "passed on as soon as the silence is noticed");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_not_recorded_is_told_to_nobody() {
    let mut machines = Machines::new(1).await;
    machines.site.fill_disk(true);
    machines.links[0].1.up(Up::Lead { id: 8, name: name("l"), wait: true, ignore_abort: false }).await.expect("sent");
    machines.site.wait_until(machines.run, |_| true).await;
    assert!(matches!(&machines.answers(0)[..], [Reply::Refused(r)] if r.code == RefusedCode::Unavailable));
    assert_eq!(machines.site.handle(machines.run).await.leads().await.expect("read"), []);
    machines.site.fill_disk(false);
    machines.ask(0, true).await;
    assert_eq!(machines.numbers(), [(0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_ends_waits_for_barriers_and_leads() {
    let machines = Machines::new(2).await;
    machines.ask(0, true).await;
    machines.ask(1, true).await;
    machines.arrive(1, all_of("web")).await;
    let nightly: Leader = "user:ann/nightly".parse().expect("valid");
    let handle = machines.site.handle(machines.run).await;
    handle.lead(nightly.clone(), &name("of-a-program"), 600, false).await.expect("it is vacant");
    handle.terminate(ann()).await.expect("accepted");
    machines.site.wait_for(machines.run, RunState::Cancelled).await;
    let handle = machines.site.handle(machines.run).await;
    handle.meet(ann(), &name("b"), None, false).await.expect_err("it will never open");
    handle.lead(nightly, &name("of-a-program"), 600, false).await.expect_err("who leads cannot go on to");
    let last = machines.site.events(machines.run).await.pop();
    assert!(matches!(last, Some(Record { event: Event::StateChanged { .. }, .. })), "an event after the end: {last:?}");
    let led = handle.leads().await.expect("read");
    assert!(led.iter().all(|lead| lead.leader.is_none()), "{led:?}");
}

#[tokio::test(start_paused = true)]
async fn a_program_leads_for_as_long_as_it_says_and_stands_in_line_like_machines() {
    let mut machines = Machines::new(2).await;
    let handle = machines.site.handle(machines.run).await;
    let program = |text: &str| text.parse::<Leader>().expect("valid");
    let nightly = program("user:ann/nightly");
    let lead = handle.lead(nightly.clone(), &name("l"), 60, false).await.expect("it is vacant");
    assert_eq!((lead.number, &lead.leader), (1, &Some(nightly.clone())));
    machines.ask(0, true).await;
    assert_eq!(machines.numbers(), []);
    tokio::time::sleep(std::time::Duration::from_secs(50)).await;
    let kept = handle.lead(nightly, &name("l"), 60, false).await.expect("it leads");
    assert_eq!((kept.number, kept.since), (1, lead.since), "the same leader, no other number");
    tokio::time::sleep(std::time::Duration::from_secs(50)).await;
    machines.say(0, Up::Heartbeat).await;
    assert_eq!(machines.numbers(), [], "it has asked again in time");

    // Whoever waits gets it when that time is over; another program of the same user stands behind.
    let weekly = program("user:ann/weekly");
    let (name, other) = (name("l"), machines.site.handle(machines.run).await);
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { other.lead(weekly, &name, 30, false).await });
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(machines.numbers(), [(0, 2)]);
    machines.resign(0, 1).await;
    let lead = waiting.join_next().await.expect("it waits").expect("no panic").expect("its turn");
    assert_eq!((lead.number, lead.leader.map(|l| l.to_string())), (3, Some("user:ann/weekly".to_owned())));
    assert_eq!(lead.until, Some(lead.since + std::time::Duration::from_secs(30)));
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(handle.leads().await.expect("read")[0].leader, None, "nobody has asked for it again");
}
