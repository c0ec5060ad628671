//! `slipstream profile`: which coordinator is spoken to, with which token, trusting whom.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::{
    args::Global,
    context::{Context, connect},
    exit::{Exit, fail},
};

/// Shows or sets the coordinator to use
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows which coordinator is used and where that is written
    #[command(after_help = "Example:\n  slipstream profile show")]
    Show,
    /// Makes a profile, such as the cli.toml a coordinator writes, the one used from now on
    #[command(after_help = "Example:\n  slipstream profile use /var/lib/slipstream/cli.toml")]
    Use {
        /// The profile
        file: PathBuf,
    },
}

/// A coordinator and the right to use it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// `https://host:port`.
    pub(crate) url: String,
    /// The API token, or that of a session; empty where nobody is logged in.
    #[serde(default)]
    pub(crate) token: String,
    /// The authority of the coordinator's certificate, PEM.
    pub(crate) authority: String,
}

/// What `profile show` tells; never the token.
#[derive(Serialize)]
struct Shown<'a> {
    url: &'a str,
    profile: Option<&'a Path>,
}

pub(crate) fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Show => show(context),
        Command::Use { file } => {
            let profile = read(&file)?;
            connect(&profile).with_context(|| format!("{} is not a usable profile", file.display()))?;
            let target = default_path().context("neither XDG_CONFIG_HOME nor HOME is set")?;
            let copied = fs::File::open(&file).and_then(|mut file| write(&mut file, &target));
            copied.with_context(|| format!("cannot write {}", target.display()))?;
            context.screen.message(&format!("From now on {} is used ({}).", profile.url, target.display()));
            Ok(Exit::Done)
        }
    }
}

fn show(context: &Context) -> anyhow::Result<Exit> {
    let profile = Profile::find(&context.global)?;
    let file = context.global.profile.clone().or_else(|| default_path().filter(|p| p.exists()));
    if context.screen.is_json() {
        context.screen.json(&Shown { url: &profile.url, profile: file.as_deref() })?;
        return Ok(Exit::Done);
    }
    let from = |given: bool, name: &str| if given { format!("  (from {name})") } else { String::new() };
    let global = &context.global;
    context.screen.line(&format!(
        "url      {}{}",
        profile.url,
        from(global.url.is_some(), "--url or SLIPSTREAM_URL")
    ))?;
    if let Some(file) = file {
        context.screen.line(&format!("profile  {}", file.display()))?;
    }
    let token = match &global.token_file {
        Some(file) => format!("from {}", file.display()),
        None if std::env::var_os("SLIPSTREAM_TOKEN").is_some() => "from SLIPSTREAM_TOKEN".to_owned(),
        None => "of the profile".to_owned(),
    };
    context.screen.line(&format!("token    {token} (not shown)"))?;
    Ok(Exit::Done)
}

impl Profile {
    /// The profile of the options, the environment and the profile file, in this order, each part
    /// by itself.
    pub(crate) fn find(global: &Global) -> anyhow::Result<Self> {
        let profile = Self::find_without_token(global)?;
        if profile.token.is_empty() { Err(missing(true, false, true)) } else { Ok(profile) }
    }

    /// The same where a token is not needed; it is empty if there is none.
    pub(crate) fn find_without_token(global: &Global) -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let token = match &global.token_file {
            Some(file) => Some(read_text(file, "the token")?.trim().to_owned()),
            None => variable("SLIPSTREAM_TOKEN"),
        };
        let authority = match variable("SLIPSTREAM_CA") {
            Some(pem) if pem.contains("-----BEGIN") => Some(pem),
            Some(file) => Some(read_text(Path::new(&file), "the authority (SLIPSTREAM_CA)")?),
            None => None,
        };
        Self::combine(global, token, authority, default_path().as_deref())
    }

    fn combine(
        global: &Global,
        token: Option<String>,
        authority: Option<String>,
        default: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let file = global.profile.as_deref().or_else(|| default.filter(|p| p.exists()));
        let (url, token, authority) = match (global.url.clone(), token, authority, file) {
            (Some(url), Some(token), Some(authority), _) => (url, token, authority),
            (Some(url), None, Some(authority), None) => (url, String::new(), authority),
            (url, token, authority, Some(file)) => {
                let profile = read(file)?;
                (url.unwrap_or(profile.url), token.unwrap_or(profile.token), authority.unwrap_or(profile.authority))
            }
            (url, token, authority, None) => return Err(missing(url.is_some(), token.is_some(), authority.is_some())),
        };
        Ok(Profile { url, token, authority })
    }

    /// True when the user names a coordinator for this call, rather than having one in general.
    pub(crate) fn is_explicit(global: &Global) -> bool {
        global.url.is_some() || global.profile.is_some()
    }

    /// True when some coordinator is configured.
    pub(crate) fn is_configured(global: &Global) -> bool {
        Self::is_explicit(global) || default_path().is_some_and(|p| p.exists())
    }
}

