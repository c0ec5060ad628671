//! `slipstream run disk`: disks of machines beside their root disk.

use clap::Subcommand;
use slipstream_shared::{
    api::{AddDiskRequest, InstanceInfo, RemoveDiskRequest, RunDetail},
    client::Client,
    disk::{DiskName, Fs},
    id::InstanceId,
    module::units::in_words,
};

use super::scale::{How, begun, once};
use crate::{
    args::size,
    context::Context,
    exit::{Exit, fail},
    table::Table,
};

/// What to do with disks.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Gives machines one more disk each, while they run
    #[command(after_help = "Examples:\n  slipstream run disk add 1a2b3c4d web.1 --size 20GiB --wait\n  \
        slipstream run disk add 1a2b3c4d db.1 db.2 --size 1TiB --mount /data --fs xfs")]
    Add {
        /// Id of the run, short or full
        run: String,
        /// Whose
        #[arg(required = true)]
        instances: Vec<InstanceId>,
        /// How large, as in 20GiB
        #[arg(long, value_parser = size)]
        size: u64,
        /// The folder it is mounted on; it gets a file system then
        #[arg(long, value_name = "FOLDER")]
        mount: Option<String>,
        /// Which file system: ext2, ext3, ext4 (unless said otherwise), xfs or btrfs
        #[arg(long, value_name = "TYPE", requires = "mount")]
        fs: Option<Fs>,
        #[command(flatten)]
        how: How,
    },
    /// Removes a disk of a machine with all that is on it
    #[command(after_help = "Example:\n  slipstream run disk remove 1a2b3c4d web.1 disk2 --destroy-data --wait")]
    Remove {
        /// Id of the run, short or full
        run: String,
        /// Whose
        instance: InstanceId,
        /// Which, such as disk2
        disk: DiskName,
        /// Really: nobody will ever read again what is on it
        #[arg(long)]
        destroy_data: bool,
        #[command(flatten)]
        how: How,
    },
    /// Lists the disks of the machines of a run
    #[command(after_help = "Example:\n  slipstream run disk list 1a2b3c4d")]
    List {
        /// Id of the run, short or full
        run: String,
    },
}

pub(super) async fn run(context: &Context, client: Client, command: DiskCommand) -> anyhow::Result<Exit> {
    match command {
        DiskCommand::Add { run, instances, size, mount, fs, how } => {
            let request = AddDiskRequest { instances, size, mount, fs, dry_run: how.dry_run };
            let operation = once(async |key| client.add_disk(&run, &request, key).await).await?;
            begun(context, client, &run, &operation, how).await
        }
        DiskCommand::Remove { run, instance, disk, destroy_data, how } => {
            if !destroy_data && !how.dry_run {
                let what = lost(&client.run(&run).await?, &instance, disk);
                return Err(fail(
                    Exit::Usage,
                    format!("{what} would be lost for good: if that is wanted, add --destroy-data"),
                ));
            }
            let request = RemoveDiskRequest { instance, disk, dry_run: how.dry_run };
            let operation = once(async |key| client.remove_disk(&run, &request, key).await).await?;
            begun(context, client, &run, &operation, how).await
        }
        DiskCommand::List { run } => list(context, &client.run(&run).await?),
    }
}

/// What somebody is about to lose.
fn lost(run: &RunDetail, instance: &InstanceId, name: DiskName) -> String {
    let disks = run.nodes.iter().filter(|node| node.instance == *instance).flat_map(|node| &node.disks);
    let known = disks.into_iter().find(|info| info.disk.name == name).map(|info| info.disk.to_string());
    format!("{} of {instance}, with all that is on it,", known.unwrap_or_else(|| name.to_string()))
}

fn list(context: &Context, run: &RunDetail) -> anyhow::Result<Exit> {
    let screen = &context.screen;
    if screen.is_json() {
        let disks = run.nodes.iter().map(|node| serde_json::json!({ "instance": node.instance, "disks": node.disks }));
        screen.json(&disks.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    screen.table(&table(&run.nodes), "No machine has a disk beside its root disk.")?;
    Ok(Exit::Done)
}

/// The disks of machines, one on each line.
pub(super) fn table(nodes: &[InstanceInfo]) -> Table {
    let mut table = Table::new(&["INSTANCE", "DISK", "SIZE", "MOUNT", "STATUS", "DEVICE"]);
    for (node, info) in nodes.iter().flat_map(|node| node.disks.iter().map(move |info| (node, info))) {
        table.row([
            node.instance.to_string().into(),
            info.disk.name.to_string().into(),
            in_words(info.disk.spec.size).into(),
            info.disk.spec.mount.as_deref().unwrap_or_default().into(),
            (&info.status).into(),
            (&info.device).into(),
        ]);
    }
    table
}
