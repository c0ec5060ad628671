//! Who may log in by ssh: the keys of the plan, in the `authorized_keys` of its user.
//!
//! Only on a machine of its own. An agent that was started with `--context FILE` runs on somebody's
//! machine, and what is there belongs to somebody.
//!
//! The keys are a block between two lines, replaced as a whole: those of an earlier run, in an image made
//! of its machine, go. The user may write where the file is, so no symbolic link is followed there.

use std::{
    fs::{File, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    },
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use slipstream_shared::{link::AgentPlan, ssh_key};

use crate::{
    agent::Agent,
    system::{self, System},
    trouble::say,
};

const FOLDER: &str = ".ssh";
const FILE: &str = "authorized_keys";
const FRESH: &str = ".authorized_keys.slipstream";
const BEGIN: &[u8] = b"# slipstream: begin, replaced at each boot";
const END: &[u8] = b"# slipstream: end";

/// The largest `authorized_keys` that is taken for one.
const MAX_BYTES: u64 = 1024 * 1024;

/// Lets in whom the plan names. A failure is told and ends nothing: the deployment matters more.
pub fn let_in(agent: &Agent, plan: &AgentPlan) {
    if !agent.own_machine || !system::is_root() || plan.login.is_empty() {
        return;
    }
    let (keys, login) = (plan.ssh_keys.len(), &plan.login);
    match install(&agent.system, login, &plan.ssh_keys) {
        Ok(true) => say(format_args!("{keys} ssh key(s) may log in as {login}")),
        Ok(false) => {}
        Err(why) => say(format_args!("cannot let {keys} ssh key(s) log in as {login}: {why}")),
    }
}

/// Puts the keys where the ssh server looks; says whether that changed anything.
fn install(system: &System, login: &str, keys: &[String]) -> io::Result<bool> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| ssh_key::check(key).is_ok()).collect();
    let passwd = std::fs::read_to_string(system.path("/etc/passwd"))?;
    let user = User::find(&passwd, login).ok_or_else(|| io::Error::other("there is no such user"))?;
    let home = File::open(system.path(&user.home))
        .map_err(|e| io::Error::new(e.kind(), format!("its home folder {}: {e}", user.home)))?;
    let folder = match open_folder(&home) {
        Err(Errno::ENOENT) if keys.is_empty() => return Ok(false),
        Err(Errno::ENOENT) => {
            mkdirat(&home, FOLDER, Mode::S_IRWXU)?;
            open_folder(&home)?
        }
        opened => opened?,
    };
    let folder = File::from(folder);
    if ![0, user.uid].contains(&folder.metadata()?.uid()) {
        return Err(io::Error::other(format!("{FOLDER} belongs to another user")));
    }
    let old = read(&folder)?;
    let new = merge(&old, &keys);
    if new == old {
        return Ok(false);
    }
    // sshd refuses what others may write.
    own(&folder, &user, 0o700)?;
    write(&folder, &user, &new)?;
    Ok(true)
}

fn open_folder(home: &File) -> nix::Result<OwnedFd> {
    openat(home, FOLDER, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// What is in the file now; nothing if there is none.
fn read(folder: &File) -> io::Result<Vec<u8>> {
    // Not to wait for a writer, should it be a pipe.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(folder, FILE, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        opened => File::from(opened?),
    };
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > MAX_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("{FILE} is no such file")));
    }
    let mut old = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut old)?;
    Ok(old)
}

/// Replaces the file, so that after a crash there is the old one or the new one.
fn write(folder: &File, user: &User, content: &[u8]) -> io::Result<()> {
    // Left over from a crash.
    let _ = unlinkat(folder, FRESH, UnlinkatFlags::NoRemoveDir);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, FRESH, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    file.write_all(content)?;
    own(&file, user, 0o600)?;
    file.sync_all()?;
    renameat(folder, FRESH, folder, FILE)?;
    folder.sync_all()
}

fn own(file: &File, user: &User, mode: u32) -> io::Result<()> {
    fchown(file, Some(user.uid), Some(user.gid))?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// The old content with the keys as our block at its end; without keys, without it.
fn merge(old: &[u8], keys: &[&str]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = old.split(|byte| *byte == b'\n').collect();
    while let Some(begin) = lines.iter().position(|line| *line == BEGIN)
        && let Some(length) = lines[begin..].iter().position(|line| *line == END)
    {
        lines.drain(begin..=begin + length);
    }
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if !keys.is_empty() {
        lines.push(BEGIN);
        lines.extend(keys.iter().map(|key| key.as_bytes()));
        lines.push(END);
    }
    lines.iter().flat_map(|line| [line, b"\n".as_slice()]).flatten().copied().collect()
}

/// A line of `/etc/passwd`. Not by `getpwnam`, which a static program cannot call.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    home: String,
}

