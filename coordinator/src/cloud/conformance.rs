//! What every connector promises, as tests.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use slipstream_shared::{
    context::{Context, VERSION},
    disk::{Disk, DiskName, DiskSpec},
    id::{AttemptKey, RunId},
    plan::{Network, Size},
};

use super::{CloudError, Connector, LaunchRequest, MachineState, Observed, UserData};

/// A cloud under test.
#[async_trait]
pub(super) trait Subject: Sync {
    /// A connector to the cloud, as a coordinator that has just started makes it.
    fn open(&self) -> Arc<dyn Connector>;

    /// An image of it.
    fn image(&self) -> &'static str;

    /// The user data as the machine got it. None: not yet.
    async fn received(&self, run: RunId, machine: &str) -> Option<Vec<u8>>;

    /// Leaves behind what a coordinator leaves that dies just before the machine starts, if that can be.
    async fn interrupt(&self, request: &LaunchRequest) -> bool;

    /// Asserts that nothing of a released run is left anywhere.
    async fn assert_clean(&self, run: RunId);

    /// Waits until the system of a running machine has come so far that it sees disks come and go.
    async fn booted(&self, _run: RunId, _machine: &str) {}

    /// How long a machine may take to run or to be gone.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// Checks all promises. Run ids start from `seed`, so that suites may share a cloud.
pub(super) async fn check(subject: &dyn Subject, seed: u8) {
    subject.open().validate(Some(subject.image())).await.expect("valid");
    one_key_is_one_machine(subject, RunId::new(1, [seed; 10])).await;
    machines_outlive_the_connector(subject, RunId::new(2, [seed + 1; 10])).await;
    names_that_differ_in_case_do_not_collide(subject, RunId::new(3, [seed + 2; 10])).await;
    what_a_crash_left_is_made_again_or_removed(subject, RunId::new(4, [seed + 3; 10])).await;
    a_stopped_machine_is_the_same_when_it_is_started(subject, RunId::new(6, [seed + 5; 10])).await;
    a_machine_that_is_off_gets_another_size(subject, RunId::new(7, [seed + 6; 10])).await;
    disks_come_and_go_and_stay_over_a_stop(subject, RunId::new(8, [seed + 7; 10])).await;
    unknown_things_are_no_error(subject, RunId::new(5, [seed + 4; 10])).await;
}

async fn one_key_is_one_machine(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    let request = request(subject, run, "web.1", 1);
    let (first, second) = tokio::join!(cloud.launch(&request), cloud.launch(&request));
    let machine = first.expect("launched");
    assert_eq!(second.as_ref(), Ok(&machine));
    assert_eq!(subject.open().launch(&request).await.as_ref(), Ok(&machine), "of the next coordinator");

    let seen = running(subject, run, &machine).await;
    assert_eq!(seen.key, request.key);
    assert!(seen.private.is_some(), "a running machine has an address: {seen:?}");
    assert_eq!(cloud.find(run).await.expect("found").len(), 1);
    cloud.console(run, &machine).await.expect("a console, or none");

    let got = eventually(subject, "user data", || subject.received(run, &machine)).await;
    let context = Context::from_user_data(&got).expect("a context");
    assert_eq!(got, context.to_user_data().expect("fits").into_bytes(), "byte for byte");
    assert_eq!(Context { interfaces: request.user_data.0.interfaces.clone(), ..context }, request.user_data.0);

    terminate(subject, run, &machine).await;
    cloud.terminate(run, &machine).await.expect("once more");
    release(subject, run).await;
}

async fn machines_outlive_the_connector(subject: &dyn Subject, run: RunId) {
    let (one, two) = (request(subject, run, "db.1", 1), request(subject, run, "db.2", 2));
    let first = subject.open().launch(&one).await.expect("launched");
    let second = subject.open().launch(&two).await.expect("launched");
    let (a, b) = (running(subject, run, &first).await, running(subject, run, &second).await);
    assert_ne!(a.private, b.private);
    terminate(subject, run, &first).await;
    assert_eq!(running(subject, run, &second).await, b, "the other one is untouched");
    terminate(subject, run, &second).await;
    release(subject, run).await;
}

async fn names_that_differ_in_case_do_not_collide(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    let long = "A23456789012345678901234567890_.4294967295";
    let (one, two) = (request(subject, run, long, 1), request(subject, run, &long.to_ascii_lowercase(), 2));
    let first = cloud.launch(&one).await.expect("launched");
    let second = cloud.launch(&two).await.expect("launched");
    assert_ne!(first, second);
    assert_eq!(cloud.launch(&one).await, Ok(first.clone()));
    assert_eq!(cloud.launch(&two).await, Ok(second.clone()));
    running(subject, run, &first).await;
    running(subject, run, &second).await;
    terminate(subject, run, &first).await;
    terminate(subject, run, &second).await;
    release(subject, run).await;
}

async fn what_a_crash_left_is_made_again_or_removed(subject: &dyn Subject, run: RunId) {
    let request = request(subject, run, "web.1", 1);
    if !subject.interrupt(&request).await {
        return;
    }
    // Nobody may be told that there is a machine that will never run.
    assert_eq!(subject.open().find(run).await, Ok(Vec::new()));
    let machine = subject.open().launch(&request).await.expect("launched");
    running(subject, run, &machine).await;
    terminate(subject, run, &machine).await;
    release(subject, run).await;

    assert!(subject.interrupt(&request).await);
    release(subject, run).await;
}

async fn a_stopped_machine_is_the_same_when_it_is_started(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    if !cloud.can_power() {
        return;
    }
    let machine = cloud.launch(&request(subject, run, "web.1", 1)).await.expect("launched");
    let before = running(subject, run, &machine).await;
    for _ in 0..2 {
        for _ in 0..2 {
            subject.open().power(run, &machine, false).await.expect("off, or off already");
        }
        eventually(subject, "stop", async || {
            let found = subject.open().find(run).await.expect("found");
            let seen = found.into_iter().find(|seen| seen.machine == machine).expect("still there");
            (seen.state == MachineState::Stopped).then_some(())
        })
        .await;
        for _ in 0..2 {
            subject.open().power(run, &machine, true).await.expect("on, or on already");
        }
        assert_eq!(running(subject, run, &machine).await, before, "the same machine");
    }
    cloud.power(run, &machine, false).await.expect("off");
    terminate(subject, run, &machine).await;
    cloud.power(run, &machine, true).await.expect_err("gone");
    release(subject, run).await;
}

async fn a_machine_that_is_off_gets_another_size(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    let machine = cloud.launch(&request(subject, run, "web.1", 1)).await.expect("launched");
    let before = running(subject, run, &machine).await;
    let size = Size { cpu: Some(2), ram: Some(160 << 20), disk: None };
    if cloud.can_resize() {
        cloud.resize(run, &machine, &size).await.expect_err("it runs");
        assert_eq!(running(subject, run, &machine).await, before, "nothing has changed");
    } else {
        assert!(matches!(cloud.resize(run, &machine, &size).await, Err(CloudError::Permanent(_))));
    }
    if cloud.can_resize() && cloud.can_power() {
        switch(subject, run, &machine, false).await;
        for _ in 0..2 {
            subject.open().resize(run, &machine, &size).await.expect("resized, or so already");
        }
        assert!(cloud.resize(run, &machine, &Size { ram: Some(1), ..Size::default() }).await.is_err());
        switch(subject, run, &machine, true).await;
        let after = running(subject, run, &machine).await;
        assert_eq!(after, Observed { size: before.size.with(&size), ..before }, "the same but for its size");
    }
    terminate(subject, run, &machine).await;
    cloud.resize(run, &machine, &size).await.expect_err("gone");
    release(subject, run).await;
}

async fn disks_come_and_go_and_stay_over_a_stop(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    let disk = |number| Disk { name: DiskName::new(number), spec: DiskSpec { size: 8 << 20, mount: None, fs: None } };
    if !cloud.can_attach() {
        assert!(matches!(cloud.attach(run, "any", &disk(1)).await, Err(CloudError::Permanent(_))));
        assert!(matches!(cloud.detach(run, "any", disk(1).name).await, Err(CloudError::Permanent(_))));
        return;
    }
    let with_disk = LaunchRequest { disks: vec![disk(1)], ..request(subject, run, "web.1", 1) };
    let machine = cloud.launch(&with_disk).await.expect("launched");
    assert_eq!(cloud.launch(&with_disk).await.as_ref(), Ok(&machine));
    running(subject, run, &machine).await;
    let disks = async || {
        let found = subject.open().find(run).await.expect("found");
        found.into_iter().flat_map(|seen| seen.disks).map(|disk| disk.to_string()).collect::<Vec<_>>()
    };
    let booted = tokio::time::timeout(subject.patience(), subject.booted(run, &machine));
    booted.await.expect("booted in time");
    for number in [2, 2, 3] {
        subject.open().attach(run, &machine, &disk(number)).await.expect("attached, or there already");
    }
    assert_eq!(disks().await, ["disk1", "disk2", "disk3"]);
    for _ in 0..2 {
        subject.open().detach(run, &machine, disk(1).name).await.expect("detached, or gone already");
    }
    assert_eq!(disks().await, ["disk2", "disk3"]);
    if cloud.can_power() {
        switch(subject, run, &machine, false).await;
        cloud.detach(run, &machine, disk(2).name).await.expect("also of one that is off");
        cloud.attach(run, &machine, &disk(4)).await.expect("also to one that is off");
        switch(subject, run, &machine, true).await;
        running(subject, run, &machine).await;
        assert_eq!(disks().await, ["disk3", "disk4"]);
    }
    terminate(subject, run, &machine).await;
    cloud.attach(run, &machine, &disk(5)).await.expect_err("gone");
    release(subject, run).await;
}

/// Powers a machine on or off and waits until it is so.
async fn switch(subject: &dyn Subject, run: RunId, machine: &str, on: bool) {
    subject.open().power(run, machine, on).await.expect("accepted");
    let wanted = if on { MachineState::Running } else { MachineState::Stopped };
    eventually(subject, "power", async || {
        let found = subject.open().find(run).await.expect("found");
        found.iter().any(|seen| seen.machine == machine && seen.state == wanted).then_some(())
    })
    .await;
}

async fn unknown_things_are_no_error(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    for machine in ["", ".", "..", "../..", "/", "ss-none-web-1-1"] {
        cloud.terminate(run, machine).await.expect("already gone");
        assert_eq!(cloud.console(run, machine).await, Ok(None));
    }
    assert_eq!(cloud.find(run).await, Ok(Vec::new()));
    release(subject, run).await;
}

async fn terminate(subject: &dyn Subject, run: RunId, machine: &str) {
    subject.open().terminate(run, machine).await.expect("terminated");
    eventually(subject, "end", async || {
        let found = subject.open().find(run).await.expect("found");
        found.iter().all(|seen| seen.machine != machine).then_some(())
    })
    .await;
}

async fn release(subject: &dyn Subject, run: RunId) {
    let cloud = subject.open();
    cloud.release(run).await.expect("released");
    cloud.release(run).await.expect("once more");
    subject.assert_clean(run).await;
}

/// Waits until the machine runs.
pub(super) async fn running(subject: &dyn Subject, run: RunId, machine: &str) -> Observed {
    eventually(subject, "machine", async || {
        let found = subject.open().find(run).await.expect("found");
        let seen = found.into_iter().find(|seen| seen.machine == machine)?;
        match &seen.state {
            MachineState::Running => Some(seen),
            MachineState::Pending => None,
            state => panic!("{machine} does not run: {state:?}"),
        }
    })
    .await
}

async fn eventually<T>(subject: &dyn Subject, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(subject.patience(), looking).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

/// A request for the instance.
pub(super) fn request(subject: &dyn Subject, run: RunId, instance: &str, ordinal: u32) -> LaunchRequest {
    let key = AttemptKey { run, instance: instance.parse().expect("an instance"), attempt: 1 };
    let at = |time: &str| time.parse().expect("a time");
    let context = Context {
        version: VERSION,
        run,
        instance: key.instance.clone(),
        attempt: 1,
        urls: vec!["https://127.0.0.1:8443".to_owned()],
        server_name: "coordinator.slipstream.internal".to_owned(),
        pin: "p".repeat(43),
        token: "t".repeat(43),
        issued: at("2026-01-01T00:00:00Z"),
        expires: at("2026-01-01T01:00:00Z"),
        interfaces: std::collections::BTreeMap::new(),
    };
    LaunchRequest {
        name: key.machine_name(),
        key,
        image: subject.image().to_owned(),
        size: Size::default(),
        disks: vec![],
        network: Network::Private,
        ordinal,
        user_data: UserData(context),
    }
}

/// All processes of a coordinator under test. Whatever is left of them is killed when this is dropped.
pub(super) struct Sweep(pub String);

impl Sweep {
    /// Their numbers and names.
    pub(super) fn marked(&self) -> Vec<(i32, String)> {
        let mark = format!("SLIPSTREAM_MACHINE={}/", self.0);
        let marked = |entry: std::fs::DirEntry| {
            let read = |file| std::fs::read(entry.path().join(file)).unwrap_or_default();
            let found = String::from_utf8_lossy(&read("environ")).contains(&mark);
            let pid = entry.file_name().to_str()?.parse().ok()?;
            found.then(|| (pid, String::from_utf8_lossy(&read("comm")).trim().to_owned()))
        };
        std::fs::read_dir("/proc").expect("proc").flatten().filter_map(marked).collect()
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        for (pid, _) in self.marked() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
