//! `slipstream`, the command line of SlipStream: everything a person or a pipeline does with a
//! coordinator, over its REST API.
//!
//! Results go to standard output, everything else to standard error; see `docs/glossary.md` for the
//! exit codes.

mod args;
mod barrier;
mod context;
mod coordinator;
mod exit;
mod explain;
mod group;
mod keys;
mod lead;
mod login;
mod module;
mod operation;
mod output;
mod param;
mod password;
mod profile;
mod progress;
mod run;
mod source;
mod ssh;
mod ssh_key;
mod table;
mod token;
mod up;
mod user;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Args, Noun},
    context::Context,
    exit::Exit,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let context = Context::new(args.global);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return context.report(&anyhow::Error::new(error).context("cannot start")).into(),
    };
    runtime.block_on(run(&context, args.noun)).into()
}

async fn run(context: &Context, noun: Noun) -> Exit {
    // `up` cleans up when it is interrupted; everything else just stops looking.
    let result = match noun {
        Noun::Up(command) => up::run(context, command).await,
        noun => tokio::select! {
            result = dispatch(context, noun) => result,
            _ = tokio::signal::ctrl_c() => Ok(context.interrupted()),
        },
    };
    result.unwrap_or_else(|error| context.report(&error))
}

async fn dispatch(context: &Context, noun: Noun) -> anyhow::Result<Exit> {
    match noun {
        Noun::Up(command) => up::run(context, command).await,
        Noun::Module(command) => module::run(context, command).await,
        Noun::Explain(command) => explain::run(context, &command),
        Noun::Run(command) => run::run(context, command).await,
        Noun::Param(command) => param::run(context, command).await,
        Noun::Barrier(command) => barrier::run(context, command).await,
        Noun::Lead(command) => lead::run(context, command).await,
        Noun::Ssh(command) => ssh::run(context, command).await,
        Noun::Login(command) => login::login(context, command).await,
        Noun::Logout(_) => login::logout(context).await,
        Noun::User(command) => user::run(context, command).await,
        Noun::Group(command) => group::run(context, command).await,
        Noun::Token(command) => token::run(context, command).await,
        Noun::SshKey(command) => ssh_key::run(context, command).await,
        Noun::Profile(command) => profile::run(context, command),
    }
}
