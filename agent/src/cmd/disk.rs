//! `disk`: takes a disk that was attached while the machine runs, or lets go of one.

use crate::{cli::DiskCommand, disk, exit::End, system::System};

pub(super) fn run(command: DiskCommand) -> End {
    let system = System::new("/".into());
    let done = match command {
        DiskCommand::Take { name, mount, fs } => {
            disk::take(&system, name, &slipstream_shared::disk::DiskSpec { size: 0, mount, fs })
        }
        DiskCommand::Release { name } => disk::release(&system, name),
    };
    match done {
        Ok(()) => End::Ok,
        Err(why) => super::complain(End::Failed, &why),
    }
}
