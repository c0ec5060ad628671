//! One world: a coordinator that is killed and started again, its disk, its cloud, its users, and time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use slipstream_coordinator::{
    cloud::{
        Connector,
        fake::{Habits, World as Cloud},
    },
    drive::{LaunchSecret, Runs, Trust, World},
    seam::Seam,
    store::Backend,
};
use slipstream_shared::{
    id::{InstanceId, NodeName, RunId},
    parameter::Key,
    plan::{NodePlan, Plan},
    state::RunState,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    cloud::Way,
    machine::Machine,
    operators,
    plan::{PARAMETERS, plan},
    sim::{Life, Sim},
    store::{Disk, Store},
    users,
};

/// What came of a world.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The rule that was broken, if one was.
    pub(crate) broken: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) events: u64,
    pub(crate) acknowledged: u64,
    pub(crate) kills: u64,
    pub(crate) runs: u64,
    /// Operations that were begun.
    pub(crate) operations: u64,
    pub(crate) seconds: u64,
}

/// How long and how lively a world is. Most are short: they find most of what there is to be found.
struct Kind {
    /// How long things go wrong, in seconds.
    busy: (u64, u64),
    runs: u64,
    nodes: u64,
    /// How often each of those who write, operate or lead does so.
    times: u64,
}

const SHORT: Kind = Kind { busy: (120, 900), runs: 1, nodes: 2, times: 4 };
const USUAL: Kind = Kind { busy: (600, 3600), runs: 2, nodes: 3, times: 10 };
const LONG: Kind = Kind { busy: (3000, 9000), runs: 3, nodes: 3, times: 30 };

impl Kind {
    fn of(dice: u64) -> Self {
        match dice {
            0..6 => SHORT,
            6..9 => USUAL,
            _ => LONG,
        }
    }
}

/// Lives through the world of a seed.
pub(crate) fn live(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let sim = Sim::new(seed);
        let mut site = Site::new(&sim, seed);
        site.run().await;
        let rules = sim.rules();
        Outcome {
            broken: rules.verdict().map(str::to_owned),
            trace: sim.trace(),
            events: rules.events,
            acknowledged: rules.acknowledged,
            kills: site.kills,
            runs: rules.states().len() as u64,
            operations: rules.operations(),
            seconds: sim.now() / 1000,
        }
    })
}

struct Site {
    sim: Arc<Sim>,
    disk: Arc<Disk>,
    cloud: Cloud,
    clock: Seam,
    life: Option<Life>,
    kind: Kind,
    kills: u64,
}

impl Site {
    fn new(sim: &Arc<Sim>, seed: u64) -> Self {
        let clock = Seam::seeded(seed);
        let cloud = Cloud::new(Seam::seeded(seed ^ 1));
        let kind = Kind::of(sim.dice().below(10));
        let habits = {
            let mut dice = sim.dice();
            Habits {
                boot: Duration::from_secs(dice.below(60)),
                linger: Duration::from_secs(dice.below(30)),
                idempotent: dice.percent(70),
                ..Habits::default()
            }
        };
        cloud.set_habits(habits);
        let mut starts = cloud.starts();
        let own = Arc::clone(sim);
        sim.spawn(async move {
            let mut machines: BTreeMap<String, Arc<Machine>> = BTreeMap::new();
            while let Some(started) = starts.recv().await {
                own.note(|| format!("{} runs as {}", started.key.instance, started.machine));
                let new = || Machine::new(&own, &started);
                let machine = Arc::clone(machines.entry(started.machine.clone()).or_insert_with(new));
                own.spawn(machine.live(started.ended));
            }
        });
        Site { sim: Arc::clone(sim), disk: Disk::new(sim), cloud, clock, life: None, kind, kills: 0 }
    }

