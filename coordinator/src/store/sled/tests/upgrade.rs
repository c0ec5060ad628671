//! Stores that earlier versions have written.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;
use crate::store::{
    MemoryBackend,
    dump::{self, Reader, load},
};

/// The files of a store of format 1, written by the coordinator of that time: two runs of the tutorial, one of
/// them over, with a value that lies in chunks. And a backup of it, made by the same program.
const FILES: &[u8] = include_bytes!("../../../../fixtures/store-1.tar.gz");
const BACKUP: &[u8] = include_bytes!("../../../../fixtures/store-1.backup.gz");

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn unpack() -> TempDir {
    let folder = folder();
    tar::Archive::new(GzDecoder::new(FILES)).unpack(folder.path()).expect("an archive");
    folder
}

async fn all(store: &dyn Backend) -> Entries {
    store.scan(b"", None, usize::MAX).await.expect("scans")
}

/// What the backup says was in it.
async fn expected() -> Entries {
    let mut backup = Vec::new();
    GzDecoder::new(BACKUP).read_to_end(&mut backup).expect("compressed");
    dump::check(&backup[..]).expect("older formats can be restored");
    let store = MemoryBackend::new();
    load(&mut Reader::new(&backup[..]).expect("a backup"), &store).await.expect("loads");
    all(&store).await
}

#[tokio::test]
async fn a_store_of_format_1_is_brought_up_to_date_whole() {
    let (folder, expected) = (unpack(), expected().await);
    assert_eq!(expected.len(), 100);
    assert!(expected.iter().any(|(_, value)| value.len() > 20_000), "one of several chunks");
    for _ in 0..2 {
        let store = open(&folder);
        assert_eq!(all(&store).await, expected);
        store.close().await.expect("closes");
    }
    let files = Files { path: folder.path().to_path_buf(), disk: Box::new(RealDisk) }.open(files::Want::Whole);
    let total = entry::total(&files.expect("opens").db).expect("reads");
    assert_eq!(total.entries, 100, "all of them have checksums");
    assert_eq!(blobs(&folder), 0);
}

#[tokio::test]
async fn an_upgrade_that_was_cut_short_goes_on() {
    let (folder, expected) = (unpack(), expected().await);
    // As after a crash: some entries are of the new format, the store is still of the old one.
    {
        let db = sled::Config::default().path(folder.path()).segment_size(4 << 20).flush_every_ms(None).open();
        let db = db.expect("opens");
        let some = entry::unchecked(&db, None, 10_000).expect("reads");
        assert!(some.len() > 5 && some.len() < 90, "{} of 100", some.len());
        let some = some.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let group = entry::total(&db).expect("reads").group + 1;
        db.apply_batch(entry::stage(&db, &some, group).expect("stages")).expect("applies");
        db.flush().expect("flushes");
    }
    let files = Files { path: folder.path().to_path_buf(), disk: Box::new(RealDisk) };
    drop(files.wait_let_go().expect("let go of"));
    let store = open(&folder);
    assert_eq!(all(&store).await, expected);
    store.append(writes(vec![put("new", "1")])).await.expect("appends");
    store.close().await.expect("closes");
    assert_eq!(entries(&folder, b"").await, 101);
}
