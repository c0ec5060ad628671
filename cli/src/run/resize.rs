//! `slipstream run resize`.

use clap::Args;
use slipstream_shared::{api::ResizeRequest, client::Client, id::InstanceId, id::NodeName};

use super::scale::{How, begun, once};
use crate::{args::size, context::Context, exit::Exit};

/// Whose machines, and how large.
#[derive(Debug, Args)]
pub(crate) struct ResizeOptions {
    /// Instances such as web.1, or nodes such as web: those there are, and those that come later
    #[arg(required = true, value_name = "INSTANCE|NODE")]
    who: Vec<Who>,
    /// How many virtual processors
    #[arg(long, value_name = "N", required_unless_present = "ram")]
    cpu: Option<u32>,
    /// How much memory, as in 4GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    ram: Option<u64>,
    #[command(flatten)]
    how: How,
}

/// An instance, or all of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Instance(InstanceId),
    Node(NodeName),
}

impl std::str::FromStr for Who {
    type Err = slipstream_shared::id::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('.') { text.parse().map(Who::Instance) } else { text.parse().map(Who::Node) }
    }
}

pub(super) async fn run(context: &Context, client: Client, run: &str, options: ResizeOptions) -> anyhow::Result<Exit> {
    let ResizeOptions { who, cpu, ram, how } = options;
    let mut request = ResizeRequest { cpu, ram, dry_run: how.dry_run, ..ResizeRequest::default() };
    for one in who {
        match one {
            Who::Instance(id) => request.instances.push(id),
            Who::Node(node) => request.nodes.push(node),
        }
    }
    let operation = once(async |key| client.resize(run, &request, key).await).await?;
    begun(context, client, run, &operation, how).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_tells_an_instance_from_a_node() {
        let who = |text: &str| text.parse::<Who>().map_err(|e| e.to_string());
        assert_eq!(who("web.2"), Ok(Who::Instance("web.2".parse().expect("valid"))));
        assert_eq!(who("web"), Ok(Who::Node("web".parse().expect("valid"))));
        assert!(who("web.").is_err() && who("2").is_err());
    }
}
