//! Silence, replacement, aborts, leases and giving up, with real agents.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use slipstream_shared::{
    api::LeaseRequest,
    event::{Event, Record},
    state::{Milestone, Outcome, RunState},
};
use slipstream_tests::{Coordinator, Options, cli, eventually, eventually_within, next_record, processes_of};

use crate::processes::{LIMIT, key, problem, put_single};

/// Puts an application with the node `web`; `node` and `policy` are further lines of it.
async fn put_application(coordinator: &Coordinator, node: &str, policy: &str, deploy: &str) {
    let image = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";
    let script = deploy.trim_matches('\n').lines().map(|l| format!("      {}\n", l.trim_start())).collect::<String>();
    let application = format!(
        "slipstream: 1\nkind: application\nname: tests/application\nnodes:\n  web:\n    image: tests/image\n    cloud: \
         processes\n    publish: {{ answer: {{}} }}\n{node}    deploy: |\n{script}{policy}"
    );
    for module in [image, &application] {
        coordinator.client().put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
}

/// The process of the agent of an attempt.
async fn agent_of(coordinator: &Coordinator, machine: &str) -> Pid {
    eventually("the agent runs", || async {
        let all = processes_of(&coordinator.data());
        let is = |c: &str| c.contains("slipstream-agent") && c.contains("boot") && c.contains(machine);
        all.into_iter().find(|p| is(&p.command)).map(|p| Pid::from_raw(p.pid))
    })
    .await
}

async fn until(coordinator: &Coordinator, run: &str, what: impl Fn(&Event) -> bool) -> Record {
    let mut events = coordinator.client().events(run, 0);
    loop {
        let record = next_record(&mut events).await;
        if what(&record.event) {
            return record;
        }
    }
}

#[tokio::test]
async fn a_silent_machine_is_noticed_within_30_seconds_and_replaced() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_application(
        &coordinator,
        "    count: 2\n    on_silent: replace\n",
        "",
        "ss-set answer \"$$\"\necho \"answer is $$\"",
    )
    .await;
    let run = coordinator.launch("tests/application").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert_eq!(detail.summary.health, "2 of 2 ready");
    let before = coordinator.client().parameter(&run, &key("web.1:answer")).await.expect("read").value;
    let machine = detail.nodes[0].machine.clone().expect("known");
    let stopped = Instant::now();
    kill(agent_of(&coordinator, &machine).await, Signal::SIGSTOP).expect("stopped");
    until(&coordinator, &run, |e| matches!(e, Event::InstanceSilent { .. })).await;
    let noticed = stopped.elapsed();
    println!("FIGURE silent to noticed: {:.1} s", noticed.as_secs_f64());
    assert!(noticed <= Duration::from_secs(31), "{noticed:?}");
    let detail = eventually_within(LIMIT, "the other machine is ready", || async {
        let detail = coordinator.client().run(&run).await.ok()?;
        (detail.nodes[0].attempt == 2 && detail.nodes[0].milestone == Milestone::Ready).then_some(detail)
    })
    .await;
    println!("FIGURE silent to replaced and ready: {:.1} s", stopped.elapsed().as_secs_f64());
    assert_eq!((detail.summary.state, detail.summary.health.as_str()), (RunState::Ready, "2 of 2 ready"));
    let after = coordinator.client().parameter(&run, &key("web.1:answer")).await.expect("read").value;
    assert!(after.is_some() && after != before, "published again: {before:?}, {after:?}");
    assert_eq!(coordinator.machines().len(), 2, "{:?}", coordinator.machines());
    for (attempt, said) in [("1", &before), ("2", &after)] {
        let output = cli(&coordinator.profile()).args(["run", "logs", &run, "web.1", "--attempt", attempt]).output();
        let text = String::from_utf8_lossy(&output.expect("runs").stdout).into_owned();
        let said = said.as_deref().expect("set");
        assert!(text.contains(&format!("answer is {said}\n")), "of attempt {attempt}: {text}");
    }
    coordinator.client().terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn an_abort_signals_every_script_within_a_second_and_reports_are_kept() {
    let coordinator = Coordinator::start(Options::default()).await;
    let deploy = "trap 'echo signalled; exit 7' TERM\nss-set answer here\nwhile :; do sleep 0.05; done\n";
    let report = "    count: 10\n    report: echo found >\"$SLIPSTREAM_REPORT_DIR/found\"\n";
    for who in ["web.3", "user"] {
        put_application(&coordinator, report, "", deploy).await;
        let run = coordinator.launch("tests/application").await;
        let client = coordinator.client();
        for i in 1..=10 {
            let there = key(&format!("web.{i}:answer"));
            client.wait_parameter(&run, &there, LIMIT).await.expect("its script runs");
        }
        if who == "user" {
            client.abort(&run, "enough").await.expect("accepted");
        } else {
            client.set_parameter(&run, &key("web.3:abort"), "enough").await.expect("accepted");
        }
        let mut events = client.events(&run, 0);
        let (mut aborted, mut ended) = (None, Vec::new());
        while ended.len() < 10 {
            let record = next_record(&mut events).await;
            match &record.event {
                Event::AbortRaised { reason, .. } => {
                    assert_eq!(reason, "enough");
                    aborted = Some(record.at);
                }
                Event::StepFinished { result, .. } => {
                    assert_eq!(result.cause.as_deref(), Some("aborted"), "{result:?}");
                    ended.push(record.at);
                }
                _ => {}
            }
        }
        let last = ended.iter().max().expect("ten").duration_since(aborted.expect("before"));
        println!("FIGURE abort to the end of the last of 10 scripts ({who}): {last:?}");
        assert!(last <= jiff::SignedDuration::from_secs(1), "{who}: {last:?}");
        let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
        assert_eq!(detail.summary.abort.as_deref(), Some("enough"));
        assert_eq!(client.reports(&run).await.expect("listed").len(), 10, "report still runs");
        let own = client.parameter(&run, &key("web.3:abort")).await.expect("read").value;
        assert_eq!(own.as_deref(), (who == "web.3").then_some("enough"));
        client.terminate(&run).await.expect("accepted");
        coordinator.wait_for(&run, RunState::Aborted, LIMIT).await;
        assert_eq!(client.reports(&run).await.expect("listed").len(), 10, "kept when the machines are gone");
        let log = client.log(&run, &"web.1".parse().expect("valid"), 0, 0).await.expect("kept").bytes().await;
        let text = String::from_utf8(log.expect("read").to_vec()).expect("text");
        assert!(text.contains("signalled"), "{text}");
    }
}

#[tokio::test]
async fn a_lease_ends_a_run_and_can_be_moved() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_application(&coordinator, "", "policy: { lease: 1h }\n", "true").await;
    let run = coordinator.launch("tests/application").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    assert!(detail.lease_end.is_some());
    let lease = |args: &[&str]| {
        let all = [&["run", "lease", run.as_str()], args].concat();
        cli(&coordinator.profile()).args(all).output().expect("runs")
    };
    let past = lease(&["--end", "2020-01-01T00:00:00Z"]);
    let said = String::from_utf8_lossy(&past.stderr).into_owned();
    assert!(!past.status.success() && said.contains("cannot end in the past"), "{said}");
    assert_eq!(coordinator.client().run(&run).await.expect("read").lease_end, detail.lease_end, "nothing was changed");
    assert!(lease(&["8h"]).status.success());
    let moved = coordinator.client().run(&run).await.expect("read").lease_end.expect("there");
    assert!(moved > detail.lease_end.expect("there"), "{moved}");
    assert!(lease(&["1s"]).status.success());
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    until(&coordinator, &run, |e| matches!(e, Event::LeaseEnded)).await;
    let never = LeaseRequest { never: true, ..LeaseRequest::default() };
    assert_eq!(problem(coordinator.client().set_lease(&run, &never).await).code, "run_ended");
    coordinator.assert_nothing_left().await;
}

