//! The files of a sled store: opening them, and what sled leaves undone so that they survive a loss of
//! power.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::entry;
use crate::store::{StoreError, layout};

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
        file.sync_data()
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

/// An open store, and sled's data file to sync.
pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) data: File,
}

impl Files {
    /// Opens the store, or makes it. All there is then survives a loss of power.
    pub(super) fn open(&mut self) -> Result<Opened, StoreError> {
        let io = |error| io_error(&self.path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(io)?;
        let config = sled::Config::default().path(&self.path).segment_size(SEGMENT).cache_capacity(CACHE);
        let opened = catch_unwind(AssertUnwindSafe(|| config.flush_every_ms(None).open()));
        let db = match opened {
            Ok(opened) => opened.map_err(|error| self.cannot_open(error))?,
            Err(panic) => return Err(self.damaged(panic_text(&*panic))),
        };
        let data = File::options().read(true).write(true).open(self.data()).map_err(io)?;
        self.check_format(&db)?;
        self.disk.sync(&data).map_err(|error| io_error(&self.path, error))?;
        self.sync_names().map_err(|error| io_error(&self.path, error))?;
        Ok(Opened { db, data })
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

    fn check_format(&self, db: &sled::Db) -> Result<(), StoreError> {
        let read = || -> sled::Result<_> {
            if db.is_empty() {
                // The store is new, or its creation was cut short.
                let format = [(layout::FORMAT.to_vec(), Some(layout::VERSION.to_vec()))];
                db.apply_batch(entry::stage(db, &format.into(), 1)?)?;
                db.flush()?;
            }
            entry::get(db, layout::FORMAT)
        };
        let format = read().map_err(|error| self.cannot_open(error))?;
        if format.as_deref() == Some(layout::VERSION) {
            return Ok(());
        }
        let found = format.map_or("missing".into(), |format| String::from_utf8_lossy(&format).into_owned());
        Err(self.damaged(format!(
            "its format is {found}, this coordinator reads {}; use the coordinator that wrote it, or export it there and import it here",
            String::from_utf8_lossy(layout::VERSION)
        )))
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

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), reason }
    }
}

/// Runs something of sled; a panic, which it prefers at times, is an error too.
pub(super) fn guard<T>(run: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(io::Error::from),
        Err(panic) => Err(io::Error::other(panic_text(&*panic))),
    }
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
