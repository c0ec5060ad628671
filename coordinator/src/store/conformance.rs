//! The suite every [`Backend`] passes: one function per promise of the trait.
//!
//! Not only for tests of this crate: a backend that injects faults under simulation is checked by it
//! too. A broken promise panics.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future};

use super::{Backend, Batch, MAX_BATCH, MAX_KEY, MAX_VALUE, StoreError, layout};

type Change = (Vec<u8>, Option<Vec<u8>>);

/// Checks everything but what outlives the process. Each call of `fresh` makes an empty store.
pub async fn check<F: Fn() -> Arc<dyn Backend>>(fresh: F) {
    a_new_store_holds_the_version_of_its_layout(&*fresh()).await;
    a_batch_is_applied_as_a_whole(&*fresh()).await;
    a_conflict_changes_nothing(&*fresh()).await;
    expectations_see_earlier_batches_only(&*fresh()).await;
    appends_of_one_caller_keep_their_order(&*fresh()).await;
    a_later_write_of_a_key_wins(&*fresh()).await;
    sizes_are_limited(&*fresh()).await;
    values_of_any_size_replace_each_other(&*fresh()).await;
    a_scan_is_ordered_and_paged(&*fresh()).await;
    a_scan_takes_any_prefix(&*fresh()).await;
    a_range_is_deleted_and_nothing_else(&*fresh()).await;
    many_writers_do_not_disturb_each_other(&*fresh()).await;
    contended_writers_lose_no_update(&*fresh()).await;
    a_caller_that_goes_away_leaves_all_or_nothing(&*fresh()).await;
    a_closed_store_says_so(&*fresh()).await;
    it_agrees_with_a_map(&*fresh()).await;
}

/// Checks what outlives the process. Each call of `open` opens the same store, empty at first, which is
/// closed by then.
pub async fn check_reopen<F: Fn() -> Arc<dyn Backend>>(open: F) {
    let store = open();
    let large = vec![7; MAX_VALUE];
    append(&*store, vec![put("kept", "1"), put("gone", "1"), (b"large".to_vec(), Some(large.clone()))]).await;
    append(&*store, vec![put("kept", "2"), delete("gone")]).await;
    let pending = (0..20).map(|i| store.append(writes(vec![put(&format!("pending{i:02}"), "1")])));
    let mut pending: Vec<_> = pending.collect();
    for append in &mut pending {
        if let Some(answer) = append.as_mut().now_or_never() {
            answer.expect("appends");
            *append = future::ready(Ok(())).boxed();
        }
    }
    store.close().await.expect("closes");
    for append in pending {
        append.await.expect("close waits for what was appended before it");
    }

    let store = open();
    assert_eq!(get(&*store, "kept").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&*store, "gone").await, None);
    assert_eq!(get(&*store, "large").await, Some(large));
    assert_eq!(scan(&*store, "pending", None, 100).await.len(), 20);
    store.delete_range(b"pending").await.expect("deletes");
    store.close().await.expect("closes");

    let store = open();
    assert!(scan(&*store, "pending", None, 100).await.is_empty());
    store.close().await.expect("closes");
}

async fn a_new_store_holds_the_version_of_its_layout(store: &dyn Backend) {
    let format = (layout::FORMAT.to_vec(), layout::version());
    assert_eq!(scan(store, "", None, 10).await, [format]);
}

