//! What may be asked of machines: which are touched, and which scripts go with it.

use std::collections::BTreeSet;

use slipstream_shared::{
    disk::{DiskName, DiskSpec, MOST_DISKS},
    event::Event,
    id::{InstanceId, NodeName},
    module::{near::did_you_mean, units},
    operation::{Asked, Hook, Work},
    plan::Size,
};

use crate::run::{Instance, Machine, Run, change::Refused, operation::Operation};

/// The most processors of a machine.
const MOST_CPUS: u32 = 1024;
/// The least memory of a machine, and the most, in bytes.
const RAM: std::ops::RangeInclusive<u64> = 16 << 20..=64 << 40;

impl Run {
    /// The event that begins to change machines.
    pub(in crate::run) fn change_hardware(&self, asked: &Asked) -> Result<Event, Refused> {
        let touch = match asked {
            Asked::Resize { instances, nodes, size } => self.to_resize(instances, nodes, size)?,
            Asked::AddDisk { instances, spec } => self.to_extend(instances, spec)?,
            Asked::RemoveDisk { instance, disk } => self.to_reduce(instance, *disk)?,
            _ => return Err(Refused::Unreasonable("that changes no machine".to_owned())),
        };
        let works: Vec<_> = touch.iter().flat_map(|id| self.hardware_works(id, asked)).collect();
        let (number, tasks) = (self.next_operation(), self.number_tasks(works));
        let asked = Box::new(asked.clone());
        Ok(Event::OperationStarted { number, asked, add: vec![], remove: vec![], touch, tasks })
    }

    fn to_resize(&self, instances: &[InstanceId], nodes: &[NodeName], size: &Size) -> Result<Vec<InstanceId>, Refused> {
        let unreasonable = |why: String| Err(Refused::Unreasonable(why));
        match (size.cpu, size.ram, size.disk) {
            (None, None, None) => return unreasonable("no size is asked for: say cpu, ram, or both".to_owned()),
            (.., Some(_)) => return unreasonable("a root disk stays as large as it is: add a disk instead".to_owned()),
            (Some(cpu), ..) if !(1..=MOST_CPUS).contains(&cpu) => {
                return unreasonable(format!("a machine has 1 to {MOST_CPUS} processors, not {cpu}"));
            }
            (_, Some(ram), _) if !RAM.contains(&ram) => {
                let (least, most) = (units::in_words(*RAM.start()), units::in_words(*RAM.end()));
                return unreasonable(format!(
                    "a machine has {least} to {most} of memory, not {}",
                    units::in_words(ram)
                ));
            }
            _ => {}
        }
        let mut named: BTreeSet<InstanceId> = instances.iter().cloned().collect();
        for node in nodes {
            if !self.plan.nodes.contains_key(node) {
                let hint = did_you_mean(node.as_str(), self.plan.nodes.keys().map(NodeName::as_str));
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                return unreasonable(format!("this run has no node `{node}`{hint}"));
            }
            named.extend(self.members_of(node).into_iter().cloned());
        }
        let (mut same, mut others) = (Vec::new(), Vec::new());
        for id in named {
            let has = self.size_of(&id, self.changeable(&id)?);
            if has.with(size) == has { same.push(format!("{id} has {has}")) } else { others.push(id) }
        }
        match (others.is_empty(), same.is_empty()) {
            (true, true) => unreasonable("nothing is asked for: name instances or nodes".to_owned()),
            (true, false) => unreasonable(format!("there is nothing to change: {} already", same.join(", "))),
            (false, _) => Ok(others),
        }
    }

    fn to_extend(&self, instances: &[InstanceId], spec: &DiskSpec) -> Result<Vec<InstanceId>, Refused> {
        spec.check().map_err(Refused::Unreasonable)?;
        for id in instances {
            let disks = &self.changeable(id)?.hardware.disks;
            if disks.len() >= MOST_DISKS {
                return Err(Refused::Unreasonable(format!(
                    "{id} has {MOST_DISKS} disks already, the most there can be"
                )));
            }
            let taken = disks.iter().find(|(_, disk)| disk.mount.is_some() && disk.mount == spec.mount);
            if let (Some((name, _)), Some(folder)) = (taken, &spec.mount) {
                return Err(Refused::Unreasonable(format!("{name} of {id} is mounted on {folder} already")));
            }
        }
        if instances.is_empty() {
            return Err(Refused::Unreasonable("nothing is asked for: name the instances".to_owned()));
        }
        let unique: BTreeSet<&InstanceId> = instances.iter().collect();
        Ok(unique.into_iter().cloned().collect())
    }

    fn to_reduce(&self, id: &InstanceId, disk: DiskName) -> Result<Vec<InstanceId>, Refused> {
        let disks = &self.changeable(id)?.hardware.disks;
        if disks.contains_key(&disk) {
            return Ok(vec![id.clone()]);
        }
        let has: Vec<String> = disks.keys().map(ToString::to_string).collect();
        let has = if has.is_empty() { "none beside its root disk".to_owned() } else { has.join(", ") };
        Err(Refused::Unreasonable(format!("{id} has no disk `{disk}`; it has: {has}")))
    }

    /// An instance with a machine that nobody else is changing.
    fn changeable(&self, id: &InstanceId) -> Result<&Instance, Refused> {
        let Some(instance) = self.instances.get(id) else {
            return Err(Refused::Unreasonable(format!("this run has no instance {id}")));
        };
        if !instance.is_live() {
            return Err(Refused::Unreasonable(format!("{id} is gone already, or on its way out")));
        }
        let concerns = |o: &Operation| {
            o.add.contains(id)
                || o.reruns().any(|other| other == id)
                || (o.changes_hardware() && o.touch.contains(id) && !o.out.contains(id))
        };
        if let Some((number, _)) = self.open_operations().find(|(_, o)| concerns(o)) {
            let why = format!("operation {number} of run {} is changing {id}: wait until it is over", self.id.short());
            return Err(Refused::Busy(why));
        }
        if instance.is_executing() {
            return Err(Refused::Busy(format!("{id} is running a step: wait until that has ended, or abort the run")));
        }
        match instance.machine {
            Machine::Launched | Machine::Running | Machine::Stopped => Ok(instance),
            _ => Err(Refused::Busy(format!("{id} has no machine at the moment: wait until it is there"))),
        }
    }

    /// The size that the machine of an instance has, as far as it was said.
    pub(in crate::run) fn size_of(&self, id: &InstanceId, instance: &Instance) -> Size {
        let of_node = || self.node(id).map(|node| instance.hardware.wanted(node)).unwrap_or_default();
        instance.hardware.has.clone().unwrap_or_else(of_node)
    }

    /// The scripts that go with the change of one instance. None run on a machine that is off.
    fn hardware_works(&self, id: &InstanceId, asked: &Asked) -> Vec<(InstanceId, Work)> {
        let Some(instance) = self.instances.get(id) else { return vec![] };
        let hooks = |hook| if self.is_up(id) { self.works(id, hook, &id.node) } else { vec![] };
        let own = match asked {
            Asked::AddDisk { spec, .. } => {
                Some(Work::Disk { disk: instance.hardware.next_disk(), take: Some(spec.clone()) })
            }
            Asked::RemoveDisk { disk, .. } => Some(Work::Disk { disk: *disk, take: None }),
            _ => None,
        };
        let hears = instance.key.is_some() && matches!(instance.machine, Machine::Launched | Machine::Running);
        let own = own.filter(|_| hears).map(|work| (id.clone(), work));
        hooks(Hook::PreScale).into_iter().chain(own).chain(hooks(Hook::PostScale)).collect()
    }
}
