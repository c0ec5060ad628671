//! The agent as a whole, against a coordinator in memory: enrolment, link, steps, commands, failures.

use std::{fs, os::unix::fs::PermissionsExt as _};

use slipstream_shared::{
    event::StepResult,
    link::{Change, Down, Refusal},
    plan::{ReadyCheck, ReadyPlan},
};

use crate::common::{Machine, coordinator::Coordinator, plan, poll, step};

fn finished(index: u32) -> impl Fn(&Change) -> bool {
    move |change| matches!(change, Change::StepFinished { index: i, .. } if *i == index)
}

fn result(change: Change) -> StepResult {
    match change {
        Change::StepFinished { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

fn is_ready(change: &Change) -> bool {
    *change == Change::Ready
}

#[test]
fn a_machine_enrols_runs_its_steps_and_is_ready() {
    let mut first = step("install", "#!/bin/sh\necho installed; echo careful >&2\nenv | sort; pwd");
    first.env.insert("COLOUR".into(), "blue".into());
    let second = step("deploy", "ss-set port 8080; ss-get db.1:ready; ss-set greeting \"$(ss-get port)-hello\"");
    let coordinator = Coordinator::new(plan(vec![first, second]));
    let machine = Machine::started(&coordinator);
    assert_eq!(result(coordinator.wait_for_change(finished(0))).exit, Some(0));
    coordinator.wait("the wait for db.1:ready", |world| (world.waiting() == 1).then_some(()));
    coordinator.set("db.1:ready", "true");
    coordinator.wait_for_change(is_ready);
    let world = coordinator.world();
    assert_eq!(world.values["web.1:greeting"], "8080-hello");
    let log = String::from_utf8_lossy(&world.logs[&0]);
    for line in ["installed\n", "careful\n", "COLOUR=blue\n", "SLIPSTREAM_INSTANCE=web.1\n", "SLIPSTREAM_MACHINE=m-1\n"]
    {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    assert!(!log.contains("SECRET_OF_THE_DAEMON"), "the daemon's environment is its own");
    assert_eq!(world.enrolments.len(), 1);
    assert_eq!(world.enrolments[0].token, "SECRET-TOKEN");
    drop(world);
    let key = fs::metadata(machine.state(&coordinator, "key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let journal = machine.journal();
    assert!(journal.contains("[install] installed\n") && !journal.contains("SECRET-TOKEN"), "{journal}");
    assert_eq!(machine.run("slipstream-agent", &["status", "--wait"]).0, 0);
}

#[test]
fn a_change_whose_answer_is_lost_is_made_once() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "ss-set a 1; ss-set b 2; ss-set c 3")]));
    // Started is 1, the three values are 2, 3 and 4, finished is 5.
    coordinator.world().cut_at_op = Some(3);
    let _machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    let world = coordinator.world();
    assert_eq!(world.last_op, 6);
    assert_eq!(world.changes.iter().filter(|c| matches!(c, Change::Set { .. })).count(), 3);
    assert_eq!(world.links, 2);
    assert_eq!(world.values["web.1:c"], "3");
}

#[test]
fn a_wait_and_the_output_survive_a_broken_connection() {
    let script = "echo before; ss-get go 2>/dev/null; echo after";
    let coordinator = Coordinator::new(plan(vec![step("deploy", script)]));
    let _machine = Machine::started(&coordinator);
    coordinator.wait("the wait", |world| (world.waiting() == 1).then_some(()));
    coordinator.wait_for_log(0, "before\n");
    coordinator.cut();
    coordinator.wait("a second link with the wait", |world| (world.links == 2 && world.waiting() == 1).then_some(()));
    coordinator.set("web.1:go", "now");
    coordinator.wait_for_change(is_ready);
    assert_eq!(coordinator.wait_for_log(0, "after\n"), "before\nnow\nafter\n");
}

#[test]
fn a_failed_step_tells_its_code_and_last_words_and_ends_the_deployment() {
    let failing = "echo trouble >&2; echo >&2; exit 3";
    let coordinator = Coordinator::new(plan(vec![step("install", failing), step("deploy", "true")]));
    let machine = Machine::started(&coordinator);
    let result = result(coordinator.wait_for_change(finished(0)));
    assert_eq!((result.exit, result.last_stderr.as_deref()), (Some(3), Some("trouble")));
    let (code, out, _) = machine.run("slipstream-agent", &["status", "--wait"]);
    assert_eq!(code, 1);
    assert!(out.contains("install: exit code 3: trouble"), "{out}");
    assert!(!coordinator.world().changes.contains(&Change::StepStarted { index: 1 }));
}

#[test]
fn a_missing_interpreter_and_a_deadline_are_named() {
    let mut slow = step("deploy", "#!/bin/sh\ntrap 'echo ending; exit 7' TERM\necho on\nwhile :; do sleep 0.05; done");
    slow.within = Some(1);
    let coordinator = Coordinator::new(plan(vec![slow]));
    let _machine = Machine::started(&coordinator);
    let result_of_slow = result(coordinator.wait_for_change(finished(0)));
    assert_eq!((result_of_slow.cause.as_deref(), result_of_slow.exit), (Some("deadline"), Some(7)));
    coordinator.wait_for_log(0, "ending\n");

    let coordinator = Coordinator::new(plan(vec![step("deploy", "#!/no/such/program\n")]));
    let _machine = Machine::started(&coordinator);
    let cause = result(coordinator.wait_for_change(finished(0))).cause.unwrap();
    assert!(cause.starts_with("cannot run it: "), "{cause}");
}

#[test]
fn an_abort_ends_the_script_and_every_wait() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "ss-get never & exec sleep 1000")]));
    let machine = Machine::started(&coordinator);
    coordinator.wait("the wait", |world| (world.waiting() == 1).then_some(()));
    let waits: Vec<_> = [("slipstream-agent", &["get", "other"][..]), ("ss-get", &["--timeout", "0", "other"])]
        .into_iter()
        .map(|(name, arguments)| machine.command(name, arguments).spawn().unwrap())
        .collect();
    coordinator.wait("all waits", |world| (world.waiting() == 3).then_some(()));
    assert_eq!(machine.run("ss-abort", &["-because"]).0, 0);
    let result = result(coordinator.wait_for_change(finished(0)));
    assert_eq!((result.cause.as_deref(), result.signal), (Some("aborted"), Some(15)));
    let codes: Vec<_> = waits.into_iter().map(|mut wait| wait.wait().unwrap().code().unwrap()).collect();
    assert_eq!(codes, [5, 8]);
    assert_eq!(coordinator.world().abort.as_deref(), Some("-because"));
    assert_eq!(machine.run("ss-get", &["--noblock", "port"]).0, 8);
    assert_eq!(machine.run("ss-get", &["--noblock", "--ignore-abort", "port"]), (0, "\n".into(), String::new()));
    assert_eq!(machine.run("ss-cancel-abort", &[]).0, 0);
    assert_eq!(machine.run("ss-get", &["--noblock", "port"]).0, 0);
}

