//! What is particular to sled: files, failures of the disk, crashes; damage and older formats have files of their own.

mod damage;
mod upgrade;

use std::{
    cell::RefCell,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::*;
use crate::store::{MAX_VALUE, conformance, layout};

type Change = (Vec<u8>, Option<Vec<u8>>);

fn put(key: &str, value: impl AsRef<[u8]>) -> Change {
    (key.as_bytes().to_vec(), Some(value.as_ref().to_vec()))
}

fn writes(writes: Vec<Change>) -> Batch {
    Batch { expect: Vec::new(), writes }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

fn open(folder: &TempDir) -> SledBackend {
    SledBackend::open(folder.path()).expect("opens")
}

/// Entries with a prefix of a closed store.
async fn entries(folder: &TempDir, prefix: &[u8]) -> usize {
    let store = open(folder);
    let count = store.scan(prefix, None, usize::MAX).await.expect("scans").len();
    store.close().await.expect("closes");
    count
}

fn blobs(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("blobs")).expect("sled makes it").count()
}

/// A disk with some room, on which syncs fail when told to.
#[derive(Clone)]
struct TestDisk {
    free: Arc<AtomicU64>,
    /// Syncs to come that succeed, and then that fail.
    good: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
    error: io::ErrorKind,
}

impl TestDisk {
    fn new(error: io::ErrorKind) -> Self {
        let counter = |value| Arc::new(AtomicU64::new(value));
        TestDisk { free: counter(u64::MAX), good: counter(0), bad: counter(0), error }
    }

    fn open(&self, folder: &TempDir) -> SledBackend {
        SledBackend::open_on(folder.path(), Box::new(self.clone())).expect("opens")
    }

    fn fail(&self, syncs: u64) {
        self.bad.store(syncs, Ordering::SeqCst);
    }
}

impl Disk for TestDisk {
    fn sync(&mut self, file: &fs::File) -> io::Result<()> {
        let take =
            |counter: &AtomicU64| counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if take(&self.good).is_ok() || take(&self.bad).is_err() { file.sync_data() } else { Err(self.error.into()) }
    }

    fn free(&mut self, _folder: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn conforms() {
    let folders = RefCell::new(Vec::new());
    conformance::check(|| {
        let folder = folder();
        let store = open(&folder);
        folders.borrow_mut().push(folder);
        Arc::new(store)
    })
    .await;
    assert!(folders.into_inner().iter().all(|folder| blobs(folder) == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_several_threads() {
    let folders = std::sync::Mutex::new(Vec::new());
    conformance::check(|| {
        let folder = folder();
        let store = open(&folder);
        folders.lock().expect("not poisoned").push(folder);
        Arc::new(store)
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = folder();
    conformance::check_reopen(|| Arc::new(open(&folder))).await;
}

#[tokio::test]
async fn dropping_waits_for_what_was_appended() {
    let folder = folder();
    let store = open(&folder);
    for i in 0..100 {
        let _ = store.append(writes(vec![put(&format!("a{i}"), "1")])).now_or_never();
    }
    drop(store);
    assert_eq!(entries(&folder, b"a").await, 100);
}

#[tokio::test]
async fn no_value_goes_to_a_file_of_its_own() {
    let folder = folder();
    let store = open(&folder);
    for round in 0..2 {
        for i in 0..40 {
            store.append(writes(vec![put(&format!("max/{i:02}"), vec![round; MAX_VALUE])])).await.expect("appends");
            store.append(writes(vec![put(&format!("64k/{i:02}"), vec![round; 65_536])])).await.expect("appends");
            let inline = (0..20).map(|j| put(&format!("4k/{i:02}/{j:02}/{}", "k".repeat(1000)), vec![round; 4096]));
            store.append(writes(inline.collect())).await.expect("appends");
        }
        assert_eq!(blobs(&folder), 0);
    }
    store.delete_range(b"max/").await.expect("deletes");
    assert_eq!(store.get(b"64k/39").await.expect("reads"), Some(vec![1; 65_536]));
    store.close().await.expect("closes");
    assert_eq!(blobs(&folder), 0);
    assert_eq!(entries(&folder, b"64k/").await, 40);
}

/// `make soak` has it a million times, alone in its process, and then memory counts as well.
#[tokio::test]
async fn overwriting_does_not_grow_the_file() {
    let many = std::env::var("OVERWRITES").ok().map(|many| many.parse::<u32>().expect("OVERWRITES=n"));
    let rounds = many.unwrap_or(50_000) / 200;
    let folder = folder();
    let store = open(&folder);
    let size = || fs::metadata(folder.path().join("db")).expect("is there").len();
    let mut halfway = (0, 0);
    for round in 0..rounds {
        let append = |writer: u32| {
            let key = |i: u32| format!("key{:04}", (writer * 125 + i * 7 + round) % 1000);
            store.append(writes((0..25).map(|i| put(&key(i), format!("{round:0200}"))).collect()))
        };
        for answer in futures_util::future::join_all((0..8).map(append)).await {
            answer.expect("appends");
        }
        if round == rounds / 2 {
            halfway = (size(), resident());
        }
    }
    let (file, memory) = (size(), resident());
    store.close().await.expect("closes");
    assert!(file <= 24 << 20, "{many:?} overwrites of 200 kB of entries take {file} bytes");
    if many.is_some() {
        let files = format!("file {} kB halfway, {} kB at the end", halfway.0 >> 10, file >> 10);
        println!("{} overwrites: {files}; resident {} kB, then {} kB", rounds * 200, halfway.1, memory);
        assert!(file <= halfway.0 + (4 << 20) && memory <= halfway.1 + 4096, "grows");
    }
}

/// What this process has in memory, in kB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn a_store_is_opened_once() {
    let folder = folder();
    let store = open(&folder);
    let second = SledBackend::open(folder.path()).expect_err("is open already");
    assert!(matches!(second, StoreError::InUse { .. }), "{second:?}");
    let expected = "is in use by another coordinator; stop it first, or give this one its own data folder";
    assert!(second.to_string().ends_with(expected), "{second}");
    store.close().await.expect("closes");
    drop(open(&folder));
}

#[tokio::test]
async fn a_folder_is_made_for_its_owner_only() {
    let folder = folder();
    let path = folder.path().join("a/b");
    drop(SledBackend::open(&path).expect("opens"));
    assert_eq!(fs::metadata(path).expect("is there").mode() & 0o777, 0o700);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("writes");
    let error = SledBackend::open(&file.join("store")).expect_err("below a file");
    assert!(matches!(&error, StoreError::Io { path, .. } if path.ends_with("file/store")), "{error:?}");
}

#[tokio::test]
async fn another_format_is_refused() {
    let folder = folder();
    let store = open(&folder);
    store.append(writes(vec![(layout::FORMAT.to_vec(), Some(b"3".to_vec()))])).await.expect("appends");
    drop(store);
    let error = SledBackend::open(folder.path()).expect_err("of the future").to_string();
    let expected = "has format 3, this coordinator reads up to 2; use the coordinator that wrote it, or a newer one (nothing was changed)";
    assert!(error.ends_with(expected), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_said_before_anything_is_written() {
    let folder = folder();
    let disk = TestDisk::new(io::ErrorKind::StorageFull);
    let store = disk.open(&folder);
    store.append(writes(vec![put("a", "1")])).await.expect("appends");
    disk.free.store(1 << 20, Ordering::SeqCst);
    let error = store.append(writes(vec![put("a", "2")])).await.expect_err("is full");
    let path = folder.path().display();
    assert_eq!(error.to_string(), format!("no space left in {path}; free some, then try again"));
    assert!(matches!(error, StoreError::Full { .. }));
    assert_eq!(store.get(b"a").await.expect("reads").as_deref(), Some(&b"1"[..]));
    disk.free.store(1 << 30, Ordering::SeqCst);
    store.append(writes(vec![put("a", "3")])).await.expect("there is room again");
}

#[tokio::test]
async fn a_write_that_cannot_be_synced_is_not_acknowledged() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        let folder = folder();
        let disk = TestDisk::new(kind);
        let store = disk.open(&folder);
        store.append(writes(vec![put("a", "1")])).await.expect("appends");
        disk.fail(1000);
        for i in 0..3 {
            let appends = (0..10).map(|j| store.append(writes(vec![put(&format!("lost{i}/{j}"), "1")])));
            for answer in futures_util::future::join_all(appends).await {
                assert!(matches!(answer, Err(StoreError::Io { .. })), "{answer:?}");
            }
            let error = store.get(b"a").await.expect_err("nobody knows what is on the disk");
            assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        }
        disk.fail(0);
        store.append(writes(vec![put("b", "1")])).await.expect("the disk works again");
        assert_eq!(store.get(b"a").await.expect("reads").as_deref(), Some(&b"1"[..]));
        store.close().await.expect("closes");
        assert_eq!(entries(&folder, b"b").await, 1);
    }
}

#[tokio::test]
async fn a_write_is_acknowledged_once_it_is_durable_after_all() {
    let folder = folder();
    let disk = TestDisk::new(io::ErrorKind::Other);
    let store = disk.open(&folder);
    disk.fail(1);
    store.append(writes(vec![put("a", "1")])).await.expect("written anew and synced");
    let expect = vec![put("a", "1")];
    store.append(Batch { expect, writes: vec![put("a", "2")] }).await.expect("goes on");
    assert_eq!(store.get(b"a").await.expect("reads").as_deref(), Some(&b"2"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_until_what_it_saw_is_durable() {
    /// A disk whose syncs wait for permission.
    struct Gate(mpsc::Receiver<io::Result<()>>);
    impl Disk for Gate {
        fn sync(&mut self, _file: &fs::File) -> io::Result<()> {
            self.0.recv().unwrap_or(Ok(()))
        }
        fn free(&mut self, _folder: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }
    let folder = folder();
    let (permit, permitted) = mpsc::channel();
    permit.send(Ok(())).expect("open syncs once");
    let store = SledBackend::open_on(folder.path(), Box::new(Gate(permitted))).expect("opens");
    let mut append = store.append(writes(vec![put("a", "1")]));
    assert!(append.as_mut().now_or_never().is_none());
    while store.shared.look(|db| entry::get(db, b"a")).expect("reads").0.is_none() {
        tokio::task::yield_now().await;
    }
    let mut get = store.get(b"a");
    assert!(get.as_mut().now_or_never().is_none());
    permit.send(Ok(())).expect("the writer waits");
    append.await.expect("appends");
    assert_eq!(get.await.expect("reads").as_deref(), Some(&b"1"[..]));
    drop(permit);
}

/// Unmounted when dropped, also by a test that fails.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).expect("is mounted");
    }
}

/// What sled does when writing itself fails, which `check_room` normally prevents.
#[tokio::test]
async fn a_disk_that_is_really_full_loses_nothing_acknowledged() {
    let folder = folder();
    let tmpfs = |flags, size: &str| mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(size));
    if let Err(error) = tmpfs(MsFlags::empty(), "size=12m") {
        eprintln!("skipped: cannot mount a small disk here: {error}");
        return;
    }
    let _mounted = Mounted(folder.path());
    let disk = TestDisk::new(io::ErrorKind::Other);
    let store = disk.open(&folder);
    let mut acknowledged = Vec::new();
    let error = loop {
        let key = format!("full/{:04}", acknowledged.len());
        match store.append(writes(vec![put(&key, vec![1; 100_000])])).await {
            Ok(()) => acknowledged.push(key),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 200, "12 MB are full by now");
    };
    assert!(matches!(error, StoreError::Io { .. } | StoreError::Full { .. }), "{error:?}");
    store.append(writes(vec![put("x", vec![1; 1_000_000])])).await.expect_err("is still full");
    tmpfs(MsFlags::MS_REMOUNT, "size=64m").expect("grows");
    store.append(writes(vec![put("after", "1")])).await.expect("there is room now");
    for key in &acknowledged {
        assert!(store.get(key.as_bytes()).await.expect("reads").is_some(), "{key} was acknowledged");
    }
    store.close().await.expect("closes");
}

const CHILD: &str = "SLIPSTREAM_TEST_STORE";

/// Not a test of its own: what `kill_9_loses_nothing_acknowledged` kills.
#[tokio::test]
async fn child_that_appends() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = SledBackend::open(Path::new(&path)).expect("opens");
    let first = store.scan(b"n/", None, usize::MAX).await.expect("scans").len();
    for round in first.. {
        let batches = (0..8).map(|i| {
            let pair = [0, 1].map(|side| put(&format!("n/{round:06}/{i}/{side}"), vec![i; 100 + 10_000 * side]));
            store.append(writes(pair.into()))
        });
        for (i, answer) in futures_util::future::join_all(batches).await.into_iter().enumerate() {
            answer.expect("appends");
            writeln!(io::stdout(), "ack n/{round:06}/{i}/").expect("the parent reads");
        }
        let old = format!("n/{:06}/", round.saturating_sub(200));
        if round - first > 200 {
            writeln!(io::stdout(), "del {old}").expect("the parent reads");
            store.delete_range(old.as_bytes()).await.expect("deletes");
        }
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let folder = folder();
    let mut acknowledged = std::collections::BTreeSet::new();
    for millis in [60, 150, 10, 230, 340] {
        let mut command = Command::new(std::env::current_exe().expect("is known"));
        command.args(["--exact", "store::sled::tests::child_that_appends", "--nocapture"]).env(CHILD, folder.path());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines().map_while(Result::ok);
        let first = lines.by_ref().find(|line| line.contains("ack ")).expect("it gets that far");
        let reader = thread::spawn(move || lines.collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(millis)).await;
        child.kill().expect("is running");
        assert_eq!(child.wait().expect("ends").signal(), Some(9));
        for line in std::iter::once(first).chain(reader.join().expect("reads")) {
            match line.split_once(' ') {
                Some((_, key)) if line.contains("ack n/") && key.ends_with('/') => {
                    acknowledged.insert(key.rsplit(' ').next().expect("not empty").to_owned());
                }
                Some(("del", prefix)) => acknowledged.retain(|key: &String| !key.starts_with(prefix)),
                _ => {}
            }
        }
        let store = open(&folder);
        let mut found = std::collections::BTreeMap::new();
        for (key, _) in store.scan(b"n/", None, usize::MAX).await.expect("scans") {
            let batch = String::from_utf8_lossy(&key[..key.len() - 1]).into_owned();
            *found.entry(batch).or_insert(0) += 1;
        }
        assert!(found.values().all(|sides| *sides == 2), "a batch was torn");
        for batch in &acknowledged {
            assert!(found.contains_key(batch), "{batch} was acknowledged");
        }
        store.close().await.expect("closes");
    }
    assert!(acknowledged.len() > 100, "only {} appends were tried", acknowledged.len());
    assert_eq!(blobs(&folder), 0);
}