impl User {
    fn find(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [user, _, uid, gid, _, home, _] = fields.as_slice() else { return None };
            if *user != name || !home.starts_with('/') {
                return None;
            }
            Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: (*home).to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAke9gWGTzUmzmwj31i0Zpe7F7BXtpnkjzp7qxRdbqPS me@here";

    fn text(old: &str, keys: &[&str]) -> String {
        String::from_utf8(merge(old.as_bytes(), keys)).unwrap()
    }

    #[test]
    fn keys_are_added_behind_what_is_there_and_replaced_as_a_whole() {
        let begin = std::str::from_utf8(BEGIN).unwrap();
        let block = |keys: &str| format!("{begin}\n{keys}\n# slipstream: end\n");
        assert_eq!(text("", &["a", "b"]), block("a\nb"));
        let old = "# mine\nssh-rsa AAAA own\n";
        let once = text(old, &["a"]);
        assert_eq!(once, format!("{old}{}", block("a")));
        assert_eq!(text(&once, &["a"]), once, "idempotent");
        assert_eq!(text(&once, &["b"]), format!("{old}{}", block("b")));
        assert_eq!(text(&once, &[]), old);
        assert_eq!(text(&format!("{}{old}", block("a")), &["b"]), format!("{old}{}", block("b")));
        assert_eq!(text("no newline", &["a"]), format!("no newline\n{}", block("a")));
        assert_eq!(
            text(&format!("{begin}\nown\n"), &[]),
            format!("{begin}\nown\n"),
            "a block without an end is not ours"
        );
        assert_eq!(text("", &[]), "");
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# debian:x:1:1::/:\ndebian2:x:1:1::/h:/bin/sh\nbroken:x:1\n\
                      debian:x:1000:1001:Debian,,,:/home/debian:/bin/bash\nodd:x:9:9::relative:/bin/sh\n";
        let user = |uid, gid, home: &str| Some(User { uid, gid, home: (*home).to_owned() });
        assert_eq!(User::find(passwd, "root"), user(0, 0, "/root"));
        assert_eq!(User::find(passwd, "debian"), user(1000, 1001, "/home/debian"));
        for none in ["deb", "broken", "odd", ""] {
            assert_eq!(User::find(passwd, none), None, "{none}");
        }
    }

    /// A machine whose only user is whoever runs the tests.
    fn machine() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("home/me")).unwrap();
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        fs::write(root.path().join("etc/passwd"), format!("me:x:{uid}:{gid}::/home/me:/bin/sh\n")).unwrap();
        let system = System::new(root.path().to_owned());
        (root, system)
    }

    #[test]
    fn the_file_is_made_for_its_user_alone() {
        let (root, system) = machine();
        let folder = root.path().join("home/me/.ssh");
        assert!(!install(&system, "me", &[]).unwrap());
        assert!(!folder.exists(), "nothing is made for nobody");
        let keys = [KEY.to_owned(), "evil\nssh-rsa AAAA".to_owned()];
        assert!(install(&system, "me", &keys).unwrap());
        assert!(!install(&system, "me", &keys).unwrap(), "a second time changes nothing");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.clone()), mode(folder.join(FILE))), (0o700, 0o600));
        let content = fs::read_to_string(folder.join(FILE)).unwrap();
        assert!(content.contains(KEY) && !content.contains("evil"), "{content}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
        assert!(install(&system, "you", &keys).unwrap_err().to_string().contains("no such user"));
    }

    #[test]
    fn no_link_leads_elsewhere() {
        for link in [".ssh", ".ssh/authorized_keys"] {
            let (root, system) = machine();
            let (elsewhere, place) = (root.path().join("elsewhere"), root.path().join("home/me").join(link));
            fs::create_dir_all(&elsewhere).unwrap();
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            symlink(&elsewhere, &place).unwrap();
            install(&system, "me", &[KEY.to_owned()]).expect_err(link);
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{link}");
        }
    }
}
