//! Who may do what with modules: what is kept with the newest version of each, and what follows from it.

use serde::{Deserialize, Serialize};
use slipstream_shared::{
    api::{ShareRequest, SharingInfo},
    module::ModuleRef,
    sharing::{Grants, Right, Rights},
};

use super::{ATTEMPTS, Catalogue, CatalogueError, Heading};
use crate::{
    access::{User, permission::Thing},
    store::{Backend, Batch, StoreError, layout},
};

/// The catalogue, shown only as somebody may see it.
#[derive(Debug, Clone)]
pub struct Guarded(Catalogue);

impl Guarded {
    /// The catalogue kept in `backend`.
    #[must_use]
    pub fn new(backend: std::sync::Arc<dyn Backend>) -> Self {
        Guarded(Catalogue::new(backend))
    }

    /// The catalogue as somebody sees it: what they may not read does not exist in it.
    #[must_use]
    pub fn seen_by(&self, user: &User) -> Catalogue {
        Catalogue { viewer: Some(user.clone()), ..self.0.clone() }
    }
}

/// Whose a module is, and what others may do with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sharing {
    pub(super) owner: String,
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub(super) grants: Grants,
    /// What runs begin with.
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub(super) runs: Grants,
}

/// What is kept of a module beside its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Its newest version.
    #[serde(flatten)]
    pub(super) newest: Heading,
    /// Absent where the module is older than permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sharing: Option<Sharing>,
}

impl Head {
    pub(super) fn new(newest: Heading, sharing: Sharing) -> Self {
        Head { newest, sharing: Some(sharing) }
    }

    /// Whose the module is. One that is older than permissions belongs to who saved it last.
    pub(super) fn sharing(&self) -> Sharing {
        let unsaid = || Sharing { owner: self.newest.author.clone(), ..Sharing::default() };
        self.sharing.clone().unwrap_or_else(unsaid)
    }
}

impl Catalogue {
    /// What the viewer may do with a module.
    pub(super) fn rights(&self, path: &str, sharing: &Sharing) -> Rights {
        let Some(viewer) = &self.viewer else { return Rights::ALL };
        viewer.rights(Thing::Module(path), &sharing.owner, &sharing.grants)
    }

    /// Whether the viewer may do that with a module: what they may not read does not exist.
    pub(super) async fn allow(&self, path: &str, right: Right) -> Result<(Vec<u8>, Head), CatalogueError> {
        let found = self.backend.get(&layout::module_head(path)).await?;
        let found = found.map(|bytes| super::head(path, &bytes).map(|head| (bytes, head))).transpose()?;
        let rights = found.as_ref().map(|(_, head)| self.rights(path, &head.sharing())).unwrap_or_default();
        match found {
            Some(found) if rights.has(right) => Ok(found),
            Some(_) if rights.has(Right::Read) => Err(CatalogueError::Denied { path: path.to_owned(), right }),
            _ => Err(CatalogueError::NotFound { path: path.to_owned(), near: self.near(path).await? }),
        }
    }

    /// Whether the viewer may save a module of this path, and who may do what with it then: as before; a new one
    /// belongs to its author and inherits the rest from its project.
    pub(super) async fn may_save(
        &self,
        path: &str,
        head: Option<&Head>,
        author: &str,
    ) -> Result<Sharing, CatalogueError> {
        let refused = || CatalogueError::MayNotSave { path: path.to_owned(), author: author.to_owned() };
        if let Some(head) = head {
            let sharing = head.sharing();
            return if self.rights(path, &sharing).has(Right::Edit) { Ok(sharing) } else { Err(refused()) };
        }
        let mut inherited = Sharing::default();
        let mut may = self.is_own_place(path);
        let parents = path.char_indices().rev().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
        for parent in parents {
            if let Some(bytes) = self.backend.get(&layout::module_head(parent)).await? {
                inherited = super::head(parent, &bytes)?.sharing();
                may = self.rights(parent, &inherited).has(Right::Edit);
                break;
            }
        }
        let sharing = Sharing { owner: author.to_owned(), ..inherited };
        if may && self.rights(path, &sharing).has(Right::Edit) { Ok(sharing) } else { Err(refused()) }
    }

    /// Where there is no project, everybody has a place below their own name; administrators are free. So whoever
    /// is refused does not learn whether there is something.
    fn is_own_place(&self, path: &str) -> bool {
        let own = |viewer: &User| viewer.admin || path.split('/').next() == Some(viewer.name.as_str());
        self.viewer.as_ref().is_none_or(own)
    }

    /// Whether the viewer may do that with a module: `path` or `path@version`.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] where they may not even read it, [`CatalogueError::Denied`].
    pub async fn check(&self, reference: &str, right: Right) -> Result<(), CatalogueError> {
        self.allow(&reference.parse::<ModuleRef>()?.path, right).await.map(drop)
    }

    /// Who may do what with a module.
    ///
    /// # Errors
    /// There is none, as far as the viewer may know.
    pub async fn sharing(&self, path: &str) -> Result<SharingInfo, CatalogueError> {
        let (_, head) = self.allow(path, Right::Read).await?;
        Ok(self.info(path, head.sharing()))
    }

    fn info(&self, path: &str, sharing: Sharing) -> SharingInfo {
        let mine = self.rights(path, &sharing);
        SharingInfo { owner: sharing.owner, grants: sharing.grants, runs: Some(sharing.runs), mine }
    }

    /// Changes who may do what with a module.
    ///
    /// # Errors
    /// There is none, or the viewer may not say so; [`CatalogueError::Busy`] when others change it all the time.
    pub async fn share(&self, path: &str, change: &ShareRequest) -> Result<SharingInfo, CatalogueError> {
        for _ in 0..ATTEMPTS {
            let (seen, head) = self.allow(path, Right::Manage).await?;
            let mut sharing = head.sharing();
            let grants = if change.of_runs { &mut sharing.runs } else { &mut sharing.grants };
            grants.change(&change.groups, change.everyone);
            sharing.owner = change.owner.clone().unwrap_or(sharing.owner);
            let key = layout::module_head(path);
            let value = serde_json::to_vec(&Head::new(head.newest, sharing.clone())).expect("it has text keys only");
            let batch = Batch { expect: vec![(key.clone(), Some(seen))], writes: vec![(key, Some(value))] };
            match self.backend.append(batch).await {
                Ok(()) => return Ok(self.info(path, sharing)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CatalogueError::Busy { path: path.to_owned() })
    }
}
