//! Sizes and disks of machines, on the fake cloud.

use std::{collections::BTreeMap, time::Duration};

use slipstream_shared::{
    api::{InstanceInfo, OperationStatus},
    disk::{DiskName, DiskSpec},
    event::Event,
    id::{InstanceId, RunId},
    operation::{Asked, Hook, SCALING_ACTION, SCALING_DEVICE, SCALING_DISK, SCALING_FAILED, SCALING_NODE, SCALING_VMS},
    plan::{OnSilent, Plan, Size},
    state::{Milestone, RunState},
};

use super::{
    ann,
    ready::{break_hook, hook, up},
    site::{Site, plan},
};
use crate::cloud::{CloudError, Observed, fake::Habits};

fn id(text: &str) -> InstanceId {
    text.parse().expect("valid")
}

fn resize(names: &[&str], cpu: u32) -> Asked {
    let size = Size { cpu: Some(cpu), ..Size::default() };
    Asked::Resize { instances: names.iter().map(|name| id(name)).collect(), nodes: vec![], size }
}

fn add_disk(names: &[&str], mount: Option<&str>) -> Asked {
    Asked::AddDisk { instances: names.iter().map(|name| id(name)).collect(), spec: disk(5 << 30, mount) }
}

fn remove_disk(name: &str, number: u32) -> Asked {
    Asked::RemoveDisk { instance: id(name), disk: DiskName::new(number) }
}

/// Each machine has a size, a disk, and hooks.
fn hooked(count: u32) -> Plan {
    let mut plan = plan(count);
    let web = plan.nodes.values_mut().next().expect("web");
    web.size = Size { cpu: Some(1), ram: Some(1 << 30), disk: None };
    web.disks = vec![disk(20 << 30, Some("/data"))];
    hook(&mut plan, &[Hook::PreScale, Hook::PostScale, Hook::OnVmAdd]);
    plan
}

async fn instance(site: &Site, run: RunId, name: &str) -> InstanceInfo {
    let detail = site.handle(run).await.detail().await.expect("read");
    detail.nodes.into_iter().find(|node| node.instance == id(name)).expect("there")
}

/// The tasks that were ordered: who, what, and the variables they had.
async fn ordered(site: &Site, run: RunId) -> Vec<String> {
    let told = |env: &BTreeMap<String, String>| {
        let names = [SCALING_ACTION, SCALING_NODE, SCALING_VMS, SCALING_DISK, SCALING_DEVICE, SCALING_FAILED];
        names.map(|name| env.get(name).map_or("-", String::as_str).to_owned()).join("|")
    };
    let events = site.events(run).await.into_iter();
    let ordered = events.filter_map(|record| match record.event {
        Event::TaskOrdered { instance, step, env, .. } => Some(format!("{instance} {step} {}", told(&env))),
        _ => None,
    });
    ordered.collect()
}

/// Has the cloud change nothing for some minutes.
fn hold(site: &Site) {
    for _ in 0..20 {
        site.cloud.fail_change(CloudError::Transient("try later".into()), false);
    }
}

/// How often the machine of an instance was powered off, and on again.
async fn switched(site: &Site, run: RunId, name: &str) -> (usize, usize) {
    let events = site.events(run).await;
    let count = |wanted: bool| {
        let is =
            |e: &Event| matches!(e, Event::PowerChanged { instance, on, .. } if *instance == id(name) && *on == wanted);
        events.iter().filter(|record| is(&record.event)).count()
    };
    (count(false), count(true))
}

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
    site.handle(run).await.terminate(ann()).await.expect("accepted");
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

