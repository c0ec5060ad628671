//! The output of steps, one append-only file each, readable while it grows.
//!
//! An agent says where each chunk belongs, so a repeated chunk changes nothing and a missing one is
//! noticed. A chunk is acknowledged when the system has it: that survives a crash of the coordinator.
//! It reaches the disk when the step ends; after a loss of power in between, the end of the output may
//! be missing, and the agent, which no longer has it, goes on behind the gap ([`StepLog::bridge`]).

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use slipstream_shared::id::{InstanceId, RunId};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::{Mutex as AsyncMutex, watch},
};

/// The most output that is kept of a step, in bytes. What follows is acknowledged and thrown away.
pub const MAX_STEP: u64 = 64 * 1024 * 1024;

/// The last line of output that was cut.
const CUT: &[u8] = b"\n[output cut here: a step may print 64 MiB]\n";

/// Fills the place of output that was lost.
const LOST: &[u8] = b"[output lost]\n";

/// Which output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepKey {
    /// Of which run.
    pub run: RunId,
    /// Of which machine.
    pub instance: InstanceId,
    /// Of which launch of it.
    pub attempt: u32,
    /// The place of the step.
    pub index: u32,
    /// The name of the step.
    pub step: String,
}

/// All output of steps.
#[derive(Debug)]
pub struct Logs {
    root: PathBuf,
    open: Mutex<HashMap<StepKey, Weak<StepLog>>>,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// All output up to here is kept; what the agent sent is part of it.
    To(u64),
    /// Nothing was kept: the output ends here, before the chunk begins.
    Gap(u64),
}

impl Logs {
    /// Those below `data`.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Logs { root: data.join("logs"), open: Mutex::default() }
    }

    /// The output of a step, whether there is any yet or not. Everybody who asks for the same one gets
    /// the same object, so that readers hear of what is written.
    #[must_use]
    pub fn step(&self, key: &StepKey) -> Arc<StepLog> {
        // Nothing panics while holding it, and a map of weak references is always whole.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = open.get(key).and_then(Weak::upgrade) {
            return log;
        }
        open.retain(|_, log| log.strong_count() > 0);
        let name = format!("{}-{}-{}.log", key.attempt, key.index, file_name(&key.step));
        let log = Arc::new(StepLog {
            path: self.folder(key.run, &key.instance).join(name),
            file: AsyncMutex::new(None),
            progress: watch::Sender::new(Progress::default()),
        });
        open.insert(key.clone(), Arc::downgrade(&log));
        log
    }

    /// The sizes of the outputs of one launch of an instance, by the place of the step.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn sizes(&self, run: RunId, instance: &InstanceId, attempt: u32) -> io::Result<BTreeMap<u32, u64>> {
        let mut found = BTreeMap::new();
        let mut entries = match fs::read_dir(self.folder(run, instance)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            if let Some((of, index)) = entry.file_name().to_str().and_then(parse_name)
                && of == attempt
            {
                found.insert(index, entry.metadata().await?.len());
            }
        }
        Ok(found)
    }

    fn folder(&self, run: RunId, instance: &InstanceId) -> PathBuf {
        self.root.join(run.to_string()).join(instance.to_string())
    }
}

/// Step names are words; should one ever hold a slash, it must not become a folder.
fn file_name(step: &str) -> String {
    step.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The attempt and the place of the step in the name of a file.
fn parse_name(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.strip_suffix(".log")?.splitn(3, '-');
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().map(|_| numbers)
}

/// The output of one step.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    /// Opened by the first chunk.
    file: AsyncMutex<Option<Writer>>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    length: u64,
}

/// How far the output of a step has come; only changes count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written since the coordinator started to watch.
    pub written: u64,
    /// The step has ended.
    pub ended: bool,
}

impl StepLog {
    /// Adds a chunk that begins at `offset`.
    ///
    /// # Errors
    /// The file cannot be written. What was written of the chunk is found at the next call.
    pub async fn append(&self, offset: u64, data: &[u8]) -> io::Result<Appended> {
        let mut guard = self.file.lock().await;
        // Taken out: after an error the file is opened anew, and its true length is seen.
        let mut writer = match guard.take() {
            Some(writer) => writer,
            None => Writer::open(&self.path).await?,
        };
        let end = offset.saturating_add(data.len() as u64);
        let (appended, grown) = if writer.length >= MAX_STEP {
            (Appended::To(end), 0)
        } else if offset > writer.length {
            (Appended::Gap(writer.length), 0)
        } else {
            let known = usize::try_from(writer.length - offset).unwrap_or(usize::MAX);
            let grown = writer.write(data.get(known..).unwrap_or_default()).await?;
            (Appended::To(end.max(writer.length.min(MAX_STEP))), grown)
        };
        *guard = Some(writer);
        if grown > 0 {
            self.progress.send_modify(|progress| progress.written += grown);
        }
        Ok(appended)
    }

    /// Fills the output up to `offset`: what belongs there is lost for good.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn bridge(&self, offset: u64) -> io::Result<()> {
        // What lies beyond every file is behind the gap, unless the output was cut.
        let Appended::Gap(length) = self.append(u64::MAX - MAX_STEP, &[]).await? else { return Ok(()) };
        let missing = usize::try_from(offset.min(MAX_STEP).saturating_sub(length)).unwrap_or(0);
        let filler: Vec<u8> = LOST.iter().copied().cycle().take(missing).collect();
        self.append(length, &filler).await.map(drop)
    }

    /// The step has ended: what it printed is made durable, and readers come to an end.
    ///
    /// # Errors
    /// The file cannot be synced.
    pub async fn finish(&self) -> io::Result<()> {
        if let Some(writer) = self.file.lock().await.as_mut() {
            writer.file.sync_data().await?;
        }
        self.progress.send_modify(|progress| progress.ended = true);
        Ok(())
    }

    /// Tells of growth and of the end.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Up to `limit` bytes from `offset`; empty where the output ends, or if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
        let mut file = match File::open(&self.path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        file.seek(io::SeekFrom::Start(offset)).await?;
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }
}

impl Writer {
    async fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
        let length = file.metadata().await?.len();
        Ok(Writer { file, length })
    }

    /// Writes as much as may be kept, and the mark where it is cut. Returns by how much the file grew.
    async fn write(&mut self, data: &[u8]) -> io::Result<u64> {
        let room = usize::try_from(MAX_STEP - self.length).unwrap_or(usize::MAX);
        let kept = &data[..data.len().min(room)];
        self.file.write_all(kept).await?;
        let mut grown = kept.len() as u64;
        if data.len() >= room {
            self.file.write_all(CUT).await?;
            grown += CUT.len() as u64;
        }
        // Until then, tokio may hold the bytes in a buffer of its own.
        self.file.flush().await?;
        self.length += grown;
        Ok(grown)
    }
}

#[cfg(test)]
mod tests;