#[test]
fn a_gated_step_waits_for_its_environment() {
    let mut gated = step("deploy", "ss-set seen \"$DB\"");
    gated.gated = true;
    let coordinator = Coordinator::new(plan(vec![gated]));
    let _machine = Machine::started(&coordinator);
    coordinator.wait("the question", |world| (world.waiting() == 1).then_some(()));
    assert!(coordinator.world().changes.is_empty());
    coordinator.give_env(0, &[("DB", "10.0.0.7")]);
    coordinator.wait_for_change(is_ready);
    assert_eq!(coordinator.world().values["web.1:seen"], "10.0.0.7");
}

#[test]
fn what_a_successful_step_left_running_lives_on_even_when_the_agent_is_restarted() {
    let script = "(while [ ! -e \"$HOME/stop\" ]; do echo tick; sleep 0.02; done; echo stopped) &";
    let mut first = step("deploy", script);
    let coordinator = Coordinator::new(plan(vec![]));
    let mut machine = Machine::new(&coordinator);
    first.env.insert("HOME".into(), machine.dir.path().display().to_string());
    coordinator.world().plan = plan(vec![first]);
    machine.start();
    coordinator.wait_for_change(is_ready);
    coordinator.wait_for_log(0, "tick\n");
    machine.kill();
    machine.start();
    coordinator.wait("the second link", |world| (world.links == 2).then_some(()));
    let before = coordinator.world().logs[&0].len();
    coordinator.wait("more output", |world| (world.logs[&0].len() > before).then_some(()));
    fs::write(machine.path("stop"), "").unwrap();
    coordinator.wait_for_log(0, "stopped\n");
    let started = |c: &&Change| matches!(c, Change::StepStarted { .. });
    assert_eq!(coordinator.world().changes.iter().filter(started).count(), 1, "a finished step is not run again");
    poll("the pipes are gone", || {
        (fs::read_dir(machine.state(&coordinator, "pipes")).unwrap().count() == 0).then_some(())
    });
}

