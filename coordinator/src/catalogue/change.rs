//! What is done to a module as a whole: published, deleted, copied, moved. Its versions never change.

use slipstream_shared::{
    api::{ModuleAction, ModuleGone},
    module::{ModuleRef, Version, path, rewrite},
};

use super::{
    ATTEMPTS, Catalogue, CatalogueError, Stored,
    head::{self, Head, time},
    record,
};
use crate::{
    seam::Millis,
    store::{Batch, StoreError, layout},
};

impl Catalogue {
    /// Does what is asked of a module; the version that is then the newest, or the one made by it.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], [`CatalogueError::Gone`], [`CatalogueError::NoVersion`];
    /// [`CatalogueError::Taken`] where there is something at the new path.
    pub async fn act(
        &self,
        path: &str,
        action: &ModuleAction,
        by: &str,
        now: Millis,
    ) -> Result<Stored, CatalogueError> {
        path::check(path)?;
        match action {
            ModuleAction::Publish { version } => self.publish(path, *version).await?,
            ModuleAction::Unpublish {} => self.change(path, |head| Ok(Head { published: None, ..head })).await?,
            ModuleAction::Undelete {} => self.change_any(path, |head| Ok(Head { gone: None, ..head })).await?,
            ModuleAction::Copy { to, version } => return self.copy(path, *version, to, by, now).await,
            ModuleAction::Move { to } => {
                self.rename(path, to, by, now).await?;
                return self.get(to).await;
            }
        }
        self.get(path).await
    }

    /// Deletes a module: it is not listed, not found and not launched any more. Its versions are kept.
    ///
    /// # Errors
    /// As [`Catalogue::act`].
    pub async fn delete(&self, path: &str, by: &str, now: Millis) -> Result<(), CatalogueError> {
        path::check(path)?;
        let gone = ModuleGone { by: by.to_owned(), at: time(now), to: None };
        self.change(path, |head| Ok(Head { gone: Some(gone.clone()), ..head })).await
    }

    async fn publish(&self, path: &str, version: Option<u32>) -> Result<(), CatalogueError> {
        self.change(path, |head| {
            let newest = head.heading.version;
            let version = version.unwrap_or(newest);
            if version == 0 || version > newest {
                return Err(CatalogueError::NoVersion { path: path.to_owned(), version, newest });
            }
            Ok(Head { published: Some(version), ..head })
        })
        .await
    }

    /// Changes what is known of a module that is there.
    async fn change(
        &self,
        path: &str,
        change: impl Fn(Head) -> Result<Head, CatalogueError> + Send + Sync,
    ) -> Result<(), CatalogueError> {
        self.change_any(path, |head| match head.gone {
            Some(gone) => Err(CatalogueError::Gone { path: path.to_owned(), gone }),
            None => change(head),
        })
        .await
    }

    /// The same, also for one that is gone.
    async fn change_any(
        &self,
        path: &str,
        change: impl Fn(Head) -> Result<Head, CatalogueError> + Send + Sync,
    ) -> Result<(), CatalogueError> {
        for _ in 0..ATTEMPTS {
            let Some((bytes, old)) = self.head(path).await? else {
                return Err(CatalogueError::NotFound { path: path.to_owned(), near: self.near(path).await? });
            };
            let new = change(old.clone())?;
            if new == old {
                return Ok(());
            }
            match self.backend.append(head::change(path, Some((bytes, old)), &new)).await {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(CatalogueError::Busy { path: path.to_owned() })
    }

    async fn copy(
        &self,
        path: &str,
        version: Option<u32>,
        to: &str,
        by: &str,
        now: Millis,
    ) -> Result<Stored, CatalogueError> {
        path::check(to)?;
        let version = version.map_or(Version::Newest, Version::Number);
        let from = self.find(&ModuleRef { path: path.to_owned(), version }).await?;
        let there = self.head(to).await?.map(|(_, head)| head);
        if there.as_ref().is_some_and(|head| head.gone.is_none()) {
            return Err(CatalogueError::Taken { path: to.to_owned() });
        }
        let refused = |reason| CatalogueError::Rename { module: from.to_string(), reason };
        let source = rewrite::replace(&from.source, &["name"], to).map_err(refused)?;
        let base = there.map_or(0, |head| head.heading.version);
        match self.save(&source, by, &format!("copy of {from}"), Some(base), now).await {
            Err(CatalogueError::Changed { path, .. }) => Err(CatalogueError::Taken { path }),
            other => other,
        }
    }

    /// Gives a module another path. Its versions are written there first, where nobody finds them without a head;
    /// then both heads change at once. What is left of a move that was cut off is overwritten by the next save.
    async fn rename(&self, path: &str, to: &str, by: &str, now: Millis) -> Result<(), CatalogueError> {
        path::check(to)?;
        for _ in 0..ATTEMPTS {
            let head = self.there(path).await?;
            if self.head(to).await?.is_some() {
                return Err(CatalogueError::Taken { path: to.to_owned() });
            }
            for version in 1..=head.heading.version {
                let stored = self.version(path, version).await?;
                let refused = |reason| CatalogueError::Rename { module: stored.to_string(), reason };
                let source = rewrite::replace(&stored.source, &["name"], to).map_err(refused)?;
                let key = layout::module_version(to, version);
                let write = (key, Some(record(&stored.heading, &source)));
                self.backend.append(Batch { expect: vec![], writes: vec![write] }).await?;
            }
            let Some((bytes, old)) = self.head(path).await?.filter(|(_, now)| *now == head) else { continue };
            let gone = Some(ModuleGone { by: by.to_owned(), at: time(now), to: Some(to.to_owned()) });
            let mut batch = head::change(to, None, &head);
            let left = head::change(path, Some((bytes, old)), &Head { gone, published: None, ..head });
            batch.expect.extend(left.expect);
            batch.writes.extend(left.writes);
            match self.backend.append(batch).await {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(CatalogueError::Busy { path: path.to_owned() })
    }
}