fn missing(url: bool, token: bool, authority: bool) -> anyhow::Error {
    if !url {
        return fail(
            Exit::Usage,
            "no coordinator is configured: name one with `slipstream profile use FILE` (a coordinator writes \
             such a file, cli.toml, into its data folder) or `--profile FILE`, or start one with `slipstream up DIR`",
        );
    }
    let what = match (token, authority) {
        (_, false) => "no authority to trust: set SLIPSTREAM_CA to a PEM file",
        (false, _) => "no token: log in (slipstream login USER), set SLIPSTREAM_TOKEN or give --token-file FILE",
        _ => "an incomplete profile",
    };
    fail(Exit::Usage, format!("there is a URL but {what}, or use a profile that has all of them"))
}

/// Reads a profile file.
pub(crate) fn read(file: &Path) -> anyhow::Result<Profile> {
    let text = read_text(file, "the profile")?;
    toml::from_str(&text).map_err(|e| {
        // The message of the library quotes the line, which may be the token's.
        fail(Exit::Usage, format!("{} is not a profile (url, token, authority): {}", file.display(), e.message()))
    })
}

fn read_text(file: &Path, what: &str) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {what} from {}", file.display()))
}

/// `$XDG_CONFIG_HOME/slipstream/profile.toml`.
fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("slipstream/profile.toml"))
}

/// Where a login is kept: the profile that was named, else the usual one.
pub(crate) fn place(global: &Global) -> anyhow::Result<PathBuf> {
    global.profile.clone().or_else(default_path).context("neither XDG_CONFIG_HOME nor HOME is set")
}

/// Writes a profile.
pub(crate) fn save(profile: &Profile, to: &Path) -> anyhow::Result<()> {
    let text = toml::to_string(profile).context("cannot write a profile")?;
    write(&mut text.as_bytes(), to).with_context(|| format!("cannot write {}", to.display()))
}

/// Writes a profile so that nobody else can read it.
fn write(from: &mut impl io::Read, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let fresh = to.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    io::copy(from, &mut file)?;
    fs::rename(fresh, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(url: Option<&str>, profile: Option<&Path>) -> Global {
        Global { url: url.map(str::to_owned), profile: profile.map(Path::to_owned), ..Global::default() }
    }

    #[test]
    fn each_part_comes_from_the_nearest_place() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("profile.toml");
        fs::write(&file, "url = \"https://a:1\"\ntoken = \"t\"\nauthority = \"\"\"\nPEM\n\"\"\"\n").expect("written");
        let found = Profile::combine(&global(None, None), None, None, Some(&file)).expect("the default");
        assert_eq!((found.url.as_str(), found.token.as_str(), found.authority.as_str()), ("https://a:1", "t", "PEM\n"));
        let found = Profile::combine(&global(Some("https://b"), Some(&file)), Some("u".into()), None, None);
        let found = found.expect("combined");
        assert_eq!((found.url.as_str(), found.token.as_str(), found.authority.as_str()), ("https://b", "u", "PEM\n"));
        Profile::combine(&global(Some("https://b"), None), Some("u".into()), Some("PEM".into()), None).expect("all");
    }

    #[test]
    fn what_is_missing_is_said_and_the_token_is_not() {
        let error =
            |g: &Global, default| Profile::combine(g, None, None, default).err().expect("incomplete").to_string();
        assert!(error(&global(None, None), None).contains("slipstream profile use"));
        assert!(missing(true, false, true).to_string().contains("slipstream login USER"));
        assert!(error(&global(Some("https://b"), None), None).contains("SLIPSTREAM_CA"));
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("profile.toml");
        fs::write(&file, "url = \"https://a:1\"\ntokn = \"very-secret\"\n").expect("written");
        let text = error(&global(None, Some(&file)), None);
        assert!(text.contains("tokn") && !text.contains("very-secret"), "{text}");
    }
}