#[tokio::test]
async fn a_run_whose_cloud_does_not_work_is_shown_and_can_be_abandoned() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "single", "true").await;
    let run = coordinator.launch("tests/single").await;
    let detail = coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let machine = coordinator.machines().pop().expect("one");
    // A file where the cloud's folder of the run was: nobody can list or remove anything any more.
    let folder = machine.parent().expect("of the run").to_owned();
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).expect("renamed");
    std::fs::write(&folder, "").expect("written");
    let client = coordinator.client();
    client.terminate(&run).await.expect("accepted");
    let shown = eventually("the trouble is shown", || async { client.run(&run).await.ok()?.retrying }).await;
    assert!(shown.next_try > shown.since, "{shown:?}");
    let output = cli(&coordinator.profile()).args(["run", "show", &run]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("next try in"), "{text}");

    let asked = cli(&coordinator.profile()).args(["run", "abandon", &run]).output().expect("runs");
    assert_eq!(asked.status.code(), Some(2), "it wants --yes");
    assert_eq!(client.run(&run).await.expect("read").summary.state, RunState::Finalizing);
    let done = cli(&coordinator.profile()).args(["run", "abandon", &run, "--yes"]).output().expect("runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("machine.1") && text.contains("ss-"), "{text}");
    let ended = client.run(&run).await.expect("read");
    assert_eq!((ended.summary.state, ended.summary.outcome), (RunState::Done, Outcome::Succeeded));
    assert_eq!(ended.left[0].machine, detail.nodes[0].machine);
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("renamed back");
}