#[test]
fn a_step_that_runs_while_the_agent_is_restarted_is_not_run_twice() {
    let script = "#!/bin/sh\necho begun\nwhile [ ! -e \"$GO\" ]; do sleep 0.02; done\necho ended >&2; exit 4";
    let coordinator = Coordinator::new(plan(vec![]));
    let mut machine = Machine::new(&coordinator);
    let mut first = step("deploy", script);
    first.env.insert("GO".into(), machine.path("go").display().to_string());
    coordinator.world().plan = plan(vec![first]);
    machine.start();
    coordinator.wait_for_log(0, "begun\n");
    machine.kill();
    fs::write(machine.path("go"), "").unwrap();
    machine.start();
    let result = result(coordinator.wait_for_change(finished(0)));
    assert_eq!((result.exit, result.last_stderr.as_deref()), (Some(4), Some("ended")));
    assert_eq!(coordinator.wait_for_log(0, "ended"), "begun\nended\n");
    let started = |c: &&Change| matches!(c, Change::StepStarted { .. });
    assert_eq!(coordinator.world().changes.iter().filter(started).count(), 1);
}

#[test]
fn the_spool_survives_a_crash_while_the_coordinator_is_away() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    let mut machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    let context = fs::read_to_string(machine.path("context")).unwrap();
    machine.kill();
    // The coordinator is away: the only URL leads nowhere.
    let mut away = coordinator.context();
    away.urls.truncate(1);
    fs::write(machine.path("context"), away.to_user_data().unwrap()).unwrap();
    machine.start();
    poll("the agent is back", || {
        let (code, out, _) = machine.run("slipstream-agent", &["status", "--json"]);
        (code == 0 && out.contains("refused")).then_some(())
    });
    for value in ["1", "2", "3"] {
        let (code, _, err) = machine.run("ss-set", &["counter", value]);
        assert_eq!((code, err.trim()), (0, "the coordinator is away: kept until it is back"));
    }
    let stale = machine.run("slipstream-agent", &["get", "--stale-ok", "counter"]);
    assert_eq!(stale, (0, "3\n".into(), "the coordinator is away: this is the value seen last\n".into()));
    assert_eq!(machine.run("slipstream-agent", &["get", "--stale-ok", "--timeout", "1", "other"]).0, 4);
    machine.kill();
    fs::write(machine.path("context"), context).unwrap();
    machine.start();
    coordinator.wait("the last value", |world| (world.values.get("web.1:counter")? == "3").then_some(()));
    let world = coordinator.world();
    let set: Vec<_> = world.changes.iter().filter(|c| matches!(c, Change::Set { .. })).collect();
    assert_eq!(set.len(), 3);
    assert_eq!(world.enrolments.len(), 1, "the certificate was kept");
}

#[test]
fn another_coordinator_is_not_trusted() {
    let (ours, theirs) = (Coordinator::new(plan(vec![])), Coordinator::new(plan(vec![])));
    let mut machine = Machine::new(&ours);
    let mut context = ours.context();
    context.urls = theirs.context().urls[1..].to_vec();
    fs::write(machine.path("context"), context.to_user_data().unwrap()).unwrap();
    machine.start();
    poll("a line about it", || machine.journal().contains("no trust in").then_some(()));
    assert!(theirs.world().enrolments.is_empty(), "no token for a stranger");
}

