//! `slipstream login` and `logout`: sessions of the command line.

use std::path::PathBuf;

use clap::Args;
use slipstream_shared::{api::Login, module::units};

use crate::{
    context::{Context, connect},
    exit::Exit,
    password,
    profile::{self, Profile},
};

/// Logs in with a password, for some hours; the session is kept in the profile
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream login ann\n  \
    SLIPSTREAM_CA=ca.pem slipstream login ann --url https://slipstream.example.org:8443")]
pub(crate) struct Command {
    /// The user
    user: String,
    /// Takes the password from this file, or `-`
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// For how long, at most 30d
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    seconds: Option<u64>,
}

/// Ends the session of `slipstream login`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  slipstream logout")]
pub(crate) struct Logout;

pub(crate) async fn login(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let profile = Profile::find_without_token(&context.global)?;
    let target = profile::place(&context.global)?;
    let password = password::read(command.password_file.as_deref(), &format!("Password of {}: ", command.user))?;
    let login = Login { user: command.user, password, cookie: false, seconds: command.seconds };
    let session = connect(&profile)?.login(&login).await?;
    profile::save(&Profile { token: session.token.unwrap_or_default(), ..profile }, &target)?;
    let until = session.expires.map(|end| format!(" until {end:.0}")).unwrap_or_default();
    context.screen.message(&format!("Logged in as {}{until} ({}).", session.user.name, target.display()));
    Ok(Exit::Done)
}

pub(crate) async fn logout(context: &Context) -> anyhow::Result<Exit> {
    let target = profile::place(&context.global)?;
    let profile = profile::read(&target)?;
    let client = connect(&profile)?;
    let session = client.session().await?;
    client.logout().await?;
    if session.expires.is_none() {
        context.screen.message("That was no session: the profile has an API token, which stays. See: slipstream token");
        return Ok(Exit::Done);
    }
    profile::save(&Profile { token: String::new(), ..profile }, &target)?;
    context.screen.message(&format!("{} is logged out.", session.user.name));
    Ok(Exit::Done)
}
