//! What one instance of one run keeps: `<state-dir>/<run>/<instance>/`.
//!
//! ```text
//! key.pem certificate.pem certificate.json authority.pem   who the agent is, until when   (identity)
//! ops                                     changes not yet applied (link::spool)
//! machine.json                            which machine this is
//! steps/<index>-<step>                    a script, as it is run
//! steps/<index>.json .boot                how it ended, and in which boot; then it is never run again in that
//! steps/<index>.tries                     how often it was begun, while it has not ended
//! log/<index>-<step>.log                  its output
//! sent/<index>                            what of it the coordinator has       (link::outlet)
//! pipes/<index>.out .err                  named pipes of what a script left running
//! work/<index>/  report/                  its folder; what it wants reported
//! ready                                   boot id in which the ready check passed
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use slipstream_shared::{
    event::StepResult,
    id::{InstanceId, RunId},
};

use crate::durable::{private_folder, read_if_there, write_atomic};

/// The folder of one instance.
#[derive(Debug, Clone)]
pub struct Folder {
    base: PathBuf,
}

impl Folder {
    /// Makes it where it is missing.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(state_dir: &Path, run: &RunId, instance: &InstanceId) -> io::Result<Self> {
        let base = state_dir.join(run.to_string()).join(instance.to_string());
        for name in ["steps", "log", "sent", "pipes", "work", "report"] {
            private_folder(&base.join(name))?;
        }
        Ok(Folder { base })
    }

    /// The folder itself.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A file directly in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The script of a step.
    #[must_use]
    pub fn script(&self, index: u32, step: &str) -> PathBuf {
        self.base.join("steps").join(format!("{index}-{}", plain(step)))
    }

    /// The output of a step.
    #[must_use]
    pub fn log(&self, index: u32, step: &str) -> PathBuf {
        self.base.join("log").join(format!("{index}-{}.log", plain(step)))
    }

    /// The list of what was sent of the output of a step.
    #[must_use]
    pub fn sent(&self, index: u32) -> PathBuf {
        self.base.join("sent").join(index.to_string())
    }

    /// The two pipes of a step: standard output, standard error.
    #[must_use]
    pub fn pipes(&self, index: u32) -> [PathBuf; 2] {
        ["out", "err"].map(|name| self.base.join("pipes").join(format!("{index}.{name}")))
    }

    /// A fresh folder for a step to work in.
    ///
    /// # Errors
    /// The file system's.
    pub fn work(&self, index: u32) -> io::Result<PathBuf> {
        let path = self.base.join("work").join(index.to_string());
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => private_folder(&path)?,
        }
        Ok(path)
    }

    fn result(&self, index: u32) -> PathBuf {
        self.base.join("steps").join(format!("{index}.json"))
    }

    /// How a step has ended, if it has.
    #[must_use]
    pub fn finished(&self, index: u32) -> Option<StepResult> {
        serde_json::from_slice(&read_if_there(&self.result(index)).ok()??).ok()
    }

    /// Keeps how a step has ended, and in which boot.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_finished(&self, index: u32, result: &StepResult, boot: &str) -> io::Result<()> {
        write_atomic(&self.boot(index), boot.as_bytes(), 0o600)?;
        write_atomic(&self.result(index), &serde_json::to_vec(result)?, 0o600)?;
        match fs::remove_file(self.tries(index)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// In which boot a step has ended.
    #[must_use]
    pub fn finished_in(&self, index: u32) -> Option<String> {
        String::from_utf8(read_if_there(&self.boot(index)).ok()??).ok()
    }

    /// Counts the tries of a step that has not ended; gives the number of the one that begins.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin_try(&self, index: u32) -> io::Result<u32> {
        let before = read_if_there(&self.tries(index))?;
        let before = before.and_then(|text| String::from_utf8(text).ok()?.parse().ok()).unwrap_or(0_u32);
        let number = before.saturating_add(1);
        write_atomic(&self.tries(index), number.to_string().as_bytes(), 0o600)?;
        Ok(number)
    }

    fn boot(&self, index: u32) -> PathBuf {
        self.base.join("steps").join(format!("{index}.boot"))
    }

    fn tries(&self, index: u32) -> PathBuf {
        self.base.join("steps").join(format!("{index}.tries"))
    }

    /// Remembers which machine this is. False when the folder came from another one: a clone or a
    /// captured image, in which nothing may be run again.
    ///
    /// # Errors
    /// The file system's.
    pub fn is_of(&self, platform: &BTreeMap<String, String>) -> io::Result<bool> {
        let path = self.file("machine.json");
        match read_if_there(&path)? {
            None => write_atomic(&path, &serde_json::to_vec(platform)?, 0o600).map(|()| true),
            Some(kept) => {
                let kept: BTreeMap<String, String> = serde_json::from_slice(&kept).unwrap_or_default();
                // The hardware's identity alone: recipes do change host names and machine ids.
                let uuid = |of: &BTreeMap<String, String>| of.get("product_uuid").map(|u| u.to_ascii_lowercase());
                Ok(uuid(&kept).is_none() || uuid(platform).is_none() || uuid(&kept) == uuid(platform))
            }
        }
    }
}

/// A step's name as part of a file name.
fn plain(step: &str) -> String {
    step.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::new(1, [1; 10]);
        let folder = Folder::open(dir.path(), &run, &"web.1".parse().unwrap()).unwrap();
        (dir, folder)
    }

    #[test]
    fn a_finished_step_is_remembered() {
        let (_dir, folder) = folder();
        assert_eq!(folder.finished(0), None);
        let result = StepResult { exit: Some(3), ..StepResult::default() };
        assert_eq!([folder.begin_try(0).unwrap(), folder.begin_try(0).unwrap()], [1, 2]);
        folder.keep_finished(0, &result, "boot").unwrap();
        assert_eq!(folder.finished_in(0).as_deref(), Some("boot"));
        assert_eq!(folder.begin_try(0).unwrap(), 1, "counted anew");
        assert_eq!(folder.finished(0), Some(result));
        assert!(folder.script(0, "../x").ends_with("steps/0-___x"));
    }

    #[test]
    fn a_copy_of_the_folder_on_another_machine_is_noticed() {
        let (_dir, folder) = folder();
        let machine = |uuid: &str| BTreeMap::from([("product_uuid".to_owned(), uuid.to_owned())]);
        assert!(folder.is_of(&machine("A")).unwrap());
        assert!(folder.is_of(&machine("a")).unwrap());
        assert!(!folder.is_of(&machine("B")).unwrap());
        assert!(folder.is_of(&BTreeMap::new()).unwrap(), "an identity that can not be read proves nothing");
    }
}