#[test]
fn a_refusal_is_tried_again_or_final_as_it_says() {
    let refusal = |code: &str, retry| Refusal { code: code.into(), message: "not you".into(), retry };
    let coordinator = Coordinator::new(plan(vec![]));
    coordinator.world().refusals = vec![refusal("busy", true), refusal("busy", true), refusal("token", false)];
    let machine = Machine::started(&coordinator);
    let journal = poll("the final refusal", || {
        let journal = machine.journal();
        journal.contains("(token): not you").then_some(journal)
    });
    assert_eq!(journal.matches("(busy): not you").count(), 1, "one line per cause: {journal}");
    let keys: Vec<_> = coordinator.world().enrolments.iter().map(|e| e.csr.len()).collect();
    assert_eq!(keys.len(), 3);
    let (code, out, _) = machine.run("slipstream-agent", &["status"]);
    assert!(code == 0 && out.contains("stopped") && out.contains("not you"), "{out}");
}

#[test]
fn a_report_holds_what_its_script_wrote_and_the_logs() {
    let mut all = plan(vec![step("deploy", "echo deployed"), step("report", "echo hits > $SLIPSTREAM_REPORT_DIR/x")]);
    all.deploy = 1;
    let coordinator = Coordinator::new(all);
    let _machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    coordinator.say(Down::Report);
    coordinator.wait_for_change(|change| *change == Change::Reported);
    assert_eq!(result(coordinator.wait_for_change(finished(1))).exit, Some(0));
    let report = coordinator.world().report.take().unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&report[..]));
    let names: Vec<_> = tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["web.1_report/report/x", "web.1_report/log/0-deploy.log", "web.1_report/log/1-report.log"]);
}

#[test]
fn the_ready_check_resolves_its_reference_and_says_why_it_does_not_pass() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ready = |within| ReadyPlan { check: ReadyCheck::Tcp("${port}".parse().unwrap()), within, every: 1 };
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    coordinator.world().plan.ready = Some(ready(60));
    coordinator.give_env(0, &[("SLIPSTREAM_READY", &port)]);
    let _machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    drop(listener);
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    coordinator.world().plan.ready = Some(ready(1));
    coordinator.give_env(0, &[("SLIPSTREAM_READY", &port)]);
    let _machine = Machine::started(&coordinator);
    let change = coordinator.wait_for_change(|change| matches!(change, Change::NotReady { .. }));
    assert!(matches!(&change, Change::NotReady { reason } if reason.contains("refused")), "{change:?}");
}

