//! A script in a machine, which asks its agent over the local socket as `ss-get` and `ss-set` do.

use std::{io, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use slipstream_shared::{
    id::InstanceId,
    parameter::{Key, Scope},
};
use slipstream_tests::Random;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use crate::{
    checker::Operation,
    clients::{Stage, Way, act_of, condition},
    model::{Act, Test},
    record::Overdue,
};

/// How long its waits last at most, in seconds.
const WITHIN: u64 = 3;

/// What the way through the agent may take on a busy machine.
const GRACE: Duration = Duration::from_millis(1200);

/// One script.
#[derive(Clone)]
pub(crate) struct Machine {
    instance: InstanceId,
    socket: PathBuf,
    name: String,
    /// A parameter of its own with which it makes sure that all before it was applied.
    barrier: Key,
    /// Writes that its agent has promised to make.
    promised: Vec<(Key, Operation)>,
}

impl Machine {
    pub(crate) fn new(instance: &InstanceId, socket: &str, name: &str) -> Self {
        let barrier = Key::instance(instance, "barrier");
        let (instance, socket, name) = (instance.clone(), socket.into(), name.to_owned());
        Machine { instance, socket, name, barrier, promised: vec![] }
    }

    async fn ask(&self, request: &Value) -> Value {
        let answer = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{request}\n").as_bytes()).await?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await?;
            Ok::<_, io::Error>(serde_json::from_str(&line)?)
        };
        answer.await.unwrap_or_else(|e| panic!("the agent of {} does not answer {request}: {e}", self.instance))
    }

    /// What an agent's command ends with, if it failed.
    fn end(answer: &Value) -> Option<&str> {
        (answer["is"] == "failed").then(|| answer["end"].as_str().unwrap_or_default())
    }
}

impl Way for Machine {
    fn may_write(&self, key: &Key) -> bool {
        key.scope == Scope::Instance(self.instance.clone())
    }

    async fn read(&self, stage: &Stage, client: &str, key: &Key) -> Option<u64> {
        let began = stage.record.now();
        let answer = self.ask(&json!({ "do": "get", "key": key, "wait": false })).await;
        match Self::end(&answer) {
            None => {
                let revision = answer["revision"].as_u64().expect("a revision");
                let value = answer["value"].as_str().map(str::to_owned);
                stage.record.done(client, key, began, Act::Read { revision, value });
                Some(revision)
            }
            Some("unreachable" | "unavailable") => None,
            Some(_) => panic!("{client} reads {key}: {answer}"),
        }
    }

    async fn write(
        &mut self,
        stage: &Stage,
        client: &str,
        key: &Key,
        value: Option<String>,
        expected: Option<u64>,
        _: &mut Random,
    ) {
        let began = stage.record.now();
        let answer = self.ask(&json!({ "do": "set", "key": key, "value": value, "if_revision": expected })).await;
        let act = act_of(value, expected);
        match (Self::end(&answer), expected) {
            (None, _) if answer["spooled"] == true => {
                let operation = Operation { client: client.to_owned(), began, ended: None, act };
                self.promised.push((key.clone(), operation));
            }
            (None, _) => stage.record.done(client, key, began, act),
            (Some("changed"), Some(expected)) => {
                stage.record.done(client, key, began, Act::Missed { expected, revision: None });
            }
            (Some("unavailable"), Some(_)) => stage.record.unknown(client, key, began, act),
            _ => panic!("{client} writes {key}: {answer}"),
        }
    }

    async fn wait(&self, stage: &Stage, client: &str, key: &Key, test: Test) {
        let began = stage.record.now();
        let condition = condition(key, &test).to_string();
        let answer = self.ask(&json!({ "do": "wait", "conditions": [condition], "timeout": WITHIN })).await;
        match Self::end(&answer) {
            None => stage.record.done(client, key, began, Act::Held(test)),
            Some("timeout") => {
                let (ended, within) = (stage.record.now(), Duration::from_secs(WITHIN));
                let client = client.to_owned();
                stage.record.overdue(key, Overdue { client, test, began, ended, within, grace: GRACE });
            }
            Some(_) => panic!("{client} waits for {condition}: {answer}"),
        }
    }

    async fn finish(&mut self, stage: &Stage) {
        // Changes are applied in their order: when this one is, all before it are.
        let request = json!({ "do": "set", "key": self.barrier, "value": self.name });
        slipstream_tests::eventually("the agent's changes are applied", || async {
            (self.ask(&request).await["spooled"] == false).then_some(())
        })
        .await;
        for (key, mut operation) in self.promised.drain(..) {
            operation.ended = Some(stage.record.now());
            stage.record.add(&key, operation);
        }
    }
}