#[tokio::test(start_paused = true)]
async fn a_resize_powers_off_and_on_between_its_hooks_and_is_shown() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    // Its agent is back before the cloud is looked at again.
    site.cloud.set_habits(Habits { boot: Duration::from_secs(5), idempotent: false, ..Habits::default() });
    let begun = handle.operate(ann(), resize(&["web.1"], 4), None).await.expect("accepted");
    assert_eq!((begun.number, begun.touch), (1, vec![id("web.1")]));
    let done = site.over(run, 1).await;
    assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    let wanted = Size { cpu: Some(4), ram: Some(1 << 30), disk: None };
    let now = instance(&site, run, "web.1").await;
    assert_eq!((&now.size, now.milestone, now.attempt), (&wanted, Milestone::Ready, 1));
    assert_eq!(now.wanted_size.map(|size| size.cpu), None, "it stays so");
    let value = handle.parameter(&super::key("web.1:cpu.nb")).await.expect("there").value;
    assert_eq!(value.as_deref(), Some("4"));
    assert_eq!(instance(&site, run, "web.2").await.size.cpu, Some(1), "the other one is untouched");
    let found = site.cloud.connector().find(run).await.expect("found");
    let mut sizes: Vec<_> = found.iter().map(|seen| (seen.key.instance.to_string(), seen.size.cpu)).collect();
    sizes.sort();
    assert_eq!(sizes, [("web.1".to_owned(), Some(4)), ("web.2".to_owned(), Some(1))]);
    let told = "vm_resize|web|web.1|-|-|-";
    assert_eq!(ordered(&site, run).await, [format!("web.1 pre_scale {told}"), format!("web.1 post_scale {told}")]);
    assert_eq!((switched(&site, run, "web.1").await, switched(&site, run, "web.2").await), ((1, 1), (0, 0)));

    // The check belongs to the boot, and comes after the hook.
    let events = site.events(run).await;
    let place = |what: &dyn Fn(&Event) -> bool| events.iter().rposition(|r| what(&r.event)).expect("it happened");
    let post = place(&|e| matches!(e, Event::StepFinished { step, .. } if step == "post_scale"));
    assert!(post < place(&|e| matches!(e, Event::InstanceReady { instance } if *instance == id("web.1"))));

    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(handle.detail().await.expect("read").summary.health, "2 of 2 ready", "it is heard");
    let error = handle.operate(ann(), resize(&["web.1"], 4), None).await.expect_err("the same");
    assert_eq!(error.to_string(), "there is nothing to change: web.1 has 4 cpu, 1 GiB ram already");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_resized_gives_its_size_to_those_that_come_later() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    let size = Size { ram: Some(2 << 30), ..Size::default() };
    let asked = Asked::Resize { instances: vec![], nodes: vec!["web".parse().expect("valid")], size };
    handle.operate(ann(), asked, None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!((done.status, done.touch.len()), (OperationStatus::Succeeded, 2));
    let count = [("web".parse().expect("valid"), 3)].into();
    handle.operate(ann(), Asked::Scale { count, remove: vec![] }, None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    for name in ["web.1", "web.2", "web.3"] {
        let size = instance(&site, run, name).await.size;
        assert_eq!(size, Size { cpu: Some(1), ram: Some(2 << 30), disk: None }, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn disks_come_and_go_while_the_machine_runs() {
    let (site, run) = up(hooked(1)).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), add_disk(&["web.1"], Some("/more")), None).await.expect("accepted");
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);
    assert_eq!(disks(&site, run).await, ["disk1", "disk2"]);
    let value = async |name: &str| handle.parameter(&super::key(name)).await.expect("there").value;
    assert_eq!(value("web.1:disk.attached.device").await.as_deref(), Some("/dev/disk/by-id/virtio-disk2"));
    assert_eq!(value("web.1:disk.attach.size").await.as_deref(), Some("5"));
    handle.operate(ann(), remove_disk("web.1", 1), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    assert_eq!(disks(&site, run).await, ["disk2"]);
    assert_eq!(value("web.1:disk.detach.device").await.as_deref(), Some("/dev/disk/by-id/virtio-disk1"));
    handle.operate(ann(), add_disk(&["web.1"], Some("/data")), None).await.expect("the folder is free again");
    assert_eq!(site.over(run, 3).await.status, OperationStatus::Succeeded);
    assert_eq!(disks(&site, run).await, ["disk2", "disk3"], "a name is not used again");
    let shown: Vec<_> = instance(&site, run, "web.1").await.disks.iter().map(|info| info.disk.to_string()).collect();
    assert_eq!(shown, ["disk2 (5 GiB, mounted on /more)", "disk3 (5 GiB, mounted on /data)"]);
    assert_eq!(switched(&site, run, "web.1").await, (0, 0), "it ran all the time");
    let (attach, detach) = ("disk_attach|web|web.1|disk2", "disk_detach|web|web.1|disk1");
    let device = |number: u32| format!("/dev/disk/by-id/virtio-disk{number}");
    let expected = [
        format!("web.1 pre_scale {attach}|-|-"),
        format!("web.1 take_disk {attach}|{}|-", device(2)),
        format!("web.1 post_scale {attach}|{}|-", device(2)),
        format!("web.1 pre_scale {detach}|{}|-", device(1)),
        format!("web.1 release_disk {detach}|{}|-", device(1)),
        format!("web.1 post_scale {detach}|-|-"),
    ];
    assert_eq!(ordered(&site, run).await[..6], expected);
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_pre_scale_changes_nothing_anywhere() {
    for asked in [resize(&["web.1", "web.2"], 8), add_disk(&["web.1", "web.2"], None), remove_disk("web.1", 1)] {
        let mut plan = hooked(2);
        break_hook(&mut plan, Hook::PreScale);
        let (site, run) = up(plan).await;
        let handle = site.handle(run).await;
        let before = site.cloud.connector().find(run).await.expect("found");
        handle.operate(ann(), asked.clone(), None).await.expect("accepted");
        let done = site.over(run, 1).await;
        let why = "Failed running 'pre_scale' script on 'web.1': exit code 1";
        assert_eq!((done.status, done.failure.as_deref()), (OperationStatus::Failed, Some(why)), "{asked:?}");
        assert_eq!(site.cloud.connector().find(run).await.expect("found"), before, "{asked:?}");
        let events = site.events(run).await;
        let touched = |e: &Event| matches!(e, Event::PowerIntended { .. } | Event::MachineChangeIntended { .. });
        assert!(!events.iter().any(|record| touched(&record.event)), "{asked:?}");
        assert!(!ordered(&site, run).await.iter().any(|call| call.contains("post_scale")), "{asked:?}");
        assert_eq!(handle.detail().await.expect("read").summary.ready, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_refuses_fails_the_operation_and_the_machine_comes_back_as_it_was() {
    let (site, run) = up(hooked(1)).await;
    let handle = site.handle(run).await;
    site.cloud.fail_change(CloudError::Quota("4 processors".into()), false);
    handle.operate(ann(), resize(&["web.1"], 8), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    let why = "web.1: cannot resize to 8 cpu, 1 GiB ram: quota reached: 4 processors";
    assert_eq!((done.status, done.failure.as_deref()), (OperationStatus::Failed, Some(why)));
    let now = instance(&site, run, "web.1").await;
    assert_eq!((now.size.cpu, now.wanted_size, now.milestone), (Some(1), None, Milestone::Ready));
    assert_eq!(switched(&site, run, "web.1").await, (1, 1));
    let calls = ordered(&site, run).await;
    assert!(calls[1].starts_with("web.1 post_scale vm_resize|web|web.1|-|-|web.1: cannot resize"), "{calls:?}");

    site.cloud.fail_change(CloudError::Permanent("no more volumes".into()), false);
    handle.operate(ann(), add_disk(&["web.1"], None), None).await.expect("accepted");
    let why = "web.1: cannot attach disk2 (5 GiB): no more volumes";
    assert_eq!(site.over(run, 2).await.failure.as_deref(), Some(why));
    assert_eq!((disks(&site, run).await, site.cloud.disks_made()), (vec!["disk1".to_owned()], 1));
    // Lost answers and a busy cloud are no failures, and make nothing twice.
    site.cloud.fail_change(CloudError::Transient("try later".into()), false);
    site.cloud.fail_change(CloudError::Ambiguous("connection reset".into()), true);
    handle.operate(ann(), add_disk(&["web.1"], None), None).await.expect("accepted");
    assert_eq!(site.over(run, 3).await.status, OperationStatus::Succeeded);
    assert_eq!((disks(&site, run).await.len(), site.cloud.disks_made()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_scale_fails_the_operation_and_the_machine_serves() {
    let mut plan = hooked(1);
    break_hook(&mut plan, Hook::PostScale);
    let (site, run) = up(plan).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), resize(&["web.1"], 2), None).await.expect("accepted");
    let done = site.over(run, 1).await;
    assert_eq!(done.failure.as_deref(), Some("Failed running 'post_scale' script on 'web.1': exit code 1"));
    let now = instance(&site, run, "web.1").await;
    assert_eq!((now.size.cpu, now.milestone), (Some(2), Milestone::Ready), "as large as it really is, and checked");
    assert_eq!(handle.detail().await.expect("read").summary.abort, None);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_or_cannot_be_done_is_refused_and_changes_nothing() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    let short = run.short();
    let refused = async |asked: Asked| {
        let before = handle.detail().await.expect("read").seq;
        let error = handle.operate(ann(), asked, None).await.expect_err("refused").to_string();
        assert_eq!(handle.detail().await.expect("read").seq, before, "{error}");
        error
    };
    assert_eq!(refused(resize(&["web.9"], 2)).await, "this run has no instance web.9");
    assert_eq!(refused(resize(&["web.1"], 0)).await, "a machine has 1 to 1024 processors, not 0");
    assert_eq!(refused(resize(&["web.1"], 5000)).await, "a machine has 1 to 1024 processors, not 5000");
    assert_eq!(refused(resize(&[], 2)).await, "nothing is asked for: name instances or nodes");
    let ram = |ram| {
        let size = Size { ram: Some(ram), ..Size::default() };
        Asked::Resize { instances: vec![id("web.1")], nodes: vec![], size }
    };
    assert_eq!(refused(ram(0)).await, "a machine has 16 MiB to 64 TiB of memory, not 0 B");
    assert_eq!(refused(ram(1 << 30)).await, "there is nothing to change: web.1 has 1 cpu, 1 GiB ram already");
    let elsewhere = Asked::Resize {
        instances: vec![],
        nodes: vec!["wep".parse().expect("valid")],
        size: Size { cpu: Some(2), ..Size::default() },
    };
    assert_eq!(refused(elsewhere).await, "this run has no node `wep` (did you mean `web`?)");
    assert_eq!(refused(add_disk(&["web.1"], Some("/data"))).await, "disk1 of web.1 is mounted on /data already");
    let none = Asked::AddDisk { instances: vec![id("web.1")], spec: disk(0, None) };
    assert_eq!(refused(none).await, "a disk has 4 MiB to 1024 TiB, not 0 B");
    assert_eq!(refused(remove_disk("web.1", 7)).await, "web.1 has no disk `disk7`; it has: disk1");

    // So that it takes a while.
    site.cloud.fail_power(CloudError::Transient("try later".into()));
    handle.operate(ann(), resize(&["web.1"], 2), None).await.expect("accepted");
    let busy = format!("operation 1 of run {short} is changing web.1: wait until it is over");
    assert_eq!(refused(resize(&["web.1"], 3)).await, busy);
    assert_eq!(refused(add_disk(&["web.2", "web.1"], None)).await, busy);
    let retry = Asked::Retry { instance: id("web.1"), from: "deploy".into(), script: None };
    assert_eq!(refused(retry).await, "operation 1 is changing web.1: wait until it is over");
    let alone = refused(Asked::Stop { instances: vec![] }).await;
    assert_eq!(alone, format!("operation 1 of run {short} is under way: wait until it is over"));
    handle.operate(ann(), add_disk(&["web.2"], None), None).await.expect("another instance may");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    assert_eq!(site.over(run, 1).await.status, OperationStatus::Succeeded);

    site.cloud.make_plain();
    let plain = "cloud `fake` (kind `fake`) cannot";
    assert_eq!(refused(resize(&["web.1"], 9)).await, format!("{plain} change the size of the machine of web.1"));
    assert_eq!(refused(add_disk(&["web.1"], None)).await, format!("{plain} give a disk to the machine of web.1"));
    assert_eq!(refused(remove_disk("web.1", 1)).await, format!("{plain} take a disk from the machine of web.1"));
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(refused(resize(&["web.1"], 9)).await, format!("run {short} has ended (Done)"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_stopped_is_changed_and_stays_stopped() {
    let (site, run) = up(hooked(1)).await;
    let handle = site.handle(run).await;
    handle.operate(ann(), Asked::Stop { instances: vec![] }, None).await.expect("accepted");
    site.over(run, 1).await;
    handle.operate(ann(), resize(&["web.1"], 2), None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    handle.operate(ann(), add_disk(&["web.1"], Some("/more")), None).await.expect("accepted");
    assert_eq!(site.over(run, 3).await.status, OperationStatus::Succeeded);
    assert_eq!(ordered(&site, run).await, [""; 0], "no script runs there");
    assert_eq!(instance(&site, run, "web.1").await.milestone, Milestone::Stopped);
    handle.operate(ann(), Asked::Start { instances: vec![] }, None).await.expect("accepted");
    assert_eq!(site.over(run, 4).await.status, OperationStatus::Succeeded);
    let seen = seen(&site, run).await;
    assert_eq!((seen.size.cpu, seen.disks.len()), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_lost_while_it_is_changed_is_replaced_and_the_operation_has_failed() {
    let mut plan = hooked(2);
    plan.nodes.values_mut().for_each(|node| node.on_silent = OnSilent::Replace);
    let (site, run) = up(plan).await;
    let handle = site.handle(run).await;
    hold(&site);
    handle.operate(ann(), add_disk(&["web.1"], None), None).await.expect("accepted");
    site.wait_until(run, |d| d.nodes[0].disks.iter().any(|disk| disk.status == "attaching")).await;
    site.cloud.vanish(&instance(&site, run, "web.1").await.machine.expect("known"));
    let done = site.over(run, 1).await;
    assert_eq!(done.failure.as_deref(), Some("web.1: its machine was lost and is replaced"));
    site.wait_until(run, |d| d.nodes[0].attempt == 2 && d.summary.ready == 2).await;
    assert_eq!(instance(&site, run, "web.1").await.disks.len(), 1, "what never came is not there");
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_can_be_removed_and_the_end_cuts_it_short() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    hold(&site);
    handle.operate(ann(), resize(&["web.2"], 2), None).await.expect("accepted");
    site.wait_until(run, |d| d.nodes[1].milestone == Milestone::Stopped).await;
    let count = [("web".parse().expect("valid"), 1)].into();
    handle.operate(ann(), Asked::Scale { count, remove: vec![] }, None).await.expect("accepted");
    assert_eq!(site.over(run, 2).await.status, OperationStatus::Succeeded);
    let done = handle.operation(1).await.expect("remembered");
    assert_eq!(done.failure.as_deref(), Some("web.2: it was gone before it could be changed"));
    assert_eq!(site.cloud.machines(), 1);

    hold(&site);
    handle.operate(ann(), resize(&["web.1"], 2), None).await.expect("accepted");
    site.wait_until(run, |d| d.nodes[0].milestone == Milestone::Stopped).await;
    handle.terminate(ann()).await.expect("accepted");
    site.wait_for(run, RunState::Done).await;
    assert_eq!(site.cloud.machines(), 0);
    let done = handle.operation(3).await.expect("remembered");
    assert_eq!((done.status, done.failure.is_some()), (OperationStatus::Failed, true), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn others_hooks_wait_for_a_machine_that_is_off_to_be_changed() {
    let (site, run) = up(hooked(2)).await;
    let handle = site.handle(run).await;
    site.cloud.set_habits(Habits { boot: Duration::from_secs(30), ..Habits::default() });
    let count = [("web".parse().expect("valid"), 3)].into();
    handle.operate(ann(), Asked::Scale { count, remove: vec![] }, None).await.expect("accepted");
    handle.operate(ann(), resize(&["web.1"], 2), None).await.expect("accepted");
    for number in [1, 2] {
        let done = site.over(run, number).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "{done:?}");
    }
    let calls = ordered(&site, run).await;
    let of_one: Vec<&str> = calls.iter().filter_map(|call| call.strip_prefix("web.1 ")?.split(' ').next()).collect();
    assert_eq!(of_one, ["on_vm_add", "pre_scale", "post_scale"], "in the order of the operations");
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_resize_goes_on_where_it_was() {
    killed(resize(&["web.1", "web.2"], 4), 8, async |site, run, point| {
        for name in ["web.1", "web.2"] {
            let now = instance(site, run, name).await;
            assert_eq!((now.size.cpu, now.milestone), (Some(4), Milestone::Ready), "killed after record {point}");
            assert_eq!(switched(site, run, name).await, (1, 1), "killed after record {point}");
        }
        assert_eq!(ordered(site, run).await.len(), 4, "killed after record {point}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_disk_comes_once() {
    killed(add_disk(&["web.1"], Some("/more")), 6, async |site, run, point| {
        let disks = instance(site, run, "web.1").await.disks;
        assert_eq!((disks.len(), site.cloud.disks_made()), (2, 3), "killed after record {point}");
        assert_eq!(ordered(site, run).await.len(), 3, "killed after record {point}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_record_a_disk_goes() {
    killed(remove_disk("web.2", 1), 6, async |site, run, point| {
        assert_eq!(instance(site, run, "web.2").await.disks, [], "killed after record {point}");
        let found = site.cloud.connector().find(run).await.expect("found");
        assert_eq!(found.iter().map(|seen| seen.disks.len()).sum::<usize>(), 1, "killed after record {point}");
    })
    .await;
}

/// Kills the coordinator after the first, the second ... record of an operation, and lets the next one go on.
async fn killed(asked: Asked, least: i64, holds: impl AsyncFn(&Site, RunId, i64)) {
    for point in 1.. {
        let (mut site, run) = up(hooked(2)).await;
        site.die_after(point);
        let died = tokio::join!(site.operate_somehow(run, asked.clone()), site.restart_when_dead()).1;
        site.die_after(i64::MAX);
        site.handle(run).await.operate(ann(), asked.clone(), Some(7)).await.expect("the same");
        let done = site.over(run, 1).await;
        assert_eq!(done.status, OperationStatus::Succeeded, "killed after record {point}: {done:?}");
        assert_eq!(site.cloud.machines(), 2, "killed after record {point}");
        holds(&site, run, point).await;
        if !died {
            assert!(point > least, "the operation has more records than {point}");
            return;
        }
    }
}
