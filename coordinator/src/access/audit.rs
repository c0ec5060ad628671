//! Who did what: entries that are added and never changed.
//!
//! One for each request that changes something, or was refused to, but for what the events of a run tell already
//! with its author: parameters, barriers, leads. And for each login, secret shown in clear, and copy of the store.
//! An entry is durable before the request is answered; a crash in between may lose it, never what was done.
//! Nothing of a body is in an entry.

use std::{fmt, sync::Arc};

use slipstream_shared::{api::AuditEntry, brief::bounded};

use super::User;
use crate::{
    run::view::timestamp,
    seam::{Millis, Seam},
    store::{Backend, Batch, StoreError, layout},
};

/// The most bytes of a text in an entry.
const LONGEST: usize = 256;

/// Entries read from the store at once.
const PAGE: usize = 500;

/// How many entries one question looks at; whoever asks goes on from there.
const LOOKED_AT: usize = 20_000;

/// What is on record.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn Backend>,
    seam: Seam,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

/// What is asked for; what is not said does not matter.
#[derive(Debug, Default)]
pub struct Filter {
    /// Behind the entry with this id.
    pub after: Option<String>,
    /// From this time on.
    pub since: Option<Millis>,
    /// Before this time.
    pub until: Option<Millis>,
    /// Of this user.
    pub user: Option<String>,
    /// Of this kind: the name of a route.
    pub action: Option<String>,
    /// About this.
    pub on: Option<String>,
    /// Only what was refused or failed.
    pub failed: bool,
}

/// A page of entries.
#[derive(Debug)]
pub struct Entries {
    /// Oldest first.
    pub items: Vec<AuditEntry>,
    /// Where to go on; none: that was all.
    pub next: Option<String>,
}

impl Audit {
    /// Those in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Backend>, seam: Seam) -> Self {
        Audit { store, seam }
    }

    /// Puts an entry on record; its id and time are given here. Durable when this returns.
    ///
    /// # Errors
    /// The store failed.
    pub async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let now = self.seam.now();
        let mut random = [0; 4];
        self.seam.fill(&mut random);
        let (key, id) = (layout::audit(now, random), format!("{now:013}-{}", crate::pki::hex(&random)));
        let short = |text: String| bounded(&text, LONGEST);
        let entry = AuditEntry {
            id,
            at: timestamp(now),
            user: entry.user.map(short),
            address: short(entry.address),
            action: short(entry.action),
            on: entry.on.map(short),
            ..entry
        };
        let value = serde_json::to_vec(&entry).expect("plain data");
        self.store.append(Batch { expect: vec![(key.clone(), None)], writes: vec![(key, Some(value))] }).await
    }

    /// The entries that fit and that somebody may see, oldest first: administrators all, others their own.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, asker: &User, filter: &Filter, limit: usize) -> Result<Entries, StoreError> {
        let mut after = match (&filter.after, filter.since) {
            (Some(id), _) => Some(key_of(id)),
            (None, since) => since.map(|since| layout::audit(since.saturating_sub(1), [0xff; 4])),
        };
        let mut items: Vec<AuditEntry> = Vec::new();
        let (mut looked, mut last) = (0, None);
        loop {
            let page = self.store.scan(layout::AUDIT, after.as_deref(), PAGE).await?;
            let Some((end, _)) = page.last() else { return Ok(Entries { items, next: None }) };
            after = Some(end.clone());
            for (_, value) in page {
                let damaged = |e: serde_json::Error| StoreError::Damaged {
                    path: "the audit trail".into(),
                    reason: e.to_string(),
                };
                let entry: AuditEntry = serde_json::from_slice(&value).map_err(damaged)?;
                if filter.until.is_some_and(|until| entry.at >= timestamp(until)) {
                    return Ok(Entries { items, next: None });
                }
                if items.len() == limit || looked == LOOKED_AT {
                    return Ok(Entries { items, next: last });
                }
                looked += 1;
                last = Some(entry.id.clone());
                if fits(asker, filter, &entry) {
                    items.push(entry);
                }
            }
        }
    }
}

