//! Stand-in until `catalogue/` lands: no modules.

use slipstream_shared::{
    api::{FileProblem, LaunchRequest, ModuleInfo},
    plan::Plan,
};

#[derive(Clone, Debug)]
pub struct Catalogue;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    #[error("no module {path}")]
    NotFound { path: String },
    #[error("the module file has {} problems", .0.len())]
    Invalid(Vec<FileProblem>),
}

impl Catalogue {
    pub fn new(_store: std::sync::Arc<dyn crate::store::Backend>, _seam: crate::seam::Seam) -> Self {
        Catalogue
    }
    pub async fn put(&self, _author: &str, _text: &str) -> Result<ModuleInfo, CatalogueError> {
        Err(CatalogueError::Invalid(Vec::new()))
    }
    pub async fn get(&self, text: &str) -> Result<ModuleInfo, CatalogueError> {
        Err(CatalogueError::NotFound { path: text.to_owned() })
    }
    pub async fn list(&self, _prefix: Option<&str>) -> Result<Vec<ModuleInfo>, CatalogueError> {
        Ok(Vec::new())
    }
    pub async fn resolve(&self, request: &LaunchRequest) -> Result<Plan, CatalogueError> {
        Err(CatalogueError::NotFound { path: request.module.clone() })
    }
}
