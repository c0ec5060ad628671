//! `slipstream ssh`: a shell on a machine of a run.

use std::os::unix::process::CommandExt as _;

use slipstream_shared::{
    api::{InstanceInfo, RunDetail},
    id::InstanceId,
};

use crate::{
    context::Context,
    exit::{Exit, fail},
};

/// Opens a shell on a machine of a run, or runs a command there
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  slipstream ssh 1a2b3c4d web.1\n  slipstream ssh 1a2b3c4d web.1 -- journalctl -n 50"
)]
pub(crate) struct Command {
    /// Id of the run, short or full
    run: String,
    /// The instance; may be left out where there is only one
    instance: Option<InstanceId>,
    /// Command to run there, and its arguments
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let run = context.client()?.run(&command.run).await?;
    let arguments = arguments(&run, command.instance.as_ref(), &command.command)?;
    let error = std::process::Command::new("ssh").args(&arguments).exec();
    Err(fail(Exit::Usage, format!("cannot start ssh: {error}; is an ssh client installed?")))
}

/// What to call ssh with.
fn arguments(run: &RunDetail, instance: Option<&InstanceId>, command: &[String]) -> anyhow::Result<Vec<String>> {
    let node = choose(run, instance)?;
    let url = node.ssh.as_deref().ok_or_else(|| {
        fail(
            Exit::NotFound,
            format!("{} cannot be reached by ssh: its cloud {} gives no ssh address (yet)", node.instance, node.cloud),
        )
    })?;
    let (target, port) = parse(url).ok_or_else(|| {
        fail(
            Exit::Unreachable,
            format!("the ssh address of {}, {url}, has not the form ssh://user@host:port", node.instance),
        )
    })?;
    // Addresses are used again by other machines: each machine's host key is kept under its own name.
    let alias = format!("HostKeyAlias=slipstream-{}-{}", run.summary.id.short(), node.instance);
    let mut arguments =
        ["-o", &alias, "-o", "StrictHostKeyChecking=accept-new", "-p", port, target].map(str::to_owned).to_vec();
    if !command.is_empty() {
        arguments.push("--".to_owned());
        arguments.extend_from_slice(command);
    }
    Ok(arguments)
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
