//! The configuration file: TOML in, a validated [`Config`] out.
//!
//! ```toml
//! data = "/var/lib/slipstream-coordinator"
//! store = "sled"
//!
//! [server]
//! listen = "0.0.0.0:8443"
//! agent_listen = "0.0.0.0:8444"
//! names = ["slipstream.example.org"]
//! agent_certificate_life = "7d"
//!
//! [cloud.local]
//! kind = "qemu"
//! images = "/var/lib/slipstream-coordinator/images"
//! ```
//!
//! What is in a `[cloud.<name>]` table besides `kind` belongs to that kind of cloud. Every complaint
//! names file, line and key.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use slipstream_shared::module::units;
use toml::Spanned;

use crate::pki::AGENT_LIFE;

/// Where everything durable is, unless the file says otherwise.
pub const DEFAULT_DATA: &str = "/var/lib/slipstream-coordinator";

/// What a coordinator needs to know to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The address of the API.
    pub listen: SocketAddr,
    /// The address for agents.
    pub agent_listen: SocketAddr,
    /// How long a certificate of an agent is good for. Agents renew theirs when two thirds of it have passed.
    pub agent_certificate_life: Duration,
    /// Names and addresses by which people reach the API, for its certificate.
    pub names: Vec<String>,
    /// The folder of everything durable.
    pub data: PathBuf,
    /// How the store keeps its bytes.
    pub store: StoreKind,
    /// The clouds, by name.
    pub clouds: BTreeMap<String, CloudConfig>,
}

/// How the store keeps its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// On this machine's disk.
    #[default]
    Sled,
    /// Not at all: gone when the coordinator stops.
    Memory,
}

/// One cloud.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CloudConfig {
    /// Which kind of cloud it is.
    pub kind: String,
    /// The rest of its table.
    pub settings: toml::Table,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}, line {line}: {message}")]
    Invalid {
        /// Which file.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong, with the key, and what is right.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Server,
    data: Option<PathBuf>,
    #[serde(default)]
    store: StoreKind,
    #[serde(default)]
    cloud: BTreeMap<Spanned<String>, Spanned<toml::Table>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    listen: Option<Spanned<String>>,
    agent_listen: Option<Spanned<String>>,
    agent_certificate_life: Option<Spanned<String>>,
    #[serde(default)]
    names: Vec<Spanned<String>>,
}

/// A place in the text, and what is wrong there.
type Fault = (usize, String);

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Config::parse(&text).map_err(|(offset, message)| ConfigError::Invalid {
            path: shown,
            line: text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1,
            message,
        })
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let key = text[offset.min(text.len())..].split(['=', '\n', ']']).next().unwrap_or_default().trim();
            let message = error.message().to_owned();
            // An unknown key is in the message already, a value is not.
            (offset, if message.contains('`') || key.is_empty() { message } else { format!("`{key}`: {message}") })
        })?;
        let data = file.data.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        if !data.is_absolute() {
            let offset = text.find("data").unwrap_or(0);
            return Err((offset, "`data` must be an absolute path".to_owned()));
        }
        Ok(Config {
            listen: address("server.listen", file.server.listen, "127.0.0.1:8443")?,
            agent_listen: address("server.agent_listen", file.server.agent_listen, "0.0.0.0:8444")?,
            agent_certificate_life: life(file.server.agent_certificate_life)?,
            names: file.server.names.into_iter().map(public_name).collect::<Result<_, _>>()?,
            data,
            store: file.store,
            clouds: file.cloud.into_iter().map(cloud).collect::<Result<_, _>>()?,
        })
    }
}

fn address(key: &str, given: Option<Spanned<String>>, default: &str) -> Result<SocketAddr, Fault> {
    let (offset, text) = given.map_or_else(|| (0, default.to_owned()), |text| (text.span().start, text.into_inner()));
    let example = format!("it is an IP address and a port, as in \"{default}\"");
    text.parse().map_err(|_| (offset, format!("`{key}` = \"{text}\" is not an address: {example}")))
}

/// The shortest life of a certificate that leaves time to renew it, in seconds.
const SHORTEST_LIFE: u64 = 3;
/// The longest one: whoever finds an old disk is not to use what is on it for ever.
const LONGEST_LIFE: u64 = 90 * 24 * 60 * 60;

