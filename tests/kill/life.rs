//! One life of a run, with or without a kill, and what must be true of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use slipstream_shared::{
    api::{LaunchRequest, OperationStatus, ScaleRequest},
    client::{Client, ClientError},
    event::{Event, Record},
    state::{Outcome, RunState},
};
use slipstream_tests::{Coordinator, eventually_within, machines_below, next_record};
use tokio::sync::oneshot;

const APPLICATION: &str = r#"slipstream: 1
kind: application
name: tests/killed
nodes:
  db:
    image: tests/image
    cloud: CLOUD
    publish: { seen: {}, mark: {}, address-told: {} }
    deploy: ss-set address-told yes
    on_vm_add: ss-set seen "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_VMS"
    on_vm_remove: ss-set seen "$SLIPSTREAM_SCALING_ACTION $SLIPSTREAM_SCALING_VMS"
  web:
    image: tests/image
    cloud: CLOUD
    count: { default: 1, min: 0, max: 8 }
    publish: { name: {} }
    env: { TOLD: "${db.address-told}" }
    deploy: ss-set name "$SLIPSTREAM_NODE_INSTANCE_NAME was told $TOLD"
"#;

/// On what the life is lived.
pub(crate) struct Kind {
    cloud: &'static str,
    image: &'static str,
    limit: Duration,
}

/// What came of a life.
pub(crate) struct End {
    /// How many records its journal has.
    pub(crate) records: u64,
    /// Whether it came to the record at which the coordinator was to be killed.
    pub(crate) killed: bool,
}

impl Kind {
    pub(crate) fn processes() -> Self {
        let image = "native: { processes: host }\nplatform: other\n";
        Kind { cloud: "processes", image, limit: Duration::from_secs(90) }
    }

    pub(crate) fn machines() -> Self {
        let image = "native: { local: busybox }\nplatform: busybox\nlogin: root\n";
        Kind { cloud: "local", image, limit: Duration::from_secs(240) }
    }

    /// Puts the modules.
    pub(crate) async fn put(&self, coordinator: &Coordinator) {
        let image = format!("slipstream: 1\nkind: image\nname: tests/image\n{}", self.image);
        for module in [image, APPLICATION.replace("CLOUD", self.cloud)] {
            coordinator.client().put_module(&module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
        }
    }
}

/// Lives once; the coordinator is killed and started again as soon as record number `point` is told.
pub(crate) async fn live(coordinator: &mut Coordinator, kind: &Kind, point: Option<u64>) -> End {
    let (told, run) = oneshot::channel();
    let client = coordinator.client();
    let person = Person { client: client.clone(), data: coordinator.data(), limit: kind.limit };
    let (acknowledged, (records, killed)) = tokio::join!(person.live(told), async {
        let run = run.await.expect("it is launched");
        let (mut events, mut records, mut killed) = (client.events(&run, 0), Vec::new(), false);
        while records.last().is_none_or(|last| !is_last(last)) {
            let record = tokio::time::timeout(kind.limit, next_record(&mut events)).await;
            let record = record.unwrap_or_else(|_| panic!("nothing happens after {:?}", records.last()));
            let seq = record.seq;
            records.push(record);
            if point == Some(seq) {
                coordinator.kill();
                coordinator.restart().await;
                killed = true;
            }
        }
        (records, killed)
    });
    check(&records, &acknowledged, point);
    coordinator.assert_nothing_left().await;
    End { records: records.len() as u64, killed }
}

fn is_last(record: &Record) -> bool {
    matches!(&record.event, Event::StateChanged { state } if state.is_final())
}

/// Who launches, scales and ends the run, and asks again when there is no answer.
struct Person {
    client: Client,
    data: PathBuf,
    limit: Duration,
}

impl Person {
    /// Lives; gives the values that were acknowledged, in their order.
    async fn live(self, told: oneshot::Sender<String>) -> Vec<String> {
        let launch = LaunchRequest { module: "tests/killed".to_owned(), ..LaunchRequest::default() };
        let key = jiff::Timestamp::now().as_nanosecond().to_string();
        let run = self.until_answered(|| self.client.launch(&launch, &key)).await.summary.id.to_string();
        let _ = told.send(run.clone());
        let mut acknowledged = Vec::new();
        for (web, key) in [(1, None), (2, Some("up")), (1, Some("down"))] {
            if let Some(key) = key {
                let count = [("web".parse().expect("a node"), web)].into();
                let scale = ScaleRequest { count, ..ScaleRequest::default() };
                self.until_answered(|| self.client.scale(&run, &scale, key)).await;
            }
            self.until_ready(&run, web as usize + 1).await;
            let (mark, value) = ("db.1:mark".parse().expect("a key"), format!("with {web} of web, {key:?}"));
            self.until_answered(|| self.client.set_parameter(&run, &mark, &value)).await;
            acknowledged.push(value);
        }
        self.until_answered(|| self.client.terminate(&run)).await;
        eventually_within(self.limit, "the run has ended", || async {
            let detail = self.client.run(&run).await.ok()?;
            let over = detail.summary.state.is_final();
            over.then(|| {
                assert_eq!((detail.summary.state, detail.summary.outcome), (RunState::Done, Outcome::Succeeded))
            })
        })
        .await;
        acknowledged
    }

