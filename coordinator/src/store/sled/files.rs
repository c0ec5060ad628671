//! The files of a sled store: opening them, and what sled leaves undone so that they survive a loss of
//! power.

use std::{
    cell::Cell,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    check, entry,
    mark::{self, Mark},
};
use crate::{
    planted::Bug,
    store::{StoreError, layout},
};

/// The unit in which sled fills its file, reuses it, and rounds its memory.
///
/// sled takes a segment for reusable when its content was written again at least one whole segment
/// earlier, but it does not make sure that this has reached the disk; the sync after each group does. So
/// a group (at most `MAX_BATCH`, measured as up to three times that in the log) must fit in one segment.
const SEGMENT: usize = 4 * 1024 * 1024;

/// What sled keeps in memory of what it has read, by size on disk; in memory it is two to three times that.
const CACHE: u64 = 8 * 1024 * 1024;

/// A group is refused when less is free, because sled cannot go on after a write that failed: what the
/// log of a group takes, the rest of its segment, and room for others who fill the same disk.
const MIN_FREE: u64 = 4 * SEGMENT as u64;

/// The bytes of values that the upgrade of a store writes at a time, but for the last one.
const UPGRADED_AT_ONCE: usize = 512 * 1024;

/// How long sled's own threads may take to let go of a file.
const LET_GO: Duration = Duration::from_secs(10);

/// The disk, as far as a test wants it to fail.
pub(super) trait Disk: Send {
    /// Makes what was written to the file survive a loss of power.
    fn sync(&mut self, file: &File) -> io::Result<()>;

    /// The bytes that may still be written to the disk of this folder.
    fn free(&mut self, folder: &Path) -> io::Result<u64>;
}

/// The disk of this machine.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn sync(&mut self, file: &File) -> io::Result<()> {
        if Bug::NoSync.is_planted() { Ok(()) } else { file.sync_data() }
    }

    fn free(&mut self, folder: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(folder)?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }
}

/// The folder of a store and the disk it is on.
pub(super) struct Files {
    pub(super) path: PathBuf,
    pub(super) disk: Box<dyn Disk>,
}

/// How much of a store has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// All that was acknowledged.
    Whole,
    /// Whatever can be read.
    Rest,
}

/// An open store, and sled's data file to sync.
pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) data: File,
    pub(super) mark: File,
    /// The number of the last group.
    pub(super) group: u64,
    /// What is damaged or lost, if whoever opened it wants the rest.
    pub(super) wrong: Option<String>,
}

