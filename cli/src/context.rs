//! What every command has at hand: the screen, the coordinator, and words for an interruption.

use std::{io, sync::Mutex};

use slipstream_shared::{
    client::{Client, ClientError},
    error_chain::Chain,
    http::Limits,
};

use crate::{
    args::Global,
    exit::{self, Exit},
    output::{Screen, Tone},
    profile::Profile,
};

/// What every command has at hand.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) screen: Screen,
    /// How to come back to what is being watched.
    come_back: Mutex<Option<String>>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let screen = Screen::new(global.output, global.quiet);
        Context { global, screen, come_back: Mutex::new(None) }
    }

    /// The configured coordinator.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        connect(&Profile::find(&self.global)?)
    }

    /// From now on an interruption says that the run goes on and what to type.
    pub(crate) fn come_back_with(&self, command: String) {
        *self.come_back.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(command);
    }

    /// Says so.
    pub(crate) fn interrupted(&self) -> Exit {
        let command = self.come_back.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match command {
            Some(command) => {
                self.screen.error(&format!("\nInterrupted. The run goes on; come back with: {command}"));
            }
            None => self.screen.error("\nInterrupted."),
        }
        Exit::Interrupted
    }

    /// Tells an error, and how the command ends for it.
    pub(crate) fn report(&self, error: &anyhow::Error) -> Exit {
        // `slipstream run list | head` is no error.
        let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
        if error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(closed)) {
            return Exit::Done;
        }
        let exit = exit::of(error);
        let paint = self.screen.err;
        self.screen.error(&format!("{} {}", paint.tone(Tone::Bad, "error:"), Chain(error.as_ref())));
        for cause in error.chain() {
            if let Some(ClientError::Problem(problem)) = cause.downcast_ref() {
                for place in &problem.problems {
                    self.screen.error(&format!("  line {}, column {}: {}", place.line, place.column, place.message));
                }
            }
        }
        if let Some(hint) = hint(exit, error) {
            self.screen.error(&paint.tone(Tone::Dim, hint));
        }
        exit
    }
}

/// A client for a profile.
pub(crate) fn connect(profile: &Profile) -> anyhow::Result<Client> {
    Ok(Client::new(&profile.url, &profile.token, &profile.authority, Limits::default())?)
}

/// What to do, where the error itself cannot know.
fn hint(exit: Exit, error: &anyhow::Error) -> Option<&'static str> {
    let http =
        error.chain().any(|e| e.downcast_ref::<ClientError>().is_some_and(|e| !matches!(e, ClientError::Problem(_))));
    match exit {
        Exit::Unreachable if http => Some(
            "Is the coordinator running, and is this its URL? `slipstream profile show` tells which one is used and why.",
        ),
        Exit::Denied => Some("`slipstream profile show` tells which profile the token comes from."),
        _ => None,
    }
}
