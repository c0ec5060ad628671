//! `slipstream ssh`: a shell on a machine of a run.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use slipstream_shared::{
    api::{InstanceInfo, RunDetail},
    id::InstanceId,
    state::Milestone,
};

use crate::{
    context::Context,
    exit::{Exit, fail},
    keys,
};

/// Opens a shell on a machine of a run, or runs a command there
///
/// Lets in whoever has launched the run: with their own key, or the one that `slipstream` has made for
/// them. Ends as the command does, or with 255 where ssh itself has failed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  slipstream ssh 1a2b3c4d web.1\n  slipstream ssh 1a2b3c4d web.1 -- journalctl -n 50"
)]
pub(crate) struct Command {
    /// Id of the run, short or full
    run: String,
    /// The instance; may be left out where there is only one
    instance: Option<InstanceId>,
    /// Private key to log in with, where that is not one of ~/.ssh/id_*
    #[arg(short, long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Command to run there, and its arguments; a shell reads it
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let run = context.client()?.run(&command.run).await?;
    let node = choose(&run, command.instance.as_ref())?;
    let (target, port) = address(node)?;
    if node.milestone < Milestone::Enrolled {
        context.screen.message(&format!("{} is still starting: it may not let you in yet.", node.instance));
    }
    let mut ssh = std::process::Command::new("ssh");
    // Addresses are used again by other machines: each machine's host key is kept under its own name.
    let option = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
    let host = format!("slipstream-{}-{}-{}", run.summary.id, node.instance, node.attempt);
    ssh.args(option("HostKeyAlias", &host));
    ssh.args(option("UserKnownHostsFile", &format!("\"{}\"", plain(&keys::known_hosts()?))));
    ssh.args(option("StrictHostKeyChecking", "accept-new"));
    // Not that a host key was added, nor that the connection is closed: both are as they should be.
    ssh.args(option("LogLevel", "ERROR"));
    let identities = command.identity.map_or_else(keys::identities, |file| vec![file]);
    ssh.args(identities.iter().flat_map(|file| ["-i".to_owned(), plain(file)]));
    ssh.args(["-p", port, target]);
    if !command.command.is_empty() {
        ssh.arg("--").args(&command.command);
    }
    let error = ssh.exec();
    Err(fail(Exit::Usage, format!("cannot start ssh: {error}; is an ssh client installed?")))
}

/// A path in which ssh replaces nothing.
fn plain(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// Where to log in, if there is something to log in to.
fn address(node: &InstanceInfo) -> anyhow::Result<(&str, &str)> {
    let InstanceInfo { instance, cloud, .. } = node;
    match node.milestone {
        Milestone::Gone => return Err(fail(Exit::NotFound, format!("{instance} is gone"))),
        Milestone::Stopped => return Err(fail(Exit::Conflict, format!("{instance} is stopped: start it first"))),
        Milestone::Terminating => return Err(fail(Exit::NotFound, format!("{instance} is being removed"))),
        _ => {}
    }
    let url = node.ssh.as_deref().ok_or_else(|| match node.milestone {
        Milestone::Planned | Milestone::Intended | Milestone::Launched => {
            fail(Exit::NotFound, format!("{instance} is not there yet: it is {}", node.milestone))
        }
        _ => fail(
            Exit::NotFound,
            format!("{instance} has no ssh server: what cloud `{cloud}` launches are no machines of their own"),
        ),
    })?;
    let form = format!("the ssh address of {instance}, {url}, has not the form ssh://user@host:port");
    parse(url).ok_or_else(|| fail(Exit::Unreachable, form))
}

fn choose<'a>(run: &'a RunDetail, instance: Option<&InstanceId>) -> anyhow::Result<&'a InstanceInfo> {
    let names = || run.nodes.iter().map(|n| n.instance.to_string()).collect::<Vec<_>>().join(", ");
    let short = run.summary.id.short();
    match (instance, run.nodes.as_slice()) {
        (Some(wanted), nodes) => nodes
            .iter()
            .find(|n| &n.instance == wanted)
            .ok_or_else(|| fail(Exit::NotFound, format!("run {short} has no instance {wanted}; it has {}", names()))),
        (None, [only]) => Ok(only),
        (None, _) => Err(fail(Exit::Usage, format!("run {short} has several instances, name one: {}", names()))),
    }
}

/// `user@host` and port. Nothing in them can be taken for an option.
fn parse(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("ssh://")?.trim_end_matches('/');
    let (target, port) = match rest.rsplit_once(':') {
        Some((target, port)) if !port.ends_with(']') => (target, port),
        _ => (rest, "22"),
    };
    let sound = !target.starts_with('-') && !target.chars().any(|c| c.is_whitespace() || c.is_control());
    (sound && port.parse::<u16>().is_ok() && !target.is_empty()).then_some((target, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(parse("ssh://root@10.0.0.1:2222"), Some(("root@10.0.0.1", "2222")));
        assert_eq!(parse("ssh://debian@host"), Some(("debian@host", "22")));
        for bad in ["root@h:22", "ssh://-oProxyCommand=x:22", "ssh://a@b:port", "ssh://:22", "ssh://a b:1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