impl Files {
    /// Opens the store, or makes it. All there is then survives a loss of power, and is all that was acknowledged.
    pub(super) fn open(&mut self, want: Want) -> Result<Opened, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|error| self.io(error))?;
        let marked = mark::read(&self.path).map_err(|error| self.io(error))?;
        let db = match self.open_sled() {
            Err(StoreError::Damaged { reason, .. }) if self.set_aside().map_err(|error| self.io(error))? => {
                let path = self.path.display();
                tracing::warn!(%path, reason, "sled cannot open the store; trying without what it can make again");
                self.open_sled()?
            }
            opened => opened?,
        };
        let data = File::options().read(true).write(true).open(self.data()).map_err(|error| self.io(error))?;
        let wrong = match self.check(&db, &data, marked) {
            Ok(()) => None,
            Err(StoreError::Damaged { reason, .. }) if want == Want::Rest => Some(reason),
            Err(error) => {
                // sled flushes when it is dropped, and panics when that fails.
                let _ = guarded(|| drop(db));
                return Err(error);
            }
        };
        let group = guard(|| entry::total(&db)).map_err(|error| self.io(error))?.group;
        self.disk.sync(&data).map_err(|error| self.io(error))?;
        let mark = mark::open(&self.path).map_err(|error| self.io(error))?;
        if want == Want::Whole {
            mark::write(&mark, group).map_err(|error| self.io(error))?;
        }
        self.sync_names().map_err(|error| self.io(error))?;
        Ok(Opened { db, data, mark, group, wrong })
    }

    fn open_sled(&self) -> Result<sled::Db, StoreError> {
        // With the bug, some values that are not cut are more than a quarter of a segment, which makes files of them.
        let segment = if Bug::WholeValues.is_planted() { SEGMENT / 4 } else { SEGMENT };
        let config = sled::Config::default().path(&self.path).segment_size(segment).cache_capacity(CACHE);
        let config = config.flush_every_ms(None);
        match guarded(|| config.open()) {
            Ok(opened) => opened.map_err(|error| self.cannot_open(error)),
            Err(panic) => Err(self.damaged(format!("sled cannot open its file `db`: {panic}"))),
        }
    }

    /// Puts aside the files that sled can do without: its settings, which are ours, and where pages were when it was
    /// last opened, which it finds again. Whether that was all is checked like everything. False: there are none.
    fn set_aside(&self) -> io::Result<bool> {
        let mut any = false;
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name == "conf" || name.starts_with("snap.") {
                fs::rename(self.path.join(&name), self.path.join(format!("aside-{name}")))?;
                any = true;
            }
        }
        // sled may hold the file for a moment longer.
        drop(self.wait_let_go());
        Ok(any)
    }

    /// Compares the store with what was acknowledged, and brings its format up to date.
    fn check(&mut self, db: &sled::Db, data: &File, marked: Mark) -> Result<(), StoreError> {
        let new = self.check_format(db, data, marked)?;
        let marked = if new { Mark::None } else { marked };
        let findings = check::look(db, marked).map_err(|error| self.damaged(error.to_string()))?;
        for key in &findings.damaged {
            let (path, what) = (self.path.display(), layout::describe(key));
            tracing::error!(
                %path,
                "{what} is not as it was written, and is shown as damaged; everything else can be used \
                 (a backup has it: move the data folder away and use `slipstream-coordinator restore`)"
            );
        }
        findings.broken.map_or(Ok(()), |reason| Err(self.damaged(reason)))
    }

    /// Fails when there is no room for a group.
    pub(super) fn check_room(&mut self) -> io::Result<()> {
        if self.disk.free(&self.path)? < MIN_FREE { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Waits until sled, dropped before, has let go of the data file: its threads end a little later.
    pub(super) fn wait_let_go(&self) -> io::Result<Flock<File>> {
        let deadline = Instant::now() + LET_GO;
        let mut data = File::options().read(true).write(true).open(self.data())?;
        loop {
            match Flock::lock(data, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(held),
                Err((_, errno)) if Instant::now() > deadline => return Err(errno.into()),
                Err((returned, _)) => data = returned,
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes durable what may not be after a failed sync: the kernel then takes pages for clean that never
    /// reached the disk, and the next sync would succeed without writing them. Writing everything anew
    /// makes it try again.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let data = self.wait_let_go()?;
        let mut block = vec![0; 1024 * 1024];
        let mut at = 0;
        loop {
            let read = data.read_at(&mut block, at)?;
            if read == 0 {
                return self.disk.sync(&data);
            }
            data.write_all_at(&block[..read], at)?;
            at += read as u64;
        }
    }

    fn data(&self) -> PathBuf {
        self.path.join("db")
    }

    /// True when the store is new.
    fn check_format(&mut self, db: &sled::Db, data: &File, marked: Mark) -> Result<bool, StoreError> {
        let unreadable = |error: io::Error| self.damaged(error.to_string());
        if marked == Mark::None && guard(|| Ok(db.is_empty())).map_err(unreadable)? {
            // The store is new, or its creation was cut short.
            let format = [(layout::FORMAT.to_vec(), Some(layout::version()))];
            let made = guard(|| {
                db.apply_batch(entry::stage(db, &format.into(), 1)?)?;
                db.flush()
            });
            made.map_err(|error| self.io(error))?;
            return Ok(true);
        }
        let format = guard(|| entry::get(db, layout::FORMAT)).map_err(unreadable)?;
        if format.is_none() && marked != Mark::None {
            return Err(self.damaged("its file `db` is empty or gone, and all that was in it is lost".to_owned()));
        }
        let path = || self.path.display().to_string();
        match layout::readable(format.as_deref()) {
            Err(found) => Err(StoreError::Format { path: path(), found }),
            Ok(1) => self.upgrade(db, data).map(|()| false),
            Ok(_) => Ok(false),
        }
    }

    /// Gives all entries of format 1 their checksums. After a crash it goes on where it was: entries say which
    /// format they have, and that of the store is written last.
    fn upgrade(&mut self, db: &sled::Db, data: &File) -> Result<(), StoreError> {
        tracing::info!(path = %self.path.display(), "bringing the store to format {}", layout::VERSION);
        let mut after = None;
        loop {
            self.check_room().map_err(|error| self.io(error))?;
            let page = guard(|| entry::unchecked(db, after.as_deref(), UPGRADED_AT_ONCE));
            let mut page = page.map_err(|error| self.damaged(error.to_string()))?;
            after = page.last().map(|(key, _)| key.clone());
            if after.is_none() {
                page.push((layout::FORMAT.to_vec(), layout::version()));
            }
            let writes = page.into_iter().map(|(key, value)| (key, Some(value))).collect();
            let written = guard(|| {
                let group = entry::total(db)?.group + 1;
                db.apply_batch(entry::stage(db, &writes, group)?)?;
                db.flush()
            });
            written.and_then(|_| self.disk.sync(data)).map_err(|error| self.io(error))?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes the names of the files durable, and sled's configuration, which it does not sync either.
    fn sync_names(&self) -> io::Result<()> {
        let parent = fs::canonicalize(&self.path)?.parent().map(Path::to_path_buf);
        let own = [self.path.join("conf"), self.path.join("blobs"), self.path.clone()];
        own.into_iter().chain(parent).try_for_each(|path| File::open(path)?.sync_all())
    }

    fn cannot_open(&self, error: sled::Error) -> StoreError {
        let path = self.path.display().to_string();
        match error {
            // sled has no kind for this.
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                StoreError::InUse { path }
            }
            sled::Error::Io(error) => io_error(&self.path, error),
            sled::Error::Unsupported(reason) | sled::Error::ReportableBug(reason) => self.damaged(reason),
            error => self.damaged(error.to_string()),
        }
    }

    fn io(&self, error: io::Error) -> StoreError {
        io_error(&self.path, error)
    }

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), reason }
    }
}

/// Runs something of sled; a panic, which it prefers at times, is an error too.
pub(super) fn guard<T>(run: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match guarded(run) {
        Ok(result) => result.map_err(io::Error::from),
        Err(panic) => Err(io::Error::other(panic)),
    }
}

/// The same for anything.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    GUARDED.with(|guarded| guarded.set(guarded.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(run));
    GUARDED.with(|guarded| guarded.set(guarded.get() - 1));
    result.map_err(|panic| panic_text(&*panic))
}

thread_local! {
    /// How many guards this thread is in.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

/// Whether a panic on this thread is one of sled, which becomes an error and needs no trace of its own.
pub(super) fn is_expected_panic() -> bool {
    GUARDED.with(|guarded| guarded.get() > 0) || thread::current().name().is_some_and(|name| name.starts_with("sled"))
}

/// What the error means to the users of a store.
pub(super) fn io_error(path: &Path, error: io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::Io { path, source: error },
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".to_owned())
}
