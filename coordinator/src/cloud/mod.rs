//! Clouds: where machines are launched and terminated.
//!
//! A [`Connector`] drives one configured cloud. To add a kind: write `<kind>.rs` here, list it in
//! [`KINDS`], and call `conformance::check` from its tests. Only `drive/` calls connectors.

#[cfg(test)]
mod conformance;
pub mod fake;
mod local;
mod process;
mod qemu;
mod settings;

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;
use slipstream_shared::{
    disk::{Disk, DiskName},
    id::{AttemptKey, RunId},
    plan::{Network, Size},
};

pub use self::settings::{CloudEnv, Kind, open};

/// All kinds of cloud.
pub static KINDS: &[Kind] = &[qemu::KIND, process::KIND, fake::KIND];

/// Launches, finds and terminates machines on one cloud.
///
/// Every machine a connector makes carries its [`AttemptKey`] (as tags, or in its name and a file), so
/// that [`Connector::find`] can tell whose it is after a crash of the coordinator.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync {
    /// The kind of cloud, such as `qemu`.
    fn kind(&self) -> &'static str;

    /// Whether what it launches are machines of their own, so that a run may decide who logs in to them.
    fn launches_machines(&self) -> bool {
        true
    }

    /// Where machines of this cloud reach the coordinator's agent port, best first: hosts without
    /// scheme or port, such as `10.0.2.2`.
    fn coordinator_hosts(&self) -> Vec<String>;

    /// What people should know about the machines it launches, once it has launched one: that they are
    /// slower than usual, for example.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Says whether machines can be launched: programs and images there, credentials good. Changes
    /// nothing.
    async fn validate(&self, image: Option<&str>) -> Result<(), CloudError>;

    /// Launches a machine and returns as soon as the cloud has accepted it. A second call with the same
    /// key returns the first machine while that exists. After an error other than
    /// [`CloudError::Ambiguous`] there is no machine.
    async fn launch(&self, request: &LaunchRequest) -> Result<String, CloudError>;

    /// Everything of a run that exists on this cloud, machines that failed or ended included, until it
    /// was terminated.
    async fn find(&self, run: RunId) -> Result<Vec<Observed>, CloudError>;

    /// Removes a machine with all that came with it, its disks included. One that is already gone is a success. When this
    /// returns, the machine may still be on its way out: [`Connector::find`] tells.
    async fn terminate(&self, run: RunId, machine: &str) -> Result<(), CloudError>;

    /// Whether machines of this cloud can be stopped and started: [`Connector::power`].
    fn can_power(&self) -> bool {
        false
    }

    /// Powers a machine on, or off so that its disk and its identity stay. One that is so already is a
    /// success. When this returns, it may still be on its way: [`Connector::find`] tells.
    async fn power(&self, _run: RunId, machine: &str, _on: bool) -> Result<(), CloudError> {
        Err(CloudError::Permanent(format!("a cloud of kind `{}` cannot stop and start {machine}", self.kind())))
    }

    /// Whether the size of its machines can be changed while they are powered off: [`Connector::resize`].
    fn can_resize(&self) -> bool {
        false
    }

    /// Gives a machine that is powered off another size, of which it has what is said; the rest stays. One that
    /// has it already is a success. After an error it has the size that it had.
    async fn resize(&self, _run: RunId, machine: &str, _size: &Size) -> Result<(), CloudError> {
        Err(CloudError::Permanent(format!("a cloud of kind `{}` cannot change the size of {machine}", self.kind())))
    }

    /// Whether its machines can have disks beside their root disk, from their launch on and later:
    /// [`Connector::attach`], [`Connector::detach`].
    fn can_attach(&self) -> bool {
        false
    }

    /// Makes a blank disk and gives it to a machine, whether that runs or not. In the machine its serial number
    /// is its name. One that the machine has already is a success, and is not changed.
    async fn attach(&self, _run: RunId, machine: &str, _disk: &Disk) -> Result<(), CloudError> {
        Err(CloudError::Permanent(format!("a cloud of kind `{}` cannot give disks to {machine}", self.kind())))
    }

    /// Takes a disk from a machine, whether that runs or not, and then removes it with all that is on it. One
    /// that the machine has not is a success.
    async fn detach(&self, _run: RunId, machine: &str, _disk: DiskName) -> Result<(), CloudError> {
        Err(CloudError::Permanent(format!("a cloud of kind `{}` cannot take disks from {machine}", self.kind())))
    }

    /// Removes what the machines of a run shared (networks, groups). Called when no machine is left;
    /// idempotent.
    async fn release(&self, run: RunId) -> Result<(), CloudError>;

    /// The end of what the machine has written to its console, if the cloud has that.
    async fn console(&self, run: RunId, machine: &str) -> Result<Option<String>, CloudError>;
}

/// What to launch.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// Whose machine, and which attempt; also the idempotency key.
    pub key: AttemptKey,
    /// The name to give it.
    pub name: String,
    /// The image's identifier on this cloud.
    pub image: String,
    /// How large.
    pub size: Size,
    /// Its disks beside the root disk, all of them blank.
    pub disks: Vec<Disk>,
    /// Which network its address is for.
    pub network: Network,
    /// The number of the instance within the run, from 1: the n-th machine gets the n-th private address.
    pub ordinal: u32,
    /// Makes the user data once the connector knows which interfaces the machine gets.
    pub user_data: UserData,
}

/// User data, but for what only the connector knows.
#[derive(Clone)]
pub struct UserData(pub slipstream_shared::context::Context);

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserData(<secret>)")
    }
}

/// What a cloud says of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The cloud's identifier.
    pub machine: String,
    /// Whose it is.
    pub key: AttemptKey,
    /// What it does.
    pub state: MachineState,
    /// Its address reachable from outside, once known.
    pub public: Option<String>,
    /// Its address on the network of the run, once known.
    pub private: Option<String>,
    /// `host:port` where its ssh server is reached from outside, where that is not `public:22`.
    pub ssh: Option<String>,
    /// How large it was made, as far as that was said.
    pub size: Size,
    /// Its disks beside the root disk.
    pub disks: BTreeSet<DiskName>,
}

/// What a machine does, as its cloud sees it. Running is not ready: that the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineState {
    /// Accepted, not running yet.
    Pending,
    /// Running.
    Running,
    /// Powered off, but still there.
    Stopped,
    /// On its way out.
    Terminating,
    /// It will never run.
    Failed(String),
}

/// Why a cloud did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// Something is missing or wrong on our side: a program, an image, a setting.
    #[error("{what} ({remedy})")]
    Invalid {
        /// What is wrong, with its name.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The credentials are refused.
    #[error("the cloud refuses the credentials: {0}")]
    Auth(String),
    /// A limit of the account is reached.
    #[error("quota reached: {0}")]
    Quota(String),
    /// The cloud has no room.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// It can do it only later.
    #[error("the cloud asks to try later: {0}")]
    Throttled(String),
    /// It did not do it; the same call may succeed.
    #[error("{0}")]
    Transient(String),
    /// It is not known whether it did it: ask [`Connector::find`].
    #[error("the answer was lost: {0}")]
    Ambiguous(String),
    /// It will never do it.
    #[error("{0}")]
    Permanent(String),
}

impl CloudError {
    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            CloudError::Throttled(_)
            | CloudError::Transient(_)
            | CloudError::Ambiguous(_)
            | CloudError::Capacity(_) => true,
            CloudError::Invalid { .. } | CloudError::Auth(_) | CloudError::Quota(_) | CloudError::Permanent(_) => false,
        }
    }
}
