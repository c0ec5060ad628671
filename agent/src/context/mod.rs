//! Finding the contextualization data.
//!
//! A source is one file in this folder and one line in [`SOURCES`], whose order is the probing order.
//! Each says present, absent or unknown; only unknown is asked again. Nothing here uses the network,
//! an external tool or a mount.

mod cmdline;
mod credential;
mod disk;
mod fat;
mod file;
mod fw_cfg;
mod iso9660;
mod seed;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use slipstream_shared::context::{Context, ContextError};

use crate::system::System;

/// The most bytes read from any source.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// These bytes.
    Present(Vec<u8>),
    /// Nothing, and asking again is pointless.
    Absent,
    /// It could not be read now; why.
    Unknown(String),
}

/// A place where contextualization data may be.
pub trait ContextSource: Sync {
    /// Its name, as `detect` shows it.
    fn name(&self) -> &'static str;

    /// Looks, without waiting for anything. Bytes that are somebody else's user data may be present.
    fn read(&self, system: &System) -> Reading;
}

/// All sources in the order they are asked: explicit ones first, then what is attached to the machine.
pub const SOURCES: [&dyn ContextSource; 6] =
    [&cmdline::Cmdline, &file::File, &credential::Credential, &fw_cfg::FwCfg, &disk::Disk, &seed::Seed];

/// What became of one source.
#[derive(Debug, serde::Serialize)]
pub struct Probe {
    /// Which one.
    pub source: &'static str,
    /// `context`, `other` (user data that is not ours), `damaged`, `absent` or `unknown`.
    pub found: &'static str,
    /// Why it is damaged or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: f64,
}