fn life(given: Option<Spanned<String>>) -> Result<Duration, Fault> {
    let Some(text) = given else { return Ok(AGENT_LIFE) };
    let wrong = |hint| (text.span().start, format!("`server.agent_certificate_life` = \"{}\": {hint}", text.get_ref()));
    certificate_life(text.get_ref()).map_err(wrong)
}

/// Reads how long certificates of agents are good for.
///
/// # Errors
/// It is no time, or too short or too long a one.
pub fn certificate_life(text: &str) -> Result<Duration, String> {
    let seconds = units::duration(text).ok().filter(|s| (SHORTEST_LIFE..=LONGEST_LIFE).contains(s));
    seconds.map(Duration::from_secs).ok_or_else(|| "it is a time from 3s to 90d, as in \"7d\"".to_owned())
}

fn public_name(name: Spanned<String>) -> Result<String, Fault> {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let text = name.get_ref();
    if text.parse::<IpAddr>().is_ok() || text.split('.').all(is_label) {
        return Ok(name.into_inner());
    }
    let hint = "it is a DNS name or an address, without scheme and port";
    Err((name.span().start, format!("`server.names`: \"{text}\" is not a name: {hint}")))
}

fn cloud((name, table): (Spanned<String>, Spanned<toml::Table>)) -> Result<(String, CloudConfig), Fault> {
    let offset = name.span().start;
    let name = name.into_inner();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
        let rule = "its name has lower-case letters, digits and dashes only";
        return Err((offset, format!("`cloud.{name}`: {rule}")));
    }
    let mut settings = table.into_inner();
    match settings.remove("kind") {
        Some(toml::Value::String(kind)) => Ok((name, CloudConfig { kind, settings })),
        Some(_) => Err((offset, format!("`cloud.{name}.kind` must be text, as in \"qemu\""))),
        None => Err((offset, format!("`cloud.{name}` has no `kind`, such as \"qemu\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, text).expect("writable");
        let error = Config::load(&path).expect_err(text).to_string();
        error.replace(&path.display().to_string(), "c.toml")
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let config = Config::parse("").expect("valid");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.agent_listen.to_string(), "0.0.0.0:8444");
        assert_eq!((config.store, config.data.to_str()), (StoreKind::Sled, Some(DEFAULT_DATA)));
        assert!(config.clouds.is_empty());
    }

    #[test]
    fn a_cloud_gets_the_rest_of_its_table() {
        let config = Config::parse(
            "store = \"memory\"\n[server]\nlisten = \"[::1]:1\"\nnames = [\"a.example\", \"10.0.0.1\"]\n\
             [cloud.big-one]\nkind = \"ec2\"\nregion = \"eu\"\n[cloud.big-one.sizes]\nsmall = 1\n",
        )
        .expect("valid");
        let cloud = &config.clouds["big-one"];
        assert_eq!(cloud.kind, "ec2");
        assert_eq!(cloud.settings.keys().collect::<Vec<_>>(), ["region", "sizes"]);
        assert_eq!((config.store, config.names.len()), (StoreKind::Memory, 2));
    }

    #[test]
    fn every_complaint_names_line_and_key() {
        for (text, says) in [
            ("\nport = 1\n", "c.toml, line 2: unknown field `port`"),
            ("[server]\nlisten = 3\n", "c.toml, line 2: "),
            ("[server]\n\nlisten = \"here\"\n", "c.toml, line 3: `server.listen` = \"here\" is not an address"),
            ("[server]\nnames = [\"https://x\"]\n", "c.toml, line 2: `server.names`: \"https://x\" is not a name"),
            ("store = \"etcd\"\n", "c.toml, line 1: unknown variant `etcd`, expected `sled` or `memory`"),
            ("data = \"here\"\n", "c.toml, line 1: `data` must be an absolute path"),
            ("# x\n[cloud.a]\nregion = 1\n", "c.toml, line 2: `cloud.a` has no `kind`"),
            ("[cloud.A]\nkind = \"x\"\n", "c.toml, line 1: `cloud.A`: its name has"),
            ("[cloud.a]\nkind = 1\n", "c.toml, line 1: `cloud.a.kind` must be text"),
            ("store =\n", "c.toml, line 1: "),
        ] {
            let said = complaint(text);
            assert!(said.starts_with(says), "{text}: {said}");
        }
        let error = Config::load(Path::new("/nonexistent/c.toml")).expect_err("not there");
        assert_eq!(error.to_string(), "cannot read /nonexistent/c.toml");
    }
}
