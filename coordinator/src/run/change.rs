//! Which changes people and machines may make, and the events they become.

use slipstream_shared::{
    event::{Author, Event, StepResult},
    id::InstanceId,
    link::{Change, RefusedCode},
    parameter::{InvalidValue, Key, Scope},
    state::Failure,
};

use super::{Instance, Machine, Run, permission::denied};
use crate::planted::Bug;

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run has no parameter of that key.
    #[error("this run has no parameter `{key}`{}", near(.nearest.as_deref()))]
    UnknownKey {
        /// What was asked for.
        key: Key,
        /// The most similar one there is.
        nearest: Option<String>,
    },
    /// The value does not fit the parameter.
    #[error("cannot set `{key}`: {reason}")]
    Invalid {
        /// Which parameter.
        key: Key,
        /// Why.
        #[source]
        reason: InvalidValue,
    },
    /// What is asked for makes no sense.
    #[error("{0}")]
    Unreasonable(String),
    /// A value that is made of others cannot be made.
    #[error("{0}")]
    Broken(String),
    /// Somebody else has written it meanwhile.
    #[error("`{key}` was not written: its revision is {revision}, not {expected}")]
    Changed {
        /// Which parameter.
        key: Key,
        /// The one it has.
        revision: u64,
        /// The one it was to have.
        expected: u64,
    },
    /// The number of a request was used for another one.
    #[error("the idempotency key was used to write something else in this run")]
    Reused,
    /// That author may not do that.
    #[error("{who} may not {what}")]
    Denied {
        /// Who.
        who: Author,
        /// What.
        what: String,
    },
    /// The run is not in a state for that.
    #[error("{0}")]
    Busy(String),
    /// The run is aborted.
    #[error("the run is aborted: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },
    /// The run has ended, or the instance is gone.
    #[error("{0}")]
    Gone(String),
}

