//! The way of each coordinator to the cloud: requests and answers are late, lost or doubled, and what a
//! killed coordinator has sent still arrives.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use slipstream_coordinator::cloud::{CloudError, Connector, LaunchRequest, Observed};
use slipstream_shared::id::{AttemptKey, RunId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::sim::Sim;

/// A launch that takes longer to the cloud may come after the next look there.
const LATE: Duration = Duration::from_secs(1);

/// One coordinator's way.
pub(crate) struct Way {
    pub(crate) sim: Arc<Sim>,
    pub(crate) cloud: Arc<dyn Connector>,
    pub(crate) dead: CancellationToken,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl Way {
    /// Sends a request. `lost` is what a caller is told who gets no answer.
    async fn call<T, F>(
        &self,
        what: &str,
        launch: Option<AttemptKey>,
        lost: CloudError,
        request: impl Fn(Arc<dyn Connector>) -> F + Send + Sync + 'static,
    ) -> Result<T, CloudError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CloudError>> + Send + 'static,
    {
        self.alive().await;
        if self.sim.mishap(20) {
            tokio::time::sleep(self.sim.delay(50, 2000)).await;
            self.alive().await;
            return Err(CloudError::Transient("the cloud is busy".to_owned()));
        }
        let (sim, cloud) = (Arc::clone(&self.sim), Arc::clone(&self.cloud));
        let (there, back) = (sim.delay(40, 8000), sim.delay(40, 8000));
        let (request_lost, answer_lost, twice) = (sim.mishap(20), sim.mishap(20), sim.mishap(10));
        let (answer, answered) = oneshot::channel();
        let (name, dead) = (what.to_owned(), self.dead.clone());
        self.sim.spawn(async move {
            tokio::time::sleep(there).await;
            if request_lost {
                return sim.note(|| format!("lost on the way to the cloud: {name}"));
            }
            if let Some(key) = launch.filter(|_| twice || there > LATE || dead.is_cancelled()) {
                sim.rules().stray_launch(key);
            }
            sim.note(|| format!("at the cloud: {name}"));
            let mut result = request(Arc::clone(&cloud)).await;
            if twice {
                sim.note(|| format!("at the cloud, again: {name}"));
                result = result.and(request(cloud).await);
            }
            tokio::time::sleep(back).await;
            if !answer_lost {
                let _ = answer.send(result);
            }
        });
        let result = answered.await;
        self.alive().await;
        result.unwrap_or(Err(lost))
    }

    async fn alive(&self) {
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Connector for Way {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn coordinator_hosts(&self) -> Vec<String> {
        self.cloud.coordinator_hosts()
    }

    async fn validate(&self, _: Option<&str>) -> Result<(), CloudError> {
        Ok(())
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        let what = format!("launch {} {}", request.key.instance, request.key.attempt);
        let lost = CloudError::Ambiguous("connection reset".to_owned());
        let (sim, request, key) = (Arc::clone(&self.sim), request.clone(), request.key.clone());
        self.call(&what, Some(key), lost, move |cloud| {
            let (sim, request) = (Arc::clone(&sim), request.clone());
            async move {
                sim.rules().launched(&request.key);
                cloud.launch(&request).await
            }
        })
        .await
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let lost = CloudError::Transient("connection reset".to_owned());
        self.call("find", None, lost, move |cloud| async move { cloud.find(run).await }).await
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        let lost = CloudError::Transient("connection reset".to_owned());
        let machine = machine.to_owned();
        self.call(&format!("terminate {machine}"), None, lost, move |cloud| {
            let machine = machine.clone();
            async move { cloud.terminate(run, &machine).await }
        })
        .await
    }

    fn can_power(&self) -> bool {
        true
    }

    async fn power(&self, run: RunId, machine: &str, on: bool) -> Result<(), CloudError> {
        let lost = CloudError::Transient("connection reset".to_owned());
        let machine = machine.to_owned();
        let what = format!("power {} {machine}", if on { "on" } else { "off" });
        self.call(&what, None, lost, move |cloud| {
            let machine = machine.clone();
            async move { cloud.power(run, &machine, on).await }
        })
        .await
    }

    async fn release(&self, run: RunId) -> Result<(), CloudError> {
        let lost = CloudError::Transient("connection reset".to_owned());
        self.call("release", None, lost, move |cloud| async move { cloud.release(run).await }).await
    }

    async fn console(&self, _: RunId, _: &str) -> Result<Option<String>, CloudError> {
        Ok(None)
    }
}
