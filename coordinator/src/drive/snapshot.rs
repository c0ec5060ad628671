//! Snapshots of a run, which save reading all its events. Their size has no bound, that of a value has:
//! a large one lies in parts, and its head, which makes it the one that counts, is written last.

use serde::{Deserialize, Serialize};
use slipstream_shared::id::RunId;

use crate::store::{Backend, Batch, StoreError, layout};

/// The fewest events between two snapshots.
pub(super) const EVERY: u64 = 256;

/// What writing snapshots may cost, in bytes for each event.
const PER_EVENT: usize = 512;

/// The bytes of a part, and of what is kept without parts.
const PART: usize = 256 * 1024;

/// Parts written at a time.
const AT_ONCE: usize = 3;

/// The head of a snapshot in parts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// The event it was made after.
    parts_of: u64,
    parts: u32,
    size: usize,
}

/// How many events later the next one is due.
pub(super) fn interval(size: usize) -> u64 {
    EVERY.max((size / PER_EVENT) as u64)
}

/// Writes the snapshot made after event `seq`. What was there before counts until all of it is there.
pub(super) async fn write(backend: &dyn Backend, run: RunId, seq: u64, bytes: Vec<u8>) -> Result<(), StoreError> {
    if bytes.len() <= PART {
        put(backend, vec![(layout::snapshot(run), Some(bytes))]).await?;
        return remove_others(backend, run, seq).await;
    }
    let parts: Vec<_> = (0..).zip(bytes.chunks(PART)).collect();
    for some in parts.chunks(AT_ONCE) {
        let write = |(n, part): &(u32, &[u8])| (layout::snapshot_part(run, seq, *n), Some(part.to_vec()));
        put(backend, some.iter().map(write).collect()).await?;
    }
    let head = Head { parts_of: seq, parts: u32::try_from(parts.len()).unwrap_or(u32::MAX), size: bytes.len() };
    let head = serde_json::to_vec(&head).expect("plain data");
    put(backend, vec![(layout::snapshot(run), Some(head))]).await?;
    remove_others(backend, run, seq).await
}

async fn put(backend: &dyn Backend, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
    backend.append(Batch { expect: vec![], writes }).await
}

/// Removes the parts of all snapshots but that one, those included that were never finished.
async fn remove_others(backend: &dyn Backend, run: RunId, seq: u64) -> Result<(), StoreError> {
    let (all, own) = (layout::snapshot_parts(run), layout::snapshot_parts_of(run, seq));
    let mut after = None;
    loop {
        let page = backend.scan(&all, after.as_deref(), AT_ONCE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let old: Vec<_> =
            page.into_iter().filter(|(key, _)| !key.starts_with(&own)).map(|(key, _)| (key, None)).collect();
        if !old.is_empty() {
            put(backend, old).await?;
        }
    }
}

/// The snapshot that counts. None: there is none, or it is not whole, and all events have to be read.
pub(super) async fn read(backend: &dyn Backend, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(bytes) = backend.get(&layout::snapshot(run)).await? else { return Ok(None) };
    // A run has no such fields, and many others.
    let Ok(head) = serde_json::from_slice::<Head>(&bytes) else { return Ok(Some(bytes)) };
    let mut whole = Vec::with_capacity(head.size);
    for n in 0..head.parts {
        let part = backend.get(&layout::snapshot_part(run, head.parts_of, n)).await?;
        whole.extend_from_slice(&part.unwrap_or_default());
    }
    if whole.len() == head.size {
        return Ok(Some(whole));
    }
    tracing::warn!(%run, seq = head.parts_of, "a snapshot is not whole; reading all events instead");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryBackend;

    fn run() -> RunId {
        RunId::new(1, [7; 10])
    }

    async fn keys(backend: &MemoryBackend) -> usize {
        backend.scan(&layout::run(run()), None, usize::MAX).await.expect("scans").len()
    }

    #[tokio::test]
    async fn the_last_whole_one_counts_and_nothing_of_the_others_is_left() {
        let backend = MemoryBackend::new();
        let (small, large, larger) = (vec![1; 10], vec![2; PART + 1], vec![3; 5 * PART]);
        for (seq, snapshot, entries) in
            [(1, &small, 1), (2, &large, 3), (3, &larger, 6), (4, &large, 3), (5, &small, 1)]
        {
            write(&backend, run(), seq, snapshot.clone()).await.expect("written");
            assert_eq!(read(&backend, run()).await.expect("read").as_ref(), Some(snapshot));
            assert_eq!(keys(&backend).await, entries, "after {seq}");
        }
    }

    #[tokio::test]
    async fn one_that_was_cut_short_changes_nothing_and_a_damaged_one_is_not_believed() {
        let backend = MemoryBackend::new();
        write(&backend, run(), 5, vec![1; 3 * PART]).await.expect("written");
        // A coordinator that dies before the head is written leaves such a part.
        put(&backend, vec![(layout::snapshot_part(run(), 9, 0), Some(vec![2; PART]))]).await.expect("written");
        assert_eq!(read(&backend, run()).await.expect("read"), Some(vec![1; 3 * PART]));
        put(&backend, vec![(layout::snapshot_part(run(), 5, 1), None)]).await.expect("removed");
        assert_eq!(read(&backend, run()).await.expect("read"), None);
    }

    #[test]
    fn large_ones_are_written_less_often() {
        assert_eq!((interval(0), interval(100 * 1024), interval(20 * 1024 * 1024)), (256, 256, 40_960));
    }
}
