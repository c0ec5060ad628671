//! Who may log in to machines by ssh: the person's own keys, or one that is made for that.
//!
//! What `slipstream` keeps for ssh is in `$XDG_STATE_HOME/slipstream`: that key, and the host keys of
//! machines, which are new in every machine and have no place among those of a person.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use slipstream_shared::{
    client::Client,
    ssh_key::{check, check_all},
};

use crate::{
    context::Context,
    exit::{Exit, fail},
};

/// The kind of cloud that has no machines to log in to.
const WITHOUT_MACHINES: &str = "process";

/// The file of the key that is made.
const KEY: &str = "id_ed25519";

/// Whom a launch lets in.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct KeyOptions {
    /// File of public keys that may log in by ssh; else ~/.ssh/id_*.pub, or a key made for that
    #[arg(long, value_name = "FILE", help_heading = "Launch")]
    ssh_key: Vec<PathBuf>,
    /// Let nobody log in by ssh
    #[arg(long, conflicts_with = "ssh_key", help_heading = "Launch")]
    no_ssh_key: bool,
}

impl KeyOptions {
    /// The keys for a launch on this coordinator.
    pub(crate) async fn read(&self, context: &Context, client: &Client) -> anyhow::Result<Vec<String>> {
        if self.no_ssh_key {
            return Ok(vec![]);
        }
        if !self.ssh_key.is_empty() {
            return named(&self.ssh_key);
        }
        let own = persons().into_iter().map(|private| public(&private)).filter_map(|file| lines(&file).ok()).flatten();
        let own: Vec<String> = own.filter(|line| check(line).is_ok()).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        if client.health().await?.clouds.values().all(|kind| kind == WITHOUT_MACHINES) {
            return Ok(vec![]);
        }
        // Nobody fails to launch for want of a key.
        Ok(made(context).unwrap_or_else(|error| {
            context.screen.message(&format!(
                "`slipstream ssh` will not work: you have no ssh key, and none could be made ({error:#}). \
                 To make one: ssh-keygen -t ed25519"
            ));
            vec![]
        }))
    }
}

/// The keys of files that the person has named.
fn named(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for file in files {
        let found = lines(file).with_context(|| format!("cannot read the ssh key {}", file.display()))?;
        if found.is_empty() {
            return Err(fail(Exit::Usage, format!("there is no ssh key in {}", file.display())));
        }
        if let Some(why) = found.iter().find_map(|line| check(line).err()) {
            return Err(fail(Exit::Usage, format!("the ssh key in {} {why}", file.display())));
        }
        keys.extend(found);
    }
    check_all(&keys)?;
    Ok(keys)
}

/// The lines of a file that are not empty and no comments.
fn lines(file: &Path) -> std::io::Result<Vec<String>> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// The public key that belongs to a private one.
fn public(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// The private keys in ~/.ssh of which the public one is there too. Whether the private one is does not
/// matter: an agent may have it.
fn persons() -> Vec<PathBuf> {
    let Some(home) = variable("HOME") else { return vec![] };
    let entries = fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let private = name.strip_suffix(".pub").filter(|n| n.starts_with("id_") && !n.ends_with("-cert"))?;
            Some(entry.path().with_file_name(private))
        })
        .collect();
    found.sort();
    found
}

/// The key that is made for who has none; made now, if it is not there.
fn made(context: &Context) -> anyhow::Result<Vec<String>> {
    let folder = state_folder()?;
    let private = private_key(&folder);
    if !private.exists() {
        make(&folder)?;
        context.screen.message(&format!("You have no ssh key; made one for `slipstream ssh`: {}", private.display()));
    }
    named(&[public(&private)])
}

fn private_key(state: &Path) -> PathBuf {
    state.join("ssh").join(KEY)
}

/// Both files of the key appear at once; where somebody else was faster, theirs stay.
fn make(state: &Path) -> anyhow::Result<()> {
    let fresh = tempfile::Builder::new().prefix(".ssh-").tempdir_in(state)?;
    let output = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "slipstream", "-f"])
        .arg(fresh.path().join(KEY))
        .stdin(Stdio::null())
        .output()
        .context("cannot start ssh-keygen; is an ssh client installed?")?;
    if !output.status.success() {
        anyhow::bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let place = state.join("ssh");
    match fs::rename(fresh.path(), &place) {
        Err(_) if private_key(state).exists() => Ok(()),
        moved => moved.with_context(|| format!("cannot make {}", place.display())),
    }
}

/// The private keys to log in with: the one that was made, then the person's.
pub(crate) fn identities() -> Vec<PathBuf> {
    let made = state_folder().ok().map(|folder| private_key(&folder));
    made.into_iter().chain(persons()).filter(|file| file.exists()).collect()
}

/// Where the host keys of machines are kept.
pub(crate) fn known_hosts() -> anyhow::Result<PathBuf> {
    Ok(state_folder()?.join("known_hosts"))
}

/// `$XDG_STATE_HOME/slipstream`, made if it is not there.
fn state_folder() -> anyhow::Result<PathBuf> {
    let base = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    let folder = base.context("neither XDG_STATE_HOME nor HOME is set")?.join("slipstream");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

fn variable(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAke9gWGTzUmzmwj31i0Zpe7F7BXtpnkjzp7qxRdbqPS me@here";

    #[test]
    fn files_that_were_named_hold_keys_or_the_launch_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("keys");
        let read = |text: &str| {
            fs::write(&file, text).expect("written");
            named(std::slice::from_ref(&file)).map_err(|e| e.to_string())
        };
        assert_eq!(read(&format!("# mine\n\n{KEY}\r\n")), Ok(vec![KEY.to_owned()]));
        for (text, why) in [
            ("# none\n", "there is no ssh key in"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            ("x y", "type"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why) && error.contains("keys"), "{error}");
        }
        let error = named(&[folder.path().join("absent")]).expect_err("absent").to_string();
        assert!(error.contains("cannot read the ssh key"), "{error}");
    }

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().expect("folder");
        if std::process::Command::new("ssh-keygen").arg("-?").output().is_err() {
            return eprintln!("skipped: no ssh-keygen");
        }
        make(folder.path()).expect("made");
        let made = named(&[public(&private_key(folder.path()))]).expect("a good key");
        make(folder.path()).expect("there already");
        assert_eq!(named(&[public(&private_key(folder.path()))]).expect("a good key"), made);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing else is left");
    }
}
