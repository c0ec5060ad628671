//! Who may read and write which parameter.
//!
//! An instance reads all plain values of its run, and the secrets that its module binds. It writes its own
//! values, `ss:abort`, `ss:url.service`, and run-wide inputs that its module declares: the application does,
//! where the node is written in place in it, or the component that has a parameter of the same name. Recipes
//! of SlipStream by SixSq may write the values of other instances as well. People may write all that the
//! coordinator does not compute.

use slipstream_shared::{
    event::Author,
    id::InstanceId,
    parameter::{Key, Scope},
    plan::NodePlan,
    predefined::{self, Level},
};

use super::{Run, change::Refused};

impl Run {
    /// Whether somebody may set a parameter, or take its value away.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn may_write(&self, by: &Author, key: &Key) -> Result<(), Refused> {
        let level = match &key.scope {
            Scope::Run => Level::Run,
            Scope::Node(_) => Level::Node,
            Scope::Instance(_) => Level::Instance,
        };
        let predefined = predefined::find(level, &key.name);
        if predefined.is_some_and(|found| !found.settable) {
            return Err(denied(by, format!("set {key}: the coordinator computes it")));
        }
        let Author::Instance(me) = by else { return Ok(()) };
        match &key.scope {
            Scope::Instance(owner) => self.may_write_of(by, me, owner, key)?,
            Scope::Run if predefined.is_none() && !self.declares(me, &key.name) => {
                return Err(denied(by, format!("set {key}: the module of {} does not declare it", me.node)));
            }
            Scope::Run | Scope::Node(_) => {}
        }
        self.may_touch(by, key)
    }

    /// Whether an instance may write a value of that owner.
    ///
    /// # Errors
    /// It belongs to another instance.
    pub(super) fn may_write_of(
        &self,
        by: &Author,
        me: &InstanceId,
        owner: &InstanceId,
        key: &Key,
    ) -> Result<(), Refused> {
        if me == owner || self.node(me).is_some_and(|node| node.imported) {
            return Ok(());
        }
        Err(denied(by, format!("set {key}: it belongs to {owner}")))
    }

    fn declares(&self, id: &InstanceId, name: &str) -> bool {
        let declares =
            |node: &NodePlan| node.imported || node.component == self.plan.module || node.params.contains_key(name);
        self.node(id).is_some_and(declares)
    }

    /// Whether somebody may read a parameter, or wait for it. People see all of their runs; what they get of a
    /// secret is masked.
    ///
    /// # Errors
    /// It is a secret that the module of that instance does not bind.
    pub fn may_touch(&self, by: &Author, key: &Key) -> Result<(), Refused> {
        match by {
            Author::Instance(id) if !self.may_read(id, key) => {
                Err(denied(by, format!("read {key}: it is a secret, and the module of {} does not bind it", id.node)))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn denied(who: &Author, what: String) -> Refused {
    Refused::Denied { who: who.clone(), what }
}
