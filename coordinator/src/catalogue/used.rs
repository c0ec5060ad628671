//! Follows `use` and `image`: the modules a module is made of.

use std::sync::Arc;

use slipstream_shared::module::{Draft, Found, ModuleRef, Problems, Used};

use super::{Catalogue, CatalogueError};

/// More modules than this do not build on each other.
const MOST_LAYERS: usize = 32;

/// Why what a reference names cannot be built on.
enum Broken {
    /// For the person who wrote the reference: a message, and what to do about it.
    Refused(String, Option<String>),
    /// The store failed.
    Failed(CatalogueError),
}

impl From<CatalogueError> for Broken {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::NotFound { path, near } => Broken::Refused(
                format!("there is no module `{path}`"),
                near.map(|near| format!("did you mean `{near}`?")),
            ),
            CatalogueError::NoVersion { path, version, newest } => {
                Broken::Refused(format!("`{path}` has no version {version}"), Some(format!("its newest is {newest}")))
            }
            CatalogueError::NotPublished { path, newest } => Broken::Refused(
                format!("no version of `{path}` is published"),
                Some(format!("its newest is {newest}; publish one, or name one")),
            ),
            gone @ CatalogueError::Gone { .. } => Broken::Refused(gone.to_string(), None),
            other => Broken::Failed(other),
        }
    }
}

impl Catalogue {
    /// What the module of a draft uses. References that lead nowhere become problems of the draft.
    pub(super) async fn used(&self, draft: &mut Draft) -> Result<Used, CatalogueError> {
        let mut used = Used::new();
        let mut problems = Problems::default();
        for (path, reference) in draft.module.references() {
            let key = reference.value.to_string();
            if used.contains_key(&key) {
                continue;
            }
            match self.chain(&draft.module.name, &reference.value).await {
                Ok(chain) => {
                    used.insert(key, chain);
                }
                Err(Broken::Refused(message, hint)) => problems.add(reference.at, &path, message, hint),
                Err(Broken::Failed(error)) => return Err(error),
            }
        }
        draft.problems.extend(problems);
        Ok(used)
    }

    /// The module a reference names, after all it builds on: parent first. `from` is the module that has
    /// the reference; none may be met twice.
    async fn chain(&self, from: &str, reference: &ModuleRef) -> Result<Vec<Found>, Broken> {
        let mut way = vec![from.to_owned()];
        let mut chain = Vec::new();
        let mut next = Some(reference.clone());
        while let Some(reference) = next {
            let around = way.contains(&reference.path);
            way.push(reference.path.clone());
            if around {
                let message = format!("modules build on each other in a circle: {}", way.join(" -> "));
                return Err(Broken::Refused(message, None));
            }
            if way.len() > MOST_LAYERS {
                return Err(Broken::Refused(format!("more than {MOST_LAYERS} modules build on each other"), None));
            }
            let found = self.layer(&reference).await?;
            next = found.module.component().and_then(|c| c.parent.as_ref()).map(|p| p.value.clone());
            chain.push(found);
        }
        chain.reverse();
        Ok(chain)
    }

    /// An image or a component.
    async fn layer(&self, reference: &ModuleRef) -> Result<Found, Broken> {
        let stored = self.find(reference).await?;
        let origin = stored.to_string();
        let module = match Draft::read(&stored.source) {
            Ok(draft) if draft.problems.is_empty() => draft.module,
            // It was fine when it was saved: this version of the program reads the format differently.
            _ => {
                let hint = format!("save `{}` again to see why", stored.path);
                return Err(Broken::Refused(format!("`{origin}` cannot be read any more"), Some(hint)));
            }
        };
        if module.component().is_none() {
            let message = format!("`{origin}` is a module of the kind {}", module.kind());
            return Err(Broken::Refused(message, Some("only images and components can be built on".to_owned())));
        }
        Ok(Found { origin, module: Arc::new(module) })
    }
}