fn near(nearest: Option<&str>) -> String {
    nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

impl Refused {
    /// The word for it on the agent link.
    #[must_use]
    pub fn code(&self) -> RefusedCode {
        match self {
            Refused::UnknownKey { .. } => RefusedCode::UnknownKey,
            Refused::Invalid { .. } | Refused::Unreasonable(_) | Refused::Broken(_) | Refused::Reused => {
                RefusedCode::Invalid
            }
            Refused::Changed { .. } => RefusedCode::Changed,
            Refused::Denied { .. } | Refused::Busy(_) => RefusedCode::Denied,
            Refused::Aborted { .. } => RefusedCode::Aborted,
            Refused::Gone(_) => RefusedCode::Gone,
        }
    }
}

impl Run {
    /// Says why a key does not exist.
    #[must_use]
    pub fn unknown(&self, key: &Key) -> Refused {
        let text = key.to_string();
        let nearest = self
            .keys()
            .map(|k| k.to_string())
            .map(|k| (distance(&text, &k), k))
            .min()
            .filter(|(d, _)| *d <= text.len() / 3 + 1)
            .map(|(_, k)| k);
        Refused::UnknownKey { key: key.clone(), nearest }
    }

    /// The events of setting (or unsetting) a parameter.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn set(&self, by: &Author, key: &Key, value: Option<&str>) -> Result<Vec<Event>, Refused> {
        if self.state.is_final() {
            return Err(Refused::Gone(format!(
                "run {} has ended ({}); its parameters stay as they are",
                self.id.short(),
                self.state
            )));
        }
        let kind = self.kind_of(key).ok_or_else(|| self.unknown(key))?;
        if key.name == "abort" && !matches!(key.scope, Scope::Node(_)) {
            return self.set_abort(by, key, value);
        }
        self.may_write(by, key)?;
        let Some(value) = value else { return Ok(vec![Event::ParameterUnset { key: key.clone() }]) };
        let limits = self.declared(key).map(|declared| &declared.limits);
        let fits = limits.map_or_else(|| kind.check(value), |limits| limits.check(&kind, value));
        fits.map_err(|reason| Refused::Invalid { key: key.clone(), reason })?;
        if !self.is_secret(key) {
            return Ok(vec![Event::ParameterSet { key: key.clone(), value: value.to_owned() }]);
        }
        let locked = || Refused::Broken(format!("`{key}` is a secret, and this run has no key to encrypt it"));
        let sealed = self.vault.as_ref().ok_or_else(locked)?.seal(key, value);
        Ok(vec![Event::SecretSet { key: key.clone(), sealed: Some(sealed) }])
    }

    /// The same, but only if the parameter has that revision; 0: it was never written.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn set_if(&self, by: &Author, key: &Key, value: Option<&str>, expected: u64) -> Result<Vec<Event>, Refused> {
        let events = self.set(by, key, value)?;
        if self.is_computed(key) {
            return Err(Refused::Unreasonable(format!("`{key}` has no revisions to compare")));
        }
        let revision = self.stored(key).map_or(0, |stored| stored.revision);
        if revision == expected || Bug::BlindCompare.is_planted() {
            Ok(events)
        } else {
            Err(Refused::Changed { key: key.clone(), revision, expected })
        }
    }

    fn set_abort(&self, by: &Author, key: &Key, value: Option<&str>) -> Result<Vec<Event>, Refused> {
        if let (Author::Instance(me), Scope::Instance(owner)) = (by, &key.scope) {
            self.may_write_of(by, me, owner, key)?;
        }
        let instance = match &key.scope {
            Scope::Instance(id) => Some(id.clone()),
            Scope::Run | Scope::Node(_) => None,
        };
        Ok(match value {
            None | Some("") => self.cancel_abort(),
            Some(reason) => self.raise_abort(instance, reason),
        })
    }

    /// The events of an abort that somebody, or a script, asks for. The first reason counts; that of an instance
    /// is kept beside it.
    #[must_use]
    pub fn raise_abort(&self, instance: Option<InstanceId>, reason: &str) -> Vec<Event> {
        self.raise_abort_for(Failure::Aborted, instance, reason)
    }

    /// The events of taking an abort back; none if there is none.
    #[must_use]
    pub fn cancel_abort(&self) -> Vec<Event> {
        if self.abort.is_some() && !self.state.is_final() { vec![Event::AbortCancelled] } else { vec![] }
    }

    /// The events of a request to end the run; none if it was made before.
    #[must_use]
    pub fn request_termination(&self) -> Vec<Event> {
        if self.terminate.is_some() || self.state.is_final() { vec![] } else { vec![Event::TerminateRequested] }
    }

    /// The events of a change that an agent makes.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn agent_change(&self, id: &InstanceId, change: &Change) -> Result<Vec<Event>, Refused> {
        let by = Author::Instance(id.clone());
        let Some(instance) =
            self.instances.get(id).filter(|i| !matches!(i.machine, Machine::Gone | Machine::Terminating))
        else {
            return Err(Refused::Gone(format!("{id} is no longer part of the run")));
        };
        match change {
            Change::Set { key, value, ignore_abort } => {
                if let (Some(abort), false, false) = (&self.abort, ignore_abort, key.name == "abort") {
                    return Err(Refused::Aborted { reason: abort.reason.clone() });
                }
                self.set(&by, key, value.as_deref())
            }
            Change::SetIf { key, value, revision, ignore_abort } => {
                if let (Some(abort), false) = (&self.abort, ignore_abort) {
                    return Err(Refused::Aborted { reason: abort.reason.clone() });
                }
                self.set_if(&by, key, value.as_deref(), *revision)
            }
            Change::Abort { reason } => Ok(self.raise_abort(Some(id.clone()), reason)),
            Change::CancelAbort => Ok(self.cancel_abort()),
            Change::StepStarted { index } if self.task(id, *index).is_some_and(|t| t.result.is_some()) => Ok(vec![]),
            Change::StepStarted { index } => {
                let step = self.step_name(id, *index, &by)?;
                Ok(vec![Event::StepStarted { instance: id.clone(), index: *index, step }])
            }
            Change::StepFinished { index, result } => self.step_finished(id, *index, result, &by),
            Change::Ready if !instance.ready => Ok(vec![Event::InstanceReady { instance: id.clone() }]),
            Change::Reported if !instance.reported => {
                Ok(vec![Event::ReportFinished { instance: id.clone(), size: None }])
            }
            Change::Ready | Change::Reported => Ok(vec![]),
            Change::Resign { lead } => Ok(self.resign(lead, id)),
            Change::Unknown => {
                Err(Refused::Unreasonable("this coordinator does not know that kind of change".to_owned()))
            }
            Change::NotReady { reason } => {
                let reason = shorten(reason);
                let said = format!("{id} did not become ready: {reason}");
                if let Some(events) = self.fail_operation_on(id, &reason) {
                    return Ok(events);
                }
                if self.fails_alone(id) {
                    return Ok(vec![Event::Trouble { message: format!("{said} (its machine has booted again)") }]);
                }
                Ok(self.raise_abort_for(Failure::NotReady, Some(id.clone()), &said))
            }
        }
    }

    fn step_finished(
        &self,
        id: &InstanceId,
        index: u32,
        result: &StepResult,
        by: &Author,
    ) -> Result<Vec<Event>, Refused> {
        let step = self.step_name(id, index, by)?;
        if self.task(id, index).is_some_and(|t| t.result.is_some()) {
            return Ok(vec![]);
        }
        let mut events =
            vec![Event::StepFinished { instance: id.clone(), index, step: step.clone(), result: result.clone() }];
        // One that was ended by the abort of another has not failed by itself.
        let ended_by_abort = self.abort.is_some() && result.cause.as_deref() == Some("aborted");
        if !result.succeeded() && index < self.deploy_steps(id) && !ended_by_abort {
            let reason = format!("Failed running '{step}' script on '{id}': {result}");
            if self.fails_alone(id) {
                events.extend(self.fail_operation_on(id, &reason).unwrap_or_default());
                events.push(Event::Trouble { message: format!("{reason} (its machine has booted again)") });
            } else {
                events.extend(self.raise_abort_for(Failure::StepFailed, Some(id.clone()), &reason));
            }
        }
        Ok(events)
    }

    /// True for a machine that has served, and has booted again since: that it does not serve any more shows in the
    /// health of the run, and in the operation that has started it, and aborts nothing.
    fn fails_alone(&self, id: &InstanceId) -> bool {
        let again = |i: &Instance| (i.certificate > 0 || i.before_boot > 0) && !i.joining;
        self.reached_ready && self.instances.get(id).is_some_and(again)
    }

    fn step_name(&self, id: &InstanceId, index: u32, by: &Author) -> Result<String, Refused> {
        let task = self.task(id, index).map(|t| t.work.name().to_owned());
        let step = task.or_else(|| self.scripts(id).find(|(i, _)| *i == index).map(|(_, s)| s.step.clone()));
        step.ok_or_else(|| denied(by, format!("report step {index}: it has no such step")))
    }
}

/// Reasons are shown in lists: the middle of a long one is left out.
pub(super) fn shorten(reason: &str) -> String {
    const MOST: usize = 2000;
    if reason.len() <= MOST {
        return reason.to_owned();
    }
    let head = reason.floor_char_boundary(MOST / 2);
    let tail = reason.ceil_char_boundary(reason.len() - MOST / 2);
    format!("{}\n(truncated)\n{}", &reason[..head], &reason[tail..])
}

/// Levenshtein's distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
