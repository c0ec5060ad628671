//! A machine's waits share one connection, and what its scripts set is neither lost nor doubled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slipstream_shared::{
    event::{Event, Record},
    state::RunState,
};
use slipstream_tests::{Coordinator, Machine, Options, eventually, next_record};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    task::JoinSet,
};

use crate::processes::{LIMIT, key, put_single};

const WAITS: usize = 1000;

async fn one_machine(name: &str) -> (Coordinator, String, Machine) {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, name, "true").await;
    let run = coordinator.launch(&format!("tests/{name}")).await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let machine = Machine::take_over(&coordinator, &run, "machine.1").await;
    (coordinator, run, machine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waits_of_one_machine_share_one_connection_and_all_wake() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("readable");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).expect("our own");
    let (coordinator, run, machine) = one_machine("thousand").await;
    let before = machine.proxy.accepted();
    let mut waits = JoinSet::new();
    for _ in 0..WAITS {
        let mut stream = UnixStream::connect(machine.socket()).await.expect("the agent listens");
        let request = "{\"do\":\"get\",\"key\":\"answer\",\"wait\":true}\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        waits.spawn(async move {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.expect("answered");
            (line, Instant::now())
        });
    }
    // Real commands among them.
    let mut commands: Vec<_> =
        (0..20).map(|_| machine.command(&["wait", "answer=go"]).spawn().expect("starts")).collect();
    eventually("both kinds are on record", || async {
        let detail = coordinator.client().run(&run).await.ok()?;
        (detail.nodes[0].waiting.len() == 2).then_some(())
    })
    .await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", machine.pid())).expect("it runs").count();
    eventually("the agent has accepted all", || async { (descriptors() > WAITS + 20).then_some(()) }).await;
    assert_eq!(machine.proxy.open(), 1, "one connection to the coordinator");
    let began = Instant::now();
    coordinator.client().set_parameter(&run, &key("machine.1:answer"), "go").await.expect("set");
    let mut last = began;
    let mut woken = 0;
    while let Some(answer) = waits.join_next().await {
        let (line, at) = answer.expect("no panic");
        assert!(line.contains("\"is\":\"value\"") && line.contains("\"value\":\"go\""), "{line}");
        last = last.max(at);
        woken += 1;
    }
    for command in &mut commands {
        assert!(command.wait().expect("ended").success());
    }
    assert_eq!(woken, WAITS);
    assert_eq!((machine.proxy.open(), machine.proxy.accepted()), (1, before), "still the same one");
    eprintln!("{WAITS} waits of one machine: the last one woke {:?} after the set was asked for", last - began);
}

/// How many values are set one after the other.
const SETS: u32 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_neither_lost_nor_doubled_nor_reordered_whoever_is_killed() {
    let (mut coordinator, run, mut machine) = one_machine("counter").await;
    let mut random = 0x5eed_u64;
    let mut within = |least: u32, most: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + u32::try_from(random >> 33).expect("31 bits") % (most - least)
    };
    let done = Arc::new(AtomicU32::new(0));
    let (counter, socket) = (Arc::clone(&done), machine.command(&[]).get_program().to_owned());
    let environment = machine.socket().to_owned();
    let setting = std::thread::spawn(move || {
        for value in 1..=SETS {
            let mut set = std::process::Command::new(&socket);
            set.args(["set", "answer", &value.to_string()]).env("SLIPSTREAM_SOCKET", &environment);
            let output = set.output().expect("runs");
            assert!(output.status.success(), "{value}: {}", String::from_utf8_lossy(&output.stderr));
            counter.store(value, Ordering::SeqCst);
        }
    });
    let (mut next, mut kills) = (within(5, 30), [0, 0]);
    let mut away = false;
    while next < SETS {
        eventually("some more are set", || async { (done.load(Ordering::SeqCst) >= next).then_some(()) }).await;
        match within(0, 3) {
            // While it is away, what is set is kept on the machine's disk.
            0 if !away => {
                coordinator.kill();
                (away, kills[0]) = (true, kills[0] + 1);
            }
            0 | 1 if away => {
                coordinator.restart().await;
                away = false;
            }
            _ => {
                machine.kill();
                machine.start();
                kills[1] += 1;
            }
        }
        next += within(10, 40);
    }
    if away {
        coordinator.restart().await;
    }
    setting.join().expect("all were set");
    let answer = key("machine.1:answer");
    eventually("the last value has come", || async {
        let shown = coordinator.client().parameter(&run, &answer).await.ok()?;
        (shown.value? == SETS.to_string()).then_some(())
    })
    .await;
    let last = coordinator.client().run(&run).await.expect("read").seq;
    let mut events = coordinator.client().events(&run, 0);
    let mut values = Vec::new();
    loop {
        let Record { seq, event, .. } = next_record(&mut events).await;
        if let Event::ParameterSet { key, value } = event
            && key == answer
        {
            values.push(value.parse::<u32>().expect("a number"));
        }
        if seq >= last {
            break;
        }
    }
    assert_eq!(values, (1..=SETS).collect::<Vec<_>>(), "killed {kills:?}");
    assert!(kills.iter().all(|times| *times >= 2), "too gentle: {kills:?}");
}
