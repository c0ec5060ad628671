//! What every command takes, and the list of nouns. Each noun's own arguments are in its file.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::{
    barrier,
    exit::{Exit, fail},
    explain, group, lead, login, module,
    output::Format,
    param, profile, run, ssh, ssh_key, token, up, user,
};

/// More of a file is not read: no value is as long.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Deploys applications of several virtual machines on any cloud.
#[derive(Debug, Parser)]
#[command(name = "slipstream", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

const EXAMPLES: &str = "\
Examples:
  slipstream up examples/service-testing-processes     try it: starts everything, Ctrl-C removes it
  slipstream module put web.yaml app.yaml              save module files
  slipstream run launch apps/lamp --cloud geneva --wait
  slipstream run logs 1a2b3c4d web.1 -f
  slipstream run terminate 1a2b3c4d --wait

Exit codes: 0 done, 1 run failed, 2 usage, 3 not found, 4 denied, 5 conflict, 6 quota, 7 cloud error,
8 time-out while still going, 9 coordinator unreachable, 130 interrupted (the run goes on).
NO_COLOR is honoured.";

/// Options of all commands.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Global {
    /// The coordinator, https://host:port; else the profile's
    #[arg(long, global = true, env = "SLIPSTREAM_URL", hide_env_values = true, help_heading = "Coordinator")]
    pub(crate) url: Option<String>,
    /// File with the API token; else SLIPSTREAM_TOKEN, else the profile's
    #[arg(long, global = true, value_name = "FILE", help_heading = "Coordinator")]
    pub(crate) token_file: Option<PathBuf>,
    /// Profile to use; else the one set by `slipstream profile use`
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SLIPSTREAM_PROFILE",
        hide_env_values = true,
        help_heading = "Coordinator"
    )]
    pub(crate) profile: Option<PathBuf>,
    /// Form of results; json has the names of the API
    #[arg(short, long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub(crate) output: Format,
    /// No progress and no messages, only results and errors
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    Up(up::Command),
    #[command(subcommand)]
    Module(module::Command),
    Explain(explain::Command),
    #[command(subcommand)]
    Run(run::Command),
    #[command(subcommand)]
    Param(param::Command),
    #[command(subcommand)]
    Barrier(barrier::Command),
    #[command(subcommand)]
    Lead(lead::Command),
    Ssh(ssh::Command),
    Login(login::Command),
    Logout(login::Logout),
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Group(group::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    SshKey(ssh_key::Command),
    #[command(subcommand)]
    Profile(profile::Command),
}

/// Bytes of a size such as `4GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    slipstream_shared::module::units::size(text)
}

/// Reads a time such as `90s`, `20m` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    slipstream_shared::module::units::duration(text).map(Duration::from_secs)
}

/// A value that is in a file, as it is; `-` is standard input. For secrets: arguments are seen by others.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<String> {
    let from = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin().take(LARGEST_FILE)),
        _ => std::fs::File::open(path).and_then(|file| std::io::read_to_string(file.take(LARGEST_FILE))),
    };
    text.map_err(|e| fail(Exit::Usage, format!("cannot read a value from {from}: {e}")))
}

/// Reads `name=value`; the value may be empty and hold further `=`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` has not the form name=value")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_sound_and_all_help_begins_with_what_it_does() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        check(&command);
    }

    fn check(command: &clap::Command) {
        if command.get_name() == "help" {
            return;
        }
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() > 8, "{name} does not say what it does");
        let leaf = command.get_subcommands().next().is_none();
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(!leaf || after.contains("slipstream "), "{name} has no example");
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn options_may_stand_behind_the_verb() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args = parse("slipstream run show 1a2b3c4d -o json --quiet").expect("valid");
        assert!(args.global.quiet);
        assert_eq!(args.global.output, Format::Json);
        for bad in [
            "slipstream",
            "slipstream run",
            "slipstream run launch",
            "slipstream run launch a --set x",
            "slipstream run launch a --count web",
            "slipstream run launch a --keep-running maybe",
            "slipstream param set 1a2b3c4d web.1",
            "slipstream run logs 1a2b3c4d web",
        ] {
            assert_eq!(parse(bad).expect_err(bad).exit_code(), 2, "{bad}");
        }
    }
}