    /// Asks until there is an answer. One that says no is none of a coordinator that is only away.
    async fn until_answered<T, F: Future<Output = Result<T, ClientError>>>(&self, mut ask: impl FnMut() -> F) -> T {
        eventually_within(self.limit, "an answer", || {
            let asking = ask();
            async {
                match asking.await {
                    Ok(answer) => Some(answer),
                    Err(ClientError::Problem(problem)) if problem.status != 503 => panic!("refused: {problem:?}"),
                    Err(_) => None,
                }
            }
        })
        .await
    }

    /// Waits until the run is Ready, all operations are over, and there are so many machines, no more.
    async fn until_ready(&self, run: &str, machines: usize) {
        let what = format!("the run is Ready with {machines} machines");
        eventually_within(self.limit, &what, || async {
            let detail = self.client.run(run).await.ok()?;
            let failed = detail.operations.iter().find(|o| o.status == OperationStatus::Failed);
            assert!(failed.is_none() && detail.summary.abort.is_none(), "{detail:#?}");
            let over = detail.operations.iter().all(|o| o.ended.is_some());
            (over && detail.summary.state == RunState::Ready && detail.summary.ready as usize == machines).then_some(())
        })
        .await;
        let found = machines_below(&self.data);
        assert_eq!(found.len(), machines, "{found:?}");
    }
}

/// Nothing acknowledged is lost, nothing was done twice.
fn check(records: &[Record], acknowledged: &[String], point: Option<u64>) {
    let numbers: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<u64>>(), "killed at {point:?}");
    let values = |name: &str| -> Vec<String> {
        let of = |record: &Record| match &record.event {
            Event::ParameterSet { key, value } if key.to_string() == name => Some(value.clone()),
            _ => None,
        };
        records.iter().filter_map(of).collect()
    };
    let mut marks = values("db.1:mark");
    // An answer that was lost makes a person write it again.
    marks.dedup();
    assert_eq!(marks, acknowledged, "killed at {point:?}");
    assert_eq!(values("db.1:seen"), ["vm_create web.2", "vm_remove web.2"], "killed at {point:?}: {records:#?}");
    assert_eq!(values("web.2:name"), ["web.2 was told yes"], "killed at {point:?}: {records:#?}");

    let mut often: BTreeMap<(String, String), u32> = BTreeMap::new();
    for record in records {
        let what = match &record.event {
            Event::LaunchIntended { .. } => "launched",
            Event::Enrolled { .. } => "enrolled",
            Event::StepFinished { step, .. } if step == "deploy" => "deployed",
            Event::TerminateIntended { .. } => "removed",
            Event::MachineGone { .. } => "gone",
            Event::OperationStarted { .. } => "operations",
            Event::OperationFinished { failure: None, .. } => "operations that succeeded",
            _ => continue,
        };
        let whose = record.event.instance().map(ToString::to_string).unwrap_or_default();
        *often.entry((whose, what.to_owned())).or_default() += 1;
    }
    let once = ["db.1", "web.1", "web.2"].into_iter().flat_map(|id| {
        ["launched", "enrolled", "deployed", "removed", "gone"].map(|what| ((id.to_owned(), what.to_owned()), 1))
    });
    let operations = ["operations", "operations that succeeded"].map(|what| ((String::new(), what.to_owned()), 2));
    let expected: BTreeMap<(String, String), u32> = once.chain(operations).collect();
    assert_eq!(often, expected, "killed at {point:?}: {records:#?}");
}