#[test]
fn commands_keep_their_habits_and_exit_codes() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    let machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    let code = |name: &str, arguments: &[&str]| machine.run(name, arguments).0;
    let agent = |arguments: &[&str]| machine.run("slipstream-agent", arguments);
    assert_eq!(agent(&["set", "port", "-5"]).0, 0);
    assert_eq!(agent(&["get", "port"]), (0, "-5\n".into(), String::new()));
    assert_eq!(agent(&["wait", "port=-5"]).0, 0);
    assert_eq!(agent(&["wait", "--timeout", "1", "port=6"]).0, 4);
    assert_eq!(agent(&["wait", "port", "port=-5", "web.1:port"]).0, 0);
    assert_eq!(agent(&["wait", "--timeout", "1", "port", "other"]).0, 4);
    assert_eq!(agent(&["wait"]).0, 2);
    assert_eq!(agent(&["get", "--revision", "port"]), (0, "0\n".into(), String::new()));
    assert_eq!(agent(&["set", "--if-revision", "0", "lock", "x"]).0, 0);
    assert_eq!(agent(&["set", "--if-revision", "3", "lock", "y"]), (9, String::new(), "written meanwhile\n".into()));
    let (end, _, err) = agent(&["wait", "db[0+]:x=1"]);
    assert_eq!((end, err.trim()), (7, "`db[0+]:x` is not a condition: `[0+]` has no number before the `+`"));
    assert_eq!(agent(&["get", "--stale-ok", "port"]), (0, "-5\n".into(), String::new()), "it is not away");
    assert_eq!(agent(&["unset", "port"]).0, 0);
    assert_eq!(agent(&["get", "--noblock", "port"]).0, 3);
    assert_eq!(agent(&["get", "--timeout", "1", "port"]).0, 4);
    assert_eq!(agent(&["get", "unknown"]).0, 7);
    assert_eq!(agent(&["set", "unknown", "1"]).0, 7);
    assert_eq!(agent(&["get", "a:b:c"]).0, 7);
    assert_eq!(agent(&["get"]).0, 2);
    assert_eq!(agent(&["display", "half way"]).0, 0);
    assert_eq!(coordinator.world().values["web.1:statecustom"], "half way");
    assert_eq!(coordinator.world().abort, None, "an unknown key aborts nothing");

    let (end, out, err) = machine.run("ss-get", &["--timeout", "1", "port"]);
    assert_eq!((end, out.as_str()), (9, ""));
    assert!(err.starts_with("Waiting for port\n"), "{err}");
    assert_eq!(machine.run("ss-get", &["--noblock", "port"]), (0, "\n".into(), String::new()));
    assert_eq!(code("ss-get", &["unknown"]), 7);
    assert_eq!(code("ss-get", &[]), 2);
    assert_eq!(code("ss-set", &["-v", "port", "--", "-1"]), 0);
    assert_eq!(machine.run("ss-get", &["--endpoint", "x", "web:port"]).1, "-1\n");
    assert_eq!(code("ss-set", &["port", ""]), 0);
    assert!(!coordinator.world().values.contains_key("web.1:port"), "an empty value takes it away");
    let (_, text, _) = machine.run("ss-random", &["-s", "20", "secret"]);
    assert_eq!(text.trim_end().len(), 20);
    assert_eq!(coordinator.world().values["web.1:secret"], text.trim_end());

    for (key, value) in [("db:ids", "1, 2"), ("db.1:x", "a"), ("db.2:x", "b")] {
        coordinator.set(key, value);
    }
    assert_eq!(machine.run("ss-get-all", &["db", "x"]).1, "db.1:x a\ndb.2:x b\n");
    assert_eq!(code("ss-get-all", &["--value", "a", "db", "x"]), 1);
    coordinator.set("db.2:x", "a");
    assert_eq!(machine.run("ss-get-all", &["--value", "a", "db", "x"]), (0, String::new(), String::new()));
    assert_eq!(machine.run("ss-get-all", &["--noblock", "db", "y"]).1, "db.1:y \ndb.2:y \n");
}

#[test]
fn after_a_goodbye_everything_is_gone_but_the_status() {
    let coordinator = Coordinator::new(plan(vec![step("deploy", "true")]));
    let machine = Machine::started(&coordinator);
    coordinator.wait_for_change(is_ready);
    let mut wait = machine.command("slipstream-agent", &["get", "x"]).spawn().unwrap();
    coordinator.wait("the wait", |world| (world.waiting() == 1).then_some(()));
    coordinator.say(Down::Goodbye { reason: "the run has ended".into(), retry: false });
    assert_eq!(wait.wait().unwrap().code(), Some(8));
    assert_eq!(machine.run("ss-set", &["x", "1"]).0, 7);
    let (_, out, _) = poll("the status", || {
        Some(machine.run("slipstream-agent", &["status"])).filter(|(_, out, _)| out.contains("stopped"))
    });
    assert!(out.contains("the run has ended"), "{out}");
}

#[test]
fn without_an_agent_the_codes_tell_so() {
    let coordinator = Coordinator::new(plan(vec![]));
    let mut machine = Machine::started(&coordinator);
    poll("the commands", || machine.path("run/bin/ss-get").exists().then_some(()));
    machine.kill();
    assert_eq!(machine.run("slipstream-agent", &["get", "x"]).0, 6);
    assert_eq!(machine.run("ss-get", &["x"]).0, 4);
}