    async fn run(&mut self) {
        self.start().await;
        let runs = self.begin_runs();
        let (least, most) = self.kind.busy;
        let busy = Duration::from_secs(self.sim.dice().between(least, most));
        let until = tokio::time::Instant::now() + busy;
        while tokio::time::Instant::now() < until && self.is_well() {
            self.disturb().await;
        }
        self.sim.heal();
        for run in runs {
            if self.sim.dice().percent(50) {
                self.rest(run).await;
            }
            // One that was never accepted is not there to be ended.
            if self.sim.rules().states().contains_key(&run) {
                users::terminate(&self.sim, run).await;
            }
        }
        for _ in 0..240 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            self.look();
            let over = self.sim.rules().states().values().all(|state| state.is_final());
            if over || !self.is_well() {
                break;
            }
        }
        // Whoever still waits is told, and late requests have reached the cloud.
        tokio::time::sleep(Duration::from_secs(120)).await;
        let machines = self.cloud.machines();
        self.sim.rules().at_rest(machines);
    }

    fn is_well(&self) -> bool {
        self.sim.rules().verdict().is_none()
    }

    fn look(&self) {
        let now = self.sim.now();
        self.sim.rules().tick(now);
    }

    fn begin_runs(&self) -> Vec<RunId> {
        let count = self.sim.dice().between(1, self.kind.runs);
        let mut all = Vec::new();
        for _ in 0..count {
            let id = self.clock.run_id();
            all.push(id);
            let plan = plan(&mut self.sim.dice(), self.kind.nodes);
            let (sim, times) = (Arc::clone(&self.sim), self.kind.times);
            self.sim.spawn(async move {
                if users::launch(&sim, plan.clone(), id).await {
                    populate(&sim, id, &plan, times);
                    if sim.mishap(150) {
                        tokio::time::sleep(sim.delay(600_000, 3_000_000)).await;
                        users::abort(Arc::clone(&sim), id).await;
                    }
                    if sim.mishap(300) {
                        tokio::time::sleep(sim.delay(1_200_000, 3_000_000)).await;
                        users::terminate(&sim, id).await;
                    }
                }
            });
        }
        all
    }

    /// A run that nothing disturbs any more comes to rest; then nothing is doubled.
    async fn rest(&self, run: RunId) {
        tokio::time::sleep(Duration::from_secs(900)).await;
        self.look();
        if self.sim.rules().states().get(&run) != Some(&RunState::Ready) {
            return;
        }
        let found = self.cloud.connector().find(run).await.unwrap_or_default();
        let machines: Vec<(InstanceId, u32)> = found.into_iter().map(|o| (o.key.instance, o.key.attempt)).collect();
        self.sim.rules().rests(run, &machines);
    }

    /// A while, and then something goes wrong.
    async fn disturb(&mut self) {
        let pause = self.sim.delay(60_000, 400_000);
        tokio::time::sleep(pause).await;
        self.look();
        let what = self.sim.dice().below(10);
        match what {
            0..3 => self.kill().await,
            3 => {
                let now = self.sim.now();
                self.sim.rules().outage(now, true);
                self.disk.fill(true);
                let lasts = self.sim.delay(10_000, 300_000);
                tokio::time::sleep(lasts).await;
                self.disk.fill(false);
                let now = self.sim.now();
                self.sim.rules().outage(now, false);
            }
            4 => {
                let day = 86_400_000;
                let by = i64::try_from(self.sim.dice().below(2 * day)).unwrap_or(0) - 86_400_000;
                self.sim.note(|| format!("the clock is set by {by} ms"));
                self.clock.set_clock_by(by);
                let now = self.sim.now();
                self.sim.rules().clock_set(now);
            }
            5 => {
                let found = self.sim.rules().states().keys().copied().collect::<Vec<_>>();
                for run in found {
                    let machines = self.cloud.connector().find(run).await.unwrap_or_default();
                    if let Some(machine) = machines.first().filter(|_| self.sim.mishap(200)) {
                        self.sim.note(|| format!("{} vanishes", machine.machine));
                        self.cloud.vanish(&machine.machine);
                    }
                }
            }
            _ => {}
        }
    }

    async fn kill(&mut self) {
        let now = self.sim.now();
        self.sim.rules().outage(now, true);
        self.sim.note(|| "the coordinator is killed".to_owned());
        self.sim.set_life(None);
        if let Some(life) = self.life.take() {
            life.dead.cancel();
        }
        self.disk.cut();
        self.kills += 1;
        let away = self.sim.delay(2000, 120_000);
        tokio::time::sleep(away).await;
        self.start().await;
        let now = self.sim.now();
        self.sim.rules().outage(now, false);
    }

    async fn start(&mut self) {
        let dead = CancellationToken::new();
        let way = Way { sim: Arc::clone(&self.sim), cloud: self.cloud.connector(), dead: dead.clone() };
        let backend: Arc<dyn Backend> = Arc::new(Store { disk: Arc::clone(&self.disk), dead: dead.clone() });
        let runs = Runs::start(World {
            backend,
            seam: self.clock.again(),
            clouds: BTreeMap::from([("sim".to_owned(), Arc::new(way) as Arc<dyn Connector>)]),
            trust: Trust {
                secret: LaunchSecret::new(&[1; 32]),
                pin: "pin".to_owned(),
                server_name: "coordinator.slipstream.internal".to_owned(),
                port: 1,
                hosts: vec![],
            },
            launching: Semaphore::new(8),
        })
        .await;
        let life = Life { runs: runs.expect("the store can be read"), dead };
        self.sim.note(|| "the coordinator starts".to_owned());
        self.life = Some(life.clone());
        self.sim.set_life(Some(life));
    }
}

/// Sends everybody who has to do with a run.
fn populate(sim: &Arc<Sim>, run: RunId, plan: &Plan, most: u64) {
    let ids = |(node, n): (&NodeName, &NodePlan)| {
        let node = node.clone();
        (1..=n.count).map(move |i| InstanceId::new(node.clone(), i))
    };
    let instances: Vec<InstanceId> = plan.nodes.iter().flat_map(ids).collect();
    let times = sim.dice().between(2, most);
    sim.spawn(users::follow(Arc::clone(sim), run));
    sim.spawn(users::busy(Arc::clone(sim), run, instances.clone(), times));
    sim.spawn(users::busy(Arc::clone(sim), run, instances.clone(), times));
    let key = Key::instance(&instances[0], PARAMETERS[0]);
    for _ in 0..3 {
        sim.spawn(users::watch(Arc::clone(sim), run, key.clone(), times));
    }
    let operators = sim.dice().below(3);
    for _ in 0..operators {
        sim.spawn(operators::operate(Arc::clone(sim), run, times));
    }
    let programs = sim.dice().below(3);
    for name in ["nightly", "weekly"].iter().take(usize::try_from(programs).unwrap_or(0)) {
        sim.spawn(operators::program(Arc::clone(sim), run, name, times));
    }
}
