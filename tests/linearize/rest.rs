//! A client of the REST API.

use std::{collections::HashMap, time::Duration};

use slipstream_shared::{
    api::SetParameter,
    client::{Client, ClientError},
    parameter::Key,
};
use slipstream_tests::Random;

use crate::{
    clients::{Stage, Way, act_of, condition, is_away, read_of},
    model::{Act, Test},
    record::Overdue,
};

/// How long its waits last at most.
const WITHIN: Duration = Duration::from_secs(2);

/// What the way of an answer may take on a busy machine.
const GRACE: Duration = Duration::from_millis(700);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(30);

/// One program with a token.
#[derive(Clone)]
pub(crate) struct Rest {
    client: Client,
    requests: u64,
    /// Requests to be sent again though they were answered, as a careless proxy would.
    late: HashMap<Key, (Option<SetParameter>, String)>,
}

impl Rest {
    pub(crate) fn new(client: Client) -> Self {
        Rest { client, requests: 0, late: HashMap::new() }
    }
}

impl Way for Rest {
    fn may_write(&self, _: &Key) -> bool {
        true
    }

    async fn read(&self, stage: &Stage, client: &str, key: &Key) -> Option<u64> {
        let began = stage.record.now();
        match self.client.parameter(&stage.run, key).await {
            Ok(parameter) => {
                let revision = parameter.revision;
                stage.record.done(client, key, began, read_of(parameter));
                Some(revision)
            }
            Err(error) => {
                assert!(is_away(&error), "{client} reads {key}: {error}");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    async fn write(
        &mut self,
        stage: &Stage,
        client: &str,
        key: &Key,
        value: Option<String>,
        expected: Option<u64>,
        random: &mut Random,
    ) {
        if let Some((body, number)) = self.late.remove(key) {
            // It was made: sent again it must change nothing, and is on record already.
            let again = self.client.write_parameter(&stage.run, key, body.as_ref(), &number).await;
            if again.as_ref().err().is_some_and(|error| !is_away(error)) {
                stage.record.wrong(format!("{client} repeats what it wrote to {key}: {again:?}"));
            }
        }
        self.requests += 1;
        let number = format!("{client}-{}", self.requests);
        let body = value.clone().map(|value| SetParameter { value, if_revision: expected });
        let act = act_of(value, expected.filter(|_| body.is_some()));
        let patient = random.percent(80);
        let began = stage.record.now();
        loop {
            match self.client.write_parameter(&stage.run, key, body.as_ref(), &number).await {
                Ok(parameter) => {
                    stage.record.done(client, key, began, act);
                    stage.record.done(client, key, began, read_of(parameter));
                    if random.percent(15) {
                        self.late.insert(key.clone(), (body, number));
                    }
                    return;
                }
                Err(ClientError::Problem(problem)) if problem.code == "revision_mismatch" => {
                    let expected = expected.expect("only a comparison can fail");
                    let missed = Act::Missed { expected, revision: problem.revision };
                    return stage.record.done(client, key, began, missed);
                }
                Err(error) => assert!(is_away(&error), "{client} writes {key}: {error}"),
            }
            if !patient {
                return stage.record.unknown(client, key, began, act);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn wait(&self, stage: &Stage, client: &str, key: &Key, test: Test) {
        let began = stage.record.now();
        match self.client.wait(&stage.run, &[condition(key, &test)], false, WITHIN).await {
            Ok(answer) => {
                let parameter = answer.parameters.into_iter().next().expect("the one that was asked for");
                let holds = test.holds(parameter.revision, parameter.value.as_deref());
                assert!(holds, "{client} waited for {test:?} and was given {parameter:?}");
                stage.record.done(client, key, began, read_of(parameter));
            }
            Err(error) if error.code() == Some("wait_timeout") => {
                let ended = stage.record.now();
                let client = client.to_owned();
                stage.record.overdue(key, Overdue { client, test, began, ended, within: WITHIN, grace: GRACE });
            }
            Err(error) => assert!(is_away(&error), "{client} waits for {key}: {error}"),
        }
    }

    async fn finish(&mut self, _: &Stage) {}
}
