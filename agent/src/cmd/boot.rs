//! `boot`: the daemon under a runtime with one thread.

use slipstream_shared::error_chain::Chain;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{self, Options},
    exit::End,
};

pub(super) fn run(options: Options) -> End {
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
