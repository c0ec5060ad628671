//! Files that were cut, torn or flipped: whatever is lost is said, and nothing panics.

use std::{collections::BTreeMap, time::Instant};

use super::*;
use crate::store::{DAMAGED, layout};

/// How long places are tried.
const TIME: Duration = Duration::from_secs(6);

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Files by name.
type Folder = BTreeMap<String, Vec<u8>>;

/// What was done to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// It ends here.
    Cut,
    /// A page was never written.
    Tear,
    Flip(u8),
}

fn run(n: u8) -> slipstream_shared::id::RunId {
    slipstream_shared::id::RunId::new(1_700_000_000_000, [n; 10])
}

/// Runs, modules and tokens as they are in a store that was used for a while and closed.
async fn used(folder: &TempDir) -> Content {
    let store = open(folder);
    for n in 0..8 {
        for seq in 1..60_u64 {
            let value = format!("event {seq} of {n}").repeat(if seq % 20 == 0 { 1000 } else { 5 });
            let summary = format!("{n} has come to {seq}");
            let both = vec![
                (layout::event(run(n), seq), Some(value.into_bytes())),
                (layout::summary(run(n)), Some(summary.into_bytes())),
            ];
            store.append(writes(both)).await.expect("appends");
        }
        let module = (layout::module_version("a/b", u32::from(n)), Some(vec![n; 3000]));
        let token = (layout::token(&[n; 32]), Some(b"{\"user\":\"ann\"}".to_vec()));
        store.append(writes(vec![module, token])).await.expect("appends");
    }
    let all = store.scan(b"", None, usize::MAX).await.expect("scans").into_iter().collect();
    store.close().await.expect("closes");
    all
}

/// The files of a folder.
fn files_of(folder: &Path) -> Folder {
    let names = fs::read_dir(folder).expect("there").map(|entry| entry.expect("there"));
    let files = names.filter(|entry| entry.file_type().expect("known").is_file());
    files.map(|file| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).expect("read"))).collect()
}

fn copy(files: &Folder) -> TempDir {
    let folder = folder();
    fs::create_dir(folder.path().join("blobs")).expect("made");
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).expect("written"));
    folder
}

fn harm(bytes: &mut Vec<u8>, place: usize, harm: Harm) {
    match harm {
        Harm::Cut => bytes.truncate(place),
        Harm::Tear => {
            let begin = place / 4096 * 4096;
            let end = bytes.len().min(begin + 4096);
            bytes[begin..end].fill(0);
        }
        Harm::Flip(bit) => bytes[place] ^= 1 << bit,
    }
}

/// What became of a damaged store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Nothing was lost: what was harmed was not in use.
    Whole,
    /// Some entries say that they are damaged.
    Shown,
    /// It is refused with a reason.
    Refused,
}

async fn examine(folder: &TempDir, content: &Content) -> Result<End, String> {
    let store = match SledBackend::open(folder.path()) {
        Ok(store) => store,
        Err(error @ StoreError::Damaged { .. }) => {
            let said = error.to_string();
            let helpful = ["slipstream-coordinator restore", "export --damaged", folder.path().to_str().expect("text")];
            return match helpful.iter().find(|part| !said.contains(**part)) {
                Some(part) => Err(format!("{part} is not in: {said}")),
                None => Ok(End::Refused),
            };
        }
        Err(StoreError::Format { .. }) => return Ok(End::Refused),
        Err(error) => return Err(format!("not a refusal: {error:?}")),
    };
    let found: Content =
        store.scan(b"", None, usize::MAX).await.map_err(|error| error.to_string())?.into_iter().collect();
    let keys = found.keys().eq(content.keys());
    let wrong = found.iter().filter(|(key, value)| *value != DAMAGED && content.get(*key) != Some(*value)).count();
    store.append(writes(vec![put("goes on", "1")])).await.map_err(|error| error.to_string())?;
    store.close().await.map_err(|error| error.to_string())?;
    match (keys, wrong) {
        (true, 0) if found.values().any(|value| value == DAMAGED) => Ok(End::Shown),
        (true, 0) => Ok(End::Whole),
        _ => Err(format!("it opened without {} entries, {wrong} are not as they were", content.len() - found.len())),
    }
}

#[tokio::test]
async fn whatever_happens_to_the_files_nothing_is_lost_in_silence() {
    let made = folder();
    let content = used(&made).await;
    // Opened again, so that sled has all of its kinds of files.
    open(&made).close().await.expect("closes");
    let files = files_of(made.path());
    let (began, mut ends, mut tried) = (Instant::now(), BTreeMap::new(), 0_usize);
    let mut number = 1_u64;
    while began.elapsed() < TIME || tried < 60 {
        for (name, bytes) in &files {
            // What sled can make again is not as interesting.
            if name == mark::NAME || (name != "db" && !tried.is_multiple_of(8)) {
                continue;
            }
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(number >> 33).expect("small") % bytes.len();
            let kind = match (number >> 20) % 4 {
                0 => Harm::Cut,
                1 => Harm::Tear,
                _ => Harm::Flip(u8::try_from((number >> 24) % 8).expect("small")),
            };
            let mut files = files.clone();
            harm(files.get_mut(name).expect("there"), place, kind);
            let folder = copy(&files);
            let end = examine(&folder, &content).await;
            let end = end.unwrap_or_else(|error| panic!("{kind:?} at {place} of {} in {name}: {error}", bytes.len()));
            *ends.entry((name.split('.').next().expect("a name").to_owned(), end)).or_insert(0) += 1;
            tried += 1;
        }
    }
    println!("{tried} damaged stores: {ends:?}");
    assert!(ends.keys().any(|(name, end)| name == "db" && *end == End::Refused), "{ends:?}");
}

