//! Runs that hold more than the store takes at once.

use futures_util::future::join_all;
use slipstream_shared::{parameter::MAX_VALUE, plan::ParamPlan};

use super::{
    ann, key,
    site::{Site, plan},
};
use crate::{drive::RunHandle, store::MAX_BATCH};

const KEYS: usize = 24;

async fn site_with_many_keys() -> (Site, slipstream_shared::id::RunId, RunHandle) {
    let site = Site::new().await;
    let mut wanted = plan(1);
    for node in wanted.nodes.values_mut() {
        node.params.extend((0..KEYS).map(|n| (format!("p{n}"), ParamPlan::default())));
    }
    let run = site.launch(wanted).await;
    let handle = site.handle(run).await;
    (site, run, handle)
}

#[tokio::test(start_paused = true)]
async fn the_largest_values_may_be_set_all_at_once_and_survive_a_restart() {
    let (site, run, handle) = site_with_many_keys().await;
    // Control bytes take six times their size in JSON.
    let value = "\u{1}".repeat(MAX_VALUE);
    const { assert!(KEYS * MAX_VALUE > MAX_BATCH) };
    let sets = (0..KEYS).map(|n| handle.set(ann(), key(&format!("web.1:p{n}")), Some(value.clone())));
    for set in join_all(sets).await {
        set.expect("set");
    }
    let loaded = site.load(run).await;
    for n in 0..KEYS {
        assert_eq!(loaded.value(&key(&format!("web.1:p{n}"))).ok().as_ref(), Some(&value), "p{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_larger_than_a_value_is_written_and_read() {
    let (site, run, handle) = site_with_many_keys().await;
    for n in 0..KEYS {
        let value = format!("{n}").repeat(MAX_VALUE / 2);
        handle.set(ann(), key(&format!("web.1:p{n}")), Some(value)).await.expect("set");
    }
    let events = site.load(run).await.seq;
    for n in events..crate::drive::snapshot::EVERY {
        handle.set(ann(), key("web.1:greeting"), Some(n.to_string())).await.expect("set");
    }
    // Answered in a later turn: the snapshot of the one before is there.
    handle.set(ann(), key("web.1:greeting"), Some("last".to_owned())).await.expect("set");
    let loaded = site.load(run).await;
    let parts = site.entries(run).await - usize::try_from(loaded.seq).expect("few");
    assert!(parts > 3, "a head and {} parts", parts - 1);
    assert_eq!(loaded.value(&key("web.1:greeting")).as_deref(), Ok("last"));
    assert_eq!(loaded.value(&key("web.1:p23")).map(|value| value.len()), Ok(MAX_VALUE));
}
