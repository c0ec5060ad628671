//! `boot`: the daemon under a runtime with one thread.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slipstream_shared::error_chain::Chain;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{self, Options},
    exit::End,
};

/// The most open files the daemon asks for: each wait of a script holds one. As many as our unit gives, because
/// scripts inherit the limit, and some programs go through all numbers up to it.
const OPEN_FILES: u64 = 65_536;

fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(OPEN_FILES)
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard)
    {
        crate::trouble::say(format_args!("cannot raise the limit of open files from {soft}: {e}"));
    }
}

pub(super) fn run(options: Options) -> End {
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return super::complain(End::Failed, &format!("cannot start: {e}")),
    };
    let ended = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        anyhow::Ok(agent::run(options, stop).await?)
    });
    // A blocking read of a device that hangs must not keep the process from ending.
    runtime.shutdown_background();
    match ended {
        Ok(()) => End::Ok,
        Err(e) => super::complain(End::Failed, &Chain(e.as_ref()).to_string()),
    }
}