/// What all sources together say.
#[derive(Debug)]
pub enum Found {
    /// This machine belongs to a run.
    Context(Box<Context>, &'static str),
    /// A source has data of ours that can not be used.
    Unusable(ContextError, &'static str),
    /// Nothing, but these may have some later.
    Unknown(String),
    /// Nothing.
    Absent,
}

/// Asks one source.
fn ask(source: &dyn ContextSource, system: &System) -> (Result<Option<Context>, ContextError>, Probe) {
    let began = Instant::now();
    let reading = source.read(system);
    let millis = began.elapsed().as_secs_f64() * 1000.0;
    let probe = |found, detail| Probe { source: source.name(), found, detail, millis };
    match reading {
        Reading::Absent => (Ok(None), probe("absent", None)),
        Reading::Unknown(why) => (Ok(None), probe("unknown", Some(why))),
        Reading::Present(bytes) => match Context::from_user_data(&bytes) {
            Ok(context) => (Ok(Some(context)), probe("context", None)),
            Err(ContextError::Absent) => (Ok(None), probe("other", None)),
            Err(e) => (Err(e.clone()), probe("damaged", Some(e.to_string()))),
        },
    }
}

/// Asks every source, for `detect`.
#[must_use]
pub fn detect(system: &System) -> Vec<Probe> {
    SOURCES.iter().map(|source| ask(*source, system).1).collect()
}

/// Asks the sources in order until one has the context.
///
/// Data that is damaged is remembered and the search goes on: a good copy elsewhere is better.
#[must_use]
pub fn find(system: &System) -> Found {
    let mut unusable = None;
    let mut unknown = Vec::new();
    for source in SOURCES {
        match ask(source, system) {
            (Ok(Some(context)), probe) => return Found::Context(Box::new(context), probe.source),
            (Err(e), probe) => unusable = unusable.or(Some((e, probe.source))),
            (Ok(None), Probe { found: "unknown", detail, source, .. }) => {
                unknown.push(format!("{source}: {}", detail.unwrap_or_default()));
            }
            (Ok(None), _) => {}
        }
    }
    match unusable {
        Some((e, source)) => Found::Unusable(e, source),
        None if unknown.is_empty() => Found::Absent,
        None => Found::Unknown(unknown.join("; ")),
    }
}

/// Reads the context of a file the caller has named.
///
/// # Errors
/// It can not be read, or is no context.
pub fn from_file(path: &Path) -> Result<Context, FileError> {
    match read_file(path) {
        Reading::Present(bytes) => Ok(Context::from_user_data(&bytes)?),
        Reading::Absent => Err(FileError::Unreadable("there is no such file".into())),
        Reading::Unknown(why) => Err(FileError::Unreadable(why)),
    }
}

/// Why a named file gives no context.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system's fault.
    #[error("cannot read it: {0}")]
    Unreadable(String),
    /// Its content's fault.
    #[error(transparent)]
    Content(#[from] ContextError),
}

/// How long to look at full speed for sources that are unknown, and how often afterwards.
pub const LOOK_FOR: Duration = Duration::from_secs(60);

/// The pause between two looks once that time is over.
pub const LOOK_SLOWLY: Duration = Duration::from_secs(30);

/// The content of a file as a reading.
fn read_file(path: &Path) -> Reading {
    use std::io::{ErrorKind, Read as _};
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => Reading::Present(bytes),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Reading::Absent,
        Err(e) => Reading::Unknown(format!("{}: {e}", path.display())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    pub(crate) fn user_data() -> String {
        let context = serde_json::json!({
            "version": 1, "run": "0190a000-0000-7000-8000-000000000001", "instance": "web.1", "attempt": 1,
            "urls": ["https://127.0.0.1:1"], "server_name": "c.internal", "pin": "p", "token": "SECRET",
            "issued": "2026-01-01T00:00:00Z", "expires": "2026-01-01T01:00:00Z",
        });
        serde_json::from_value::<Context>(context).unwrap().to_user_data().unwrap()
    }

    fn root_with(path: &str, content: &[u8]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        let system = System::new(root.path().to_owned());
        (root, system)
    }

    #[test]
    fn each_file_source_is_found_where_it_belongs() {
        let data = user_data();
        let payload = data.lines().nth(2).unwrap().rsplit(' ').next().unwrap();
        for (path, content, source) in [
            ("proc/cmdline", format!("quiet slipstream.context={payload} ro"), "cmdline"),
            ("etc/slipstream/context.json", data.clone(), "file"),
            ("sys/firmware/qemu_fw_cfg/by_name/opt/org.slipstream/context/raw", data.clone(), "fw_cfg"),
            ("var/lib/cloud/seed/nocloud/user-data", data.clone(), "seed"),
        ] {
            let (_root, system) = root_with(path, content.as_bytes());
            match find(&system) {
                Found::Context(context, from) => assert_eq!((context.token.as_str(), from), ("SECRET", source)),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_kernel_command_line_may_name_a_file_that_is_not_there_yet() {
        let (root, system) = root_with("proc/cmdline", b"slipstream.context=/mnt/context");
        assert!(matches!(find(&system), Found::Unknown(why) if why.contains("cmdline")));
        fs::create_dir_all(root.path().join("mnt")).unwrap();
        fs::write(root.path().join("mnt/context"), user_data()).unwrap();
        assert!(matches!(find(&system), Found::Context(..)));
    }

    #[test]
    fn a_foreign_or_empty_machine_is_absent_and_a_cut_off_context_is_named() {
        let (_root, system) = root_with("var/lib/cloud/seed/nocloud/user-data", b"#cloud-config\n");
        assert!(matches!(find(&system), Found::Absent));
        let data = user_data();
        let cut = &data.as_bytes()[..data.len() - 40];
        let (_root, system) = root_with("etc/slipstream/context.json", cut);
        match find(&system) {
            Found::Unusable(e, "file") => assert!(e.to_string().contains("damaged or cut off"), "{e}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_source_of_this_folder_is_registered() {
        let names: Vec<_> = SOURCES.iter().map(|s| s.name()).collect();
        assert_eq!(names, ["cmdline", "file", "credential", "fw_cfg", "disk", "seed"]);
    }
}