fn fits(asker: &User, filter: &Filter, entry: &AuditEntry) -> bool {
    let is =
        |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
    let about = |wanted: &String| entry.on.as_ref().is_some_and(|on| on.split(' ').any(|word| word == wanted));
    (asker.admin || entry.user.as_ref() == Some(&asker.name))
        && is(&filter.user, entry.user.as_deref())
        && is(&filter.action, Some(&entry.action))
        && filter.on.as_ref().is_none_or(about)
        && (!filter.failed || entry.status >= 400)
}

/// The key of an entry with this id; what is no id is before all of them.
fn key_of(id: &str) -> Vec<u8> {
    let parts = id.split_once('-').and_then(|(at, random)| {
        let random = u32::from_str_radix(random, 16).ok()?;
        Some((at.parse().ok()?, random.to_be_bytes()))
    });
    let (at, random) = parts.unwrap_or_default();
    layout::audit(at, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryBackend;

    fn entry(user: &str, action: &str, on: &str, status: u16) -> AuditEntry {
        AuditEntry {
            id: String::new(),
            at: timestamp(0),
            user: Some(user.to_owned()),
            token: None,
            address: "192.0.2.1".to_owned(),
            action: action.to_owned(),
            on: Some(on.to_owned()),
            status,
            code: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entries_are_found_by_who_what_when_and_page_by_page() {
        let seam = Seam::seeded(1);
        let audit = Audit::new(Arc::new(MemoryBackend::new()), seam.clone());
        let began = seam.now();
        for n in 0..1200 {
            tokio::time::advance(std::time::Duration::from_millis(10)).await;
            let user = if n % 3 == 0 { "ann" } else { "bob" };
            let action = if n % 2 == 0 { "launch_run" } else { "save_module" };
            audit
                .record(entry(user, action, &format!("m{} {n}", n % 5), if n % 7 == 0 { 403 } else { 201 }))
                .await
                .expect("recorded");
        }
        let admin = User { name: "root".to_owned(), admin: true, ..User::default() };
        let all = async |who: &User, filter: &mut Filter| {
            let mut found = Vec::new();
            loop {
                let page = audit.list(who, filter, 100).await.expect("listed");
                assert!(page.items.len() <= 100);
                found.extend(page.items);
                match page.next {
                    Some(next) => filter.after = Some(next),
                    None => return found,
                }
            }
        };
        let everything = all(&admin, &mut Filter::default()).await;
        assert_eq!(everything.len(), 1200);
        assert!(everything.windows(2).all(|pair| pair[0].at < pair[1].at), "oldest first, none twice");
        let ann = User { name: "ann".to_owned(), ..User::default() };
        assert_eq!(all(&ann, &mut Filter::default()).await.len(), 400, "others see their own");
        let none = &mut Filter { user: Some("bob".to_owned()), ..Filter::default() };
        assert_eq!(all(&ann, none).await.len(), 0);
        for (mut filter, count) in [
            (Filter { action: Some("launch_run".to_owned()), user: Some("ann".to_owned()), ..Filter::default() }, 200),
            (Filter { on: Some("m3".to_owned()), ..Filter::default() }, 240),
            (Filter { on: Some("7".to_owned()), ..Filter::default() }, 1),
            (Filter { failed: true, ..Filter::default() }, 172),
            (Filter { since: Some(began + 6010), ..Filter::default() }, 600),
            (Filter { until: Some(began + 6010), ..Filter::default() }, 600),
        ] {
            assert_eq!(all(&admin, &mut filter).await.len(), count, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn texts_in_entries_are_bounded() {
        let audit = Audit::new(Arc::new(MemoryBackend::new()), Seam::real());
        audit.record(entry(&"u".repeat(5000), "a", &"o".repeat(5000), 200)).await.expect("recorded");
        let admin = User { admin: true, ..User::default() };
        let page = audit.list(&admin, &Filter::default(), 10).await.expect("listed");
        assert!(serde_json::to_string(&page.items).expect("json").len() < 1200, "{:?}", page.items);
    }
}