async fn a_batch_is_applied_as_a_whole(store: &dyn Backend) {
    append(store, vec![put("a", "1"), put("b", "2")]).await;
    append(store, vec![put("c", "3"), delete("a"), delete("never was")]).await;
    assert_eq!(get(store, "a").await, None);
    assert_eq!(get(store, "b").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(get(store, "c").await.as_deref(), Some(&b"3"[..]));
    append(store, vec![]).await;
}

async fn a_conflict_changes_nothing(store: &dyn Backend) {
    append(store, vec![put("a", "1"), put("empty", "")]).await;
    let wrong = [put("a", "2"), delete("a"), put("b", "1"), put("b", ""), delete("empty"), put("a", "")];
    for expected in wrong {
        let expect = vec![put("a", "1"), expected.clone()];
        let answer = store.append(Batch { expect, writes: vec![put("a", "9"), put("c", "9"), delete("empty")] }).await;
        assert!(matches!(answer, Err(StoreError::Conflict { key }) if key == expected.0));
        assert_eq!(get(store, "a").await.as_deref(), Some(&b"1"[..]));
        assert_eq!(get(store, "c").await, None);
        assert_eq!(get(store, "empty").await.as_deref(), Some(&b""[..]));
    }
    let expect = vec![put("a", "1"), delete("b"), put("empty", "")];
    store.append(Batch { expect, writes: vec![put("a", "2")] }).await.expect("all expectations hold");
    assert_eq!(get(store, "a").await.as_deref(), Some(&b"2"[..]));
}

async fn expectations_see_earlier_batches_only(store: &dyn Backend) {
    // Own writes are not seen...
    let own = Batch { expect: vec![delete("a")], writes: vec![put("a", "1")] };
    store.append(own.clone()).await.expect("the key is absent before the batch");
    assert!(matches!(store.append(own).await, Err(StoreError::Conflict { .. })));

    // ...those of batches under way are, unless they lost.
    let step = |from: &str, to: &str| store.append(Batch { expect: vec![put("a", from)], writes: vec![put("a", to)] });
    let (first, second, lost, third) = tokio::join!(step("1", "2"), step("2", "3"), step("2", "x"), step("3", "4"));
    first.expect("in order");
    second.expect("in order");
    assert!(matches!(lost, Err(StoreError::Conflict { .. })));
    third.expect("a batch that lost changes nothing");
    assert_eq!(get(store, "a").await.as_deref(), Some(&b"4"[..]));
}

async fn appends_of_one_caller_keep_their_order(store: &dyn Backend) {
    let log = |i: u32| writes(vec![put("last", &i.to_string()), put(&format!("log/{i:03}"), "")]);
    let answers = future::join_all((0..300).map(|i| store.append(log(i)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(get(store, "last").await.as_deref(), Some(&b"299"[..]));
    assert_eq!(scan(store, "log/", None, 1000).await.len(), 300);
}

async fn a_later_write_of_a_key_wins(store: &dyn Backend) {
    append(store, vec![put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), delete("c"), put("c", "1")]).await;
    assert_eq!(get(store, "a").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(get(store, "b").await, None);
    assert_eq!(get(store, "c").await.as_deref(), Some(&b"1"[..]));
}

async fn sizes_are_limited(store: &dyn Backend) {
    let key = vec![b'k'; MAX_KEY];
    append(store, vec![(key.clone(), Some(vec![1; MAX_VALUE])), (Vec::new(), Some(Vec::new()))]).await;
    assert_eq!(store.get(&key).await.expect("reads"), Some(vec![1; MAX_VALUE]));
    assert_eq!(store.get(&[]).await.expect("reads"), Some(Vec::new()));

    let half = || Some(vec![0; MAX_BATCH / 2]);
    let too_large = [
        ("key", writes(vec![put("small", ""), (vec![b'k'; MAX_KEY + 1], None)])),
        ("value", writes(vec![put("small", ""), (b"a".to_vec(), Some(vec![0; MAX_VALUE + 1]))])),
        ("batch", writes(vec![put("small", ""), (b"a".to_vec(), half()), (b"b".to_vec(), half())])),
        ("batch", Batch { expect: vec![(b"a".to_vec(), half())], writes: vec![(b"b".to_vec(), half())] }),
    ];
    for (culprit, batch) in too_large {
        let answer = store.append(batch).await;
        assert!(matches!(answer, Err(StoreError::TooLarge { what, .. }) if what == culprit), "{answer:?}");
    }
    assert_eq!(get(store, "small").await, None);
}

async fn values_of_any_size_replace_each_other(store: &dyn Backend) {
    let sizes = [0, 1, MAX_VALUE, 4096, 4097, 65_536, 10, 32_768, 32_769, MAX_VALUE, 100_000, 5000, 0];
    let mut before: Option<Vec<u8>> = None;
    for (i, size) in sizes.into_iter().enumerate() {
        let value: Vec<u8> = (0..size).map(|at| (at / 1000 + i) as u8).collect();
        let small = value.len() + before.as_ref().map_or(0, Vec::len) < MAX_VALUE;
        let expect = if small { vec![(b"a".to_vec(), before)] } else { vec![] };
        store.append(Batch { expect, writes: vec![(b"a".to_vec(), Some(value.clone()))] }).await.expect("as expected");
        assert_eq!(get(store, "a").await.as_ref(), Some(&value));
        assert_eq!(scan(store, "a", None, 10).await, [(b"a".to_vec(), value.clone())]);
        before = Some(value);
    }
    append(store, vec![put("a", &"x".repeat(MAX_VALUE))]).await;
    append(store, vec![delete("a")]).await;
    assert_eq!(get(store, "a").await, None);
    assert!(scan(store, "a", None, 10).await.is_empty());
}

async fn a_scan_is_ordered_and_paged(store: &dyn Backend) {
    let keys = ["p", "p/", "p/a", "p/a/1", "p/b", "p/\u{ff}", "p0", "o", "q"];
    append(store, keys.iter().rev().map(|key| put(key, key)).collect()).await;
    let found = |entries: Vec<(Vec<u8>, Vec<u8>)>| {
        assert!(entries.iter().all(|(key, value)| key == value));
        entries.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(found(scan(store, "p/", None, 10).await), ["p/", "p/a", "p/a/1", "p/b", "p/\u{ff}"]);
    assert_eq!(found(scan(store, "p/", None, 2).await), ["p/", "p/a"]);
    assert_eq!(found(scan(store, "p/", Some("p/a"), 2).await), ["p/a/1", "p/b"]);
    assert_eq!(found(scan(store, "p/", Some("p/a/0"), 1).await), ["p/a/1"], "`after` need not exist");
    assert_eq!(found(scan(store, "p/", Some("a"), 1).await), ["p/"], "`after` may be before the prefix");
    assert!(scan(store, "p/", Some("p/\u{ff}"), 10).await.is_empty());
    assert!(scan(store, "p/", Some("z"), 10).await.is_empty());
    assert!(scan(store, "p/", None, 0).await.is_empty());
    assert!(scan(store, "nothing", None, 10).await.is_empty());
}

async fn a_scan_takes_any_prefix(store: &dyn Backend) {
    let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\xfe", b"\xff", b"\xff\xff", b"\xff\xff\0"];
    append(store, keys.iter().map(|key| (key.to_vec(), Some(b"v".to_vec()))).collect()).await;
    for prefix in keys {
        let entries = store.scan(prefix, None, usize::MAX).await.expect("scans");
        let found = entries.iter().map(|(key, _)| &key[..]).filter(|key| *key != layout::FORMAT);
        assert!(found.eq(keys.into_iter().filter(|key| key.starts_with(prefix))), "prefix {prefix:?}");
    }
    store.delete_range(b"\xff").await.expect("deletes");
    assert!(store.scan(b"\xff", None, 10).await.expect("scans").is_empty());
    assert_eq!(store.get(b"\xfe").await.expect("reads").as_deref(), Some(&b"v"[..]));
    store.delete_range(b"").await.expect("deletes");
    assert!(store.scan(b"", None, 10).await.expect("scans").is_empty());
}

async fn a_range_is_deleted_and_nothing_else(store: &dyn Backend) {
    for hundred in 0..20 {
        append(store, (0..100).map(|i| put(&format!("r/{hundred}/{i}"), "v")).collect()).await;
    }
    append(store, vec![put("r", "v"), put("r/large", &"v".repeat(MAX_VALUE)), put("r0", "v")]).await;
    store.delete_range(b"r/").await.expect("deletes");
    store.delete_range(b"r/").await.expect("deletes nothing");
    assert_eq!(scan(store, "r", None, 10).await, [("r", "v"), ("r0", "v")].map(|(k, v)| (k.into(), v.into())));
}

async fn many_writers_do_not_disturb_each_other(store: &dyn Backend) {
    future::join_all((0..200).map(|writer| async move {
        for i in 0..5 {
            append(store, vec![put(&format!("{writer}/{i}/a"), "v"), put(&format!("{writer}/{i}/b"), "v")]).await;
            assert_eq!(scan(store, &format!("{writer}/"), None, 100).await.len(), 2 * (i + 1), "own writes are seen");
        }
    }))
    .await;
    store.delete_range(layout::FORMAT).await.expect("deletes");
    assert_eq!(scan(store, "", None, 10_000).await.len(), 2000);
}

async fn contended_writers_lose_no_update(store: &dyn Backend) {
    let increment = || async {
        loop {
            let before = get(store, "counter").await;
            let count = before.as_ref().map_or(0, |value| String::from_utf8_lossy(value).parse().expect("a number"));
            let next: u32 = count + 1;
            let batch =
                Batch { expect: vec![(b"counter".to_vec(), before)], writes: vec![put("counter", &next.to_string())] };
            match store.append(batch).await {
                Ok(()) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    future::join_all((0..30).map(|_| increment())).await;
    assert_eq!(get(store, "counter").await.as_deref(), Some(&b"30"[..]));
}

async fn a_caller_that_goes_away_leaves_all_or_nothing(store: &dyn Backend) {
    for i in 0..50 {
        let [a, b] = ["a", "b"].map(|side| format!("{i}/{side}"));
        let dropped = store.append(writes(vec![put(&a, "v"), put(&b, "v")]));
        if i % 2 == 0 {
            let _ = dropped.now_or_never();
        } else {
            drop(dropped);
        }
        append(store, vec![put("next", "v")]).await;
        assert_eq!(get(store, &a).await, get(store, &b).await);
    }
}

async fn a_closed_store_says_so(store: &dyn Backend) {
    append(store, vec![put("a", "1")]).await;
    let (first, second) = tokio::join!(store.close(), store.close());
    first.and(second).expect("closes");
    assert!(matches!(store.append(writes(vec![put("a", "2")])).await, Err(StoreError::Closed)));
    assert!(matches!(store.get(b"a").await, Err(StoreError::Closed)));
    assert!(matches!(store.scan(b"", None, 1).await, Err(StoreError::Closed)));
    assert!(matches!(store.delete_range(b"").await, Err(StoreError::Closed)));
    store.close().await.expect("closing again is fine");
}

async fn it_agrees_with_a_map(store: &dyn Backend) {
    store.delete_range(b"").await.expect("deletes");
    let mut map = BTreeMap::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..300 {
        let mut batch = Batch::default();
        for _ in 0..random(6) {
            let key = format!("{:02}", random(60)).into_bytes();
            let size = [0, 100, 5000, 40_000][random(4) as usize];
            let value = (random(3) > 0).then(|| vec![random(256) as u8; size]);
            match &value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(&key),
            };
            batch.writes.push((key, value));
        }
        store.append(batch).await.expect("appends");
    }
    let entries = store.scan(b"", None, usize::MAX).await.expect("scans");
    assert!(entries.into_iter().eq(map));
}

fn put(key: &str, value: &str) -> Change {
    (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
}

fn delete(key: &str) -> Change {
    (key.as_bytes().to_vec(), None)
}

fn writes(writes: Vec<Change>) -> Batch {
    Batch { expect: Vec::new(), writes }
}

async fn append(store: &dyn Backend, changes: Vec<Change>) {
    store.append(writes(changes)).await.expect("appends");
}

async fn get(store: &dyn Backend, key: &str) -> Option<Vec<u8>> {
    store.get(key.as_bytes()).await.expect("reads")
}

async fn scan(store: &dyn Backend, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    store.scan(prefix.as_bytes(), after.map(str::as_bytes), limit).await.expect("scans")
}