#[tokio::test]
async fn what_sled_can_make_again_is_not_missed() {
    let made = folder();
    let content = used(&made).await;
    open(&made).close().await.expect("closes");
    let whole = files_of(made.path());
    for name in whole.keys().filter(|name| *name == "conf" || name.starts_with("snap.")) {
        let mut files = whole.clone();
        files.insert(name.clone(), b"garbage, and enough of it".to_vec());
        let folder = copy(&files);
        assert_eq!(examine(&folder, &content).await, Ok(End::Whole), "{name}");
    }
}

#[tokio::test]
async fn what_is_lost_is_named() {
    let made = folder();
    used(&made).await;
    let files = files_of(made.path());
    let refused = |change: &dyn Fn(&mut Folder)| {
        let mut files = files.clone();
        change(&mut files);
        let folder = copy(&files);
        let error = SledBackend::open(folder.path()).expect_err("is damaged").to_string();
        error.replace(folder.path().to_str().expect("text"), "STORE")
    };
    let gone = refused(&|files| drop(files.remove("db")));
    let expected = "the store in STORE is damaged: its file `db` is empty or gone, and all that was in it is lost. \
                    Nothing is served of it. To go back to a backup, move the data folder away and use \
                    `slipstream-coordinator restore`. To go on with what can be read, use `slipstream-coordinator \
                    export --damaged FILE`, move the store away, and use `slipstream-coordinator import FILE`";
    assert_eq!(gone, expected);
    let old = refused(&|files| {
        let db = files.get_mut("db").expect("there");
        db.truncate(db.len() / 2);
        files.retain(|name, _| !name.starts_with("snap."));
    });
    assert!(old.contains("and commit 481 was acknowledged: the last "), "{old}");
}

#[tokio::test]
async fn an_entry_that_is_not_as_it_was_written_shows_as_damaged_and_the_others_can_be_used() {
    let made = folder();
    let content = used(&made).await;
    let (small, large) = (layout::event(run(3), 7), layout::event(run(4), 40));
    {
        let db = sled::Config::default().path(made.path()).segment_size(4 << 20).flush_every_ms(None).open();
        let db = db.expect("opens");
        let head = [b"h", &small[..]].concat();
        let mut bytes = db.get(&head).expect("reads").expect("there").to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        db.insert(head, bytes).expect("writes");
        let length = u16::try_from(large.len()).expect("short").to_be_bytes();
        let chunk = [b"c", &length[..], &large, &[0, 0]].concat();
        let mut bytes = db.get(&chunk).expect("reads").expect("lies in chunks").to_vec();
        bytes[9] ^= 128;
        db.insert(chunk, bytes).expect("writes");
        db.flush().expect("flushes");
    }
    let files = Files { path: made.path().to_path_buf(), disk: Box::new(RealDisk) };
    drop(files.wait_let_go().expect("let go of"));
    let store = open(&made);
    for (key, value) in &content {
        let expected = if [&small, &large].contains(&key) { DAMAGED } else { value };
        assert_eq!(store.get(key).await.expect("reads").as_deref(), Some(expected), "{}", layout::describe(key));
    }
    // Written again, it is whole again.
    for key in [&small, &large] {
        store.append(writes(vec![(key.clone(), Some(b"new".to_vec()))])).await.expect("appends");
    }
    store.close().await.expect("closes");
    let store = open(&made);
    assert_eq!(store.get(&small).await.expect("reads").as_deref(), Some(&b"new"[..]));
    store.close().await.expect("closes");
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_store_is_salvaged() {
    let made = folder();
    let content = used(&made).await;
    let mut files = files_of(made.path());
    let db = files.get_mut("db").expect("there");
    let place = db.len() * 2 / 3;
    harm(db, place, Harm::Tear);
    let folder = copy(&files);
    let mut rest = Content::new();
    let lost = SledBackend::salvage(folder.path(), &mut |key, value| {
        rest.insert(key.to_vec(), value.to_vec());
        Ok(())
    });
    let lost = lost.expect("opens");
    println!("{} of {} entries are left; {lost:?}", rest.len(), content.len());
    assert!(!lost.is_empty(), "what is lost is said");
    assert!(rest.len() > content.len() / 4, "{} of {}", rest.len(), content.len());
    assert!(rest.keys().all(|key| content.contains_key(key)));
}
