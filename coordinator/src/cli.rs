//! The command line: definitions only, apart from what `--dev` stands for.

use std::{
    collections::BTreeMap,
    env,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::config::{CloudConfig, Config, ConfigError, DEFAULT_DATA, StoreKind};

/// The coordinator of SlipStream: REST API, catalogue, runs, and the clouds they use.
#[derive(Debug, Parser)]
#[command(name = "slipstream-coordinator", version, before_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,slipstream_coordinator=debug`
    #[arg(long, global = true, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Try it on this machine, nothing to configure:
  slipstream-coordinator serve --dev
Run it for others:
  slipstream-coordinator check-config /etc/slipstream/coordinator.toml
  slipstream-coordinator serve --config /etc/slipstream/coordinator.toml";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the coordinator until SIGTERM or Ctrl-C
    Serve(Serve),
    /// Says whether a configuration file is good, and changes nothing
    CheckConfig {
        /// The file
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Writes everything a coordinator must not lose into one file, while it runs or not
    ///
    /// Runs, values, modules, tokens, keys; not the output of steps and reports, which are files of their own in the
    /// folders `logs` and `reports`. The file is as secret as the keys in it.
    Backup {
        /// The file, which must not be there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        of: DataFolder,
    },
    /// Makes a data folder from such a file; the folder must be empty or not there
    Restore {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        of: DataFolder,
    },
}

/// Whose data.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct DataFolder {
    /// Its configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its data folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl DataFolder {
    /// The folder itself.
    ///
    /// # Errors
    /// The configuration file cannot be used.
    pub fn path(&self) -> Result<PathBuf, ConfigError> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(config)) => Ok(Config::load(config)?.data),
            (None, None) => Ok(PathBuf::from(DEFAULT_DATA)),
        }
    }
}

/// How to run.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["config", "dev"])))]
pub struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Everything defaulted, for this machine only; prints URL and token, and writes a profile for `slipstream`
    #[arg(long)]
    pub dev: bool,
    #[command(flatten)]
    pub options: DevOptions,
}

/// What `--dev` can be told.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "With --dev")]
pub struct DevOptions {
    /// Where it keeps its data [default: $XDG_STATE_HOME/slipstream/dev]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data: Option<PathBuf>,
    /// Forget everything at the end
    #[arg(long, conflicts_with_all = ["config", "data"])]
    pub ephemeral: bool,
    /// The address of the API [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub listen: Option<SocketAddr>,
    /// The address for agents [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    pub agent_listen: Option<SocketAddr>,
    /// How long certificates of agents are good for, such as 7d
    #[arg(long, value_name = "TIME", conflicts_with = "config", value_parser = crate::config::certificate_life)]
    pub agent_certificate_life: Option<Duration>,
    /// A folder of images: adds the cloud `local`, virtual machines on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub images: Option<PathBuf>,
}

impl DevOptions {
    /// The configuration these options stand for. None: there is no place for the data.
    #[must_use]
    pub fn config(&self, scratch: Option<PathBuf>) -> Option<Config> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let data = self.data.clone().or(scratch).or_else(state_folder)?;
        let mut clouds = BTreeMap::from([("processes".to_owned(), cloud("process"))]);
        if let Some(images) = &self.images {
            let mut local = cloud("qemu");
            let images = std::path::absolute(images).unwrap_or_else(|_| images.clone());
            local.settings.insert("images".to_owned(), images.display().to_string().into());
            clouds.insert("local".to_owned(), local);
        }
        Some(Config {
            agent_certificate_life: self.agent_certificate_life.unwrap_or(crate::pki::AGENT_LIFE),
            listen: self.listen.unwrap_or(anywhere),
            agent_listen: self.agent_listen.unwrap_or(anywhere),
            names: Vec::new(),
            data: std::path::absolute(&data).unwrap_or(data),
            store: if self.ephemeral { StoreKind::Memory } else { StoreKind::Sled },
            clouds,
        })
    }
}

fn cloud(kind: &str) -> CloudConfig {
    CloudConfig { kind: kind.to_owned(), ..CloudConfig::default() }
}

fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("slipstream/dev"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_hold_together_and_help_begins_with_an_example() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with("Try it on this machine"), "{help}");
    }

    #[test]
    fn serve_wants_a_file_or_dev_and_not_both() {
        for good in ["c serve --dev", "c serve --config f", "c serve --dev --data d --listen [::1]:9 --images i"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let bad = [
            "c serve",
            "c serve --dev --config f",
            "c serve --config f --data d",
            "c serve --dev --data d --ephemeral",
        ];
        for bad in bad {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backup_is_of_one_coordinator() {
        for good in ["c backup f --data d", "c restore f --config c"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["c backup f", "c backup --data d", "c restore f --data d --config c"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dev_has_processes_and_with_images_virtual_machines() {
        let options = DevOptions { images: Some("/i".into()), ephemeral: true, ..DevOptions::default() };
        let config = options.config(Some("/scratch".into())).expect("a place");
        assert_eq!(config.clouds.keys().collect::<Vec<_>>(), ["local", "processes"]);
        assert_eq!(config.clouds["local"].settings["images"].as_str(), Some("/i"));
        assert_eq!((config.store, config.listen.port()), (StoreKind::Memory, 0));
    }
}
