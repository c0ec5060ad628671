//! The ways into the cloud.

use async_trait::async_trait;
use slipstream_shared::{
    disk::{Disk, DiskName},
    id::RunId,
    plan::Size,
};
use tokio_util::sync::CancellationToken;

use super::{Fault, KIND, SMALLEST_RAM, World, millis};
use crate::cloud::{CloudError, Connector, LaunchRequest, MachineState, Observed};

#[async_trait]
impl Connector for World {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn coordinator_hosts(&self) -> Vec<String> {
        vec!["127.0.0.1".to_owned()]
    }

    async fn validate(&self, _image: Option<&str>) -> Result<(), CloudError> {
        self.state().refusals.pop_front().map_or(Ok(()), Err)
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError> {
        let (now, mut state) = (self.seam.now(), self.state());
        state.bury(now);
        if let Some(error) = &state.unreachable {
            return Err(error.clone());
        }
        let fault = state.launches.pop_front();
        match &fault {
            Some(Fault::Refuse(error)) => {
                *state.launched.entry(request.key.clone()).or_default() += 1;
                return Err(error.clone());
            }
            Some(Fault::LoseRequest) => return Err(CloudError::Ambiguous("connection reset".to_owned())),
            _ => {}
        }
        let (name, new) = state.make(request, now)?;
        let boot = state.habits.boot;
        if let Some(machine) = state.machines.get_mut(&name).filter(|_| new) {
            match &fault {
                Some(Fault::Hide(delay)) => machine.visible = now + millis(*delay),
                Some(Fault::NeverRun(why)) => machine.halted = Some(MachineState::Failed(why.clone())),
                _ => {}
            }
        }
        drop(state);
        if new {
            self.begin(name.clone(), boot);
        }
        match fault {
            Some(Fault::LoseAnswer) => Err(CloudError::Ambiguous("connection reset".to_owned())),
            _ => Ok(name),
        }
    }

    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError> {
        let (now, mut state) = (self.seam.now(), self.state());
        state.bury(now);
        state.asked += 1;
        if let Some(error) = state.unreachable.clone().or_else(|| state.finds.pop_front()) {
            return Err(error);
        }
        let seen = state.machines.iter().filter(|(_, machine)| machine.key.run == run && machine.visible <= now);
        Ok(seen.map(|(name, machine)| machine.observe(name, now)).collect())
    }

    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError> {
        let (now, mut state) = (self.seam.now(), self.state());
        if let Some(error) = state.unreachable.clone().or_else(|| state.terminations.pop_front()) {
            return Err(error);
        }
        let gone = now + millis(state.habits.linger);
        if let Some(machine) = state.machines.get_mut(machine).filter(|machine| machine.key.run == run) {
            machine.gone.get_or_insert(gone);
            machine.ended.cancel();
        }
        state.bury(now);
        Ok(())
    }

    fn can_power(&self) -> bool {
        true
    }

    async fn power(&self, run: RunId, machine: &str, on: bool) -> Result<(), CloudError> {
        let (now, mut state) = (self.seam.now(), self.state());
        if let Some(error) = state.switches.pop_front() {
            return Err(error);
        }
        let boot = state.habits.boot;
        let found = state.machines.get_mut(machine).filter(|found| found.key.run == run && found.gone.is_none());
        let Some(found) = found else {
            return Err(CloudError::Permanent(format!("there is no machine {machine}")));
        };
        match (on, found.halted.is_some()) {
            (false, false) => {
                found.halted = Some(MachineState::Stopped);
                found.ended.cancel();
            }
            (true, true) => {
                (found.halted, found.ended) = (None, CancellationToken::new());
                found.runs = now + millis(boot);
                drop(state);
                self.begin(machine.to_owned(), boot);
            }
            _ => {}
        }
        Ok(())
    }

    fn can_resize(&self) -> bool {
        !self.state().plain
    }

    async fn resize(&self, run: RunId, machine: &str, size: &Size) -> Result<(), CloudError> {
        self.change(run, machine, |machine, _| {
            if machine.halted.is_none() {
                return Err(CloudError::Transient("the machine runs: power it off first".to_owned()));
            }
            if size.ram.is_some_and(|ram| ram < SMALLEST_RAM) {
                return Err(CloudError::Permanent("no machine here has so little memory".to_owned()));
            }
            machine.size = machine.size.with(size);
            Ok(())
        })
    }

    fn can_attach(&self) -> bool {
        !self.state().plain
    }

    async fn attach(&self, run: RunId, machine: &str, disk: &Disk) -> Result<(), CloudError> {
        self.change(run, machine, |machine, made| {
            *made += u32::from(machine.disks.insert(disk.name));
            Ok(())
        })
    }

    async fn detach(&self, run: RunId, machine: &str, disk: DiskName) -> Result<(), CloudError> {
        self.change(run, machine, |machine, _| {
            machine.disks.remove(&disk);
            Ok(())
        })
    }

    async fn release(&self, _run: RunId) -> Result<(), CloudError> {
        self.state().unreachable.clone().map_or(Ok(()), Err)
    }

    async fn console(&self, run: RunId, machine: &str) -> Result<Option<String>, CloudError> {
        let state = self.state();
        let found = state.machines.get(machine).filter(|machine| machine.key.run == run);
        Ok(found.map(|found| format!("{machine} of {} says nothing\n", found.key.instance)))
    }
}
