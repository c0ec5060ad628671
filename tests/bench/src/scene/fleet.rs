//! Many machines from launch to Ready, each with its own key and connections, played by other processes.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use slipstream_shared::{
    client::{Client, Update},
    event::Event,
    id::RunId,
    state::RunState,
};
use tokio::sync::mpsc;

use crate::{
    Run,
    fleet::Played,
    ours::Ours,
    process::Process,
    row::{Rounds, Rows},
};

/// Machines of a run at most, below what the coordinator allows.
const IN_A_RUN: usize = 250;

/// Machines that one process plays at most: it may have 20,000 files open.
const IN_A_PROCESS: usize = 2_500;

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was measured with one size.
#[derive(Default)]
struct Figures {
    ready: Rounds,
    told: Rounds,
    cpu: Rounds,
    network: Rounds,
    memory: Rounds,
}

/// The same per machine, of one try.
#[derive(Clone, Copy)]
struct Measured {
    ready: f64,
    told: f64,
    cpu: f64,
    network: f64,
    memory: f64,
}

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (sizes, rounds): (&[usize], _) = if run.quick { (&[10, 100, 1000], 1) } else { (&[10, 100, 1000, 10_000], 3) };
    let mut all: HashMap<usize, Vec<Measured>> = HashMap::new();
    for _ in 0..rounds {
        for size in sizes {
            let measured = measure(run, *size).await.with_context(|| format!("{size} machines"))?;
            all.entry(*size).or_default().push(measured);
        }
    }
    for size in sizes {
        let mut figures = Figures::default();
        for one in &all[size] {
            figures.add(one);
        }
        let (ready, told) = match size {
            100 => ("", "<20"),
            1000 => ("<10", "<150"),
            _ => ("", ""),
        };
        let memory = if *size >= 1000 { "<40" } else { "" };
        let name = |what: &str| format!("{size} machines: {what}");
        rows.add(&figures.ready.row(&name("launch to Ready"), "s", "", ready))?;
        rows.add(&figures.told.row(&name("Ready until every agent knows"), "ms", "", told))?;
        rows.add(&figures.cpu.row(&name("server CPU per machine"), "ms", "", ""))?;
        rows.add(&figures.network.row(&name("network per machine"), "KiB", "", ""))?;
        rows.add(&figures.memory.row(&name("server memory per machine, link and wait"), "KiB", "", memory))?;
    }
    if let (Some(many), Some(few)) = (all.get(&10_000), all.get(&1000)) {
        let ratio = |figure: fn(&Measured) -> f64| {
            let mut rounds = Rounds::default();
            for (many, few) in many.iter().zip(few) {
                rounds.ours(figure(many));
                rounds.peer(figure(few));
            }
            rounds
        };
        let name = |what: &str| format!("{what} per machine, with 10,000");
        rows.add(&ratio(|m| m.cpu).row(&name("server CPU"), "ms", "with 1,000", "<1.3x"))?;
        rows.add(&ratio(|m| m.network).row(&name("network"), "KiB", "with 1,000", "<1.3x"))?;
        rows.add(&ratio(|m| m.memory).row(&name("server memory"), "KiB", "with 1,000", "<1.3x"))?;
    }
    Ok(())
}

impl Figures {
    fn add(&mut self, one: &Measured) {
        self.ready.ours(one.ready);
        self.told.ours(one.told);
        self.cpu.ours(one.cpu);
        self.network.ours(one.network);
        self.memory.ours(one.memory);
    }
}

async fn measure(run: &Run, size: usize) -> anyhow::Result<Measured> {
    let mut ours = Ours::start(&run.data).await?;
    let client = ours.client().await?;
    let mut fleet = Fleet::start(size.div_ceil(IN_A_PROCESS))?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (memory, cpu, began) = (ours.process.resident()?, ours.process.cpu()?, Instant::now());
    let mut left = size;
    while left > 0 {
        let machines = left.min(IN_A_RUN);
        ours.launch(&client, machines.try_into()?).await?;
        left -= machines;
    }
    for n in 0..size {
        let context =
            tokio::time::timeout(PATIENCE, ours.contexts.recv()).await?.context("the coordinator has ended")?;
        fleet.hand(n, &serde_json::to_string(&context)?)?;
    }
    let mut told: HashMap<RunId, Timestamp> = HashMap::new();
    let mut bytes = 0;
    for _ in 0..size {
        let played =
            tokio::time::timeout(PATIENCE, fleet.played.recv()).await?.context("a process of machines has ended")?;
        if let Some(failure) = played.failure {
            bail!("a machine has failed: {failure}");
        }
        bytes += played.bytes;
        let last = told.entry(played.run).or_insert(played.told);
        *last = (*last).max(played.told);
    }
    let (ready, cpu) = (began.elapsed(), ours.process.cpu()? - cpu);
    let mut late: f64 = 0.0;
    for (id, told) in told {
        let since = ready_since(&client, id).await?;
        late = late.max(told.duration_since(since).as_secs_f64() * 1000.0);
    }
    // What was needed only on the way is given back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let memory = ours.process.resident()?.saturating_sub(memory);
    let per_machine = |value: f64| value / size as f64;
    Ok(Measured {
        ready: ready.as_secs_f64(),
        told: late,
        cpu: per_machine(cpu.as_secs_f64() * 1000.0),
        network: per_machine(bytes as f64 / 1024.0),
        memory: per_machine(memory as f64 / 1024.0),
    })
}

/// When a run became Ready.
async fn ready_since(client: &Client, run: RunId) -> anyhow::Result<Timestamp> {
    let mut events = client.events(&run.to_string(), 0);
    loop {
        let Update::Record(record) = events.next().await? else { continue };
        if record.event == (Event::StateChanged { state: RunState::Ready }) {
            return Ok(record.at);
        }
    }
}

/// Processes that play machines.
struct Fleet {
    inputs: Vec<ChildStdin>,
    played: mpsc::UnboundedReceiver<Played>,
    _processes: Vec<Process>,
}

impl Fleet {
    fn start(processes: usize) -> anyhow::Result<Self> {
        let (sender, played) = mpsc::unbounded_channel();
        let mut fleet = Fleet { inputs: vec![], played, _processes: vec![] };
        for _ in 0..processes {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("fleet").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = Process::start("a process of machines", &mut command)?;
            let output = process.child.stdout.take().context("a pipe")?;
            fleet.inputs.push(process.child.stdin.take().context("a pipe")?);
            fleet._processes.push(process);
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let Ok(played) = serde_json::from_str(&line) else { continue };
                    if sender.send(played).is_err() {
                        break;
                    }
                }
            });
        }
        ensure!(!fleet.inputs.is_empty(), "somebody has to play");
        Ok(fleet)
    }

    fn hand(&mut self, n: usize, context: &str) -> anyhow::Result<()> {
        let place = n % self.inputs.len();
        Ok(writeln!(self.inputs[place], "{context}")?)
    }
}
