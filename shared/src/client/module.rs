//! What can be done with modules.

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::{Client, ClientError, escape, json};
use crate::api::{FileProblem, ModuleAction, ModuleInfo, Page};

impl Client {
    /// Saves a module as a new version of itself.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all methods.
    pub async fn put_module(&self, text: &str) -> Result<ModuleInfo, ClientError> {
        self.save_module(text, "", None).await
    }

    /// The same with the reason, and with the version that the change was begun with: it is refused when somebody
    /// has saved another one since.
    pub async fn save_module(&self, text: &str, comment: &str, base: Option<u32>) -> Result<ModuleInfo, ClientError> {
        let path = match comment {
            "" => "/modules".to_owned(),
            comment => format!("/modules?comment={}", escape(comment)),
        };
        let mut request = self.request(Method::PUT, &path, Bytes::copy_from_slice(text.as_bytes()))?;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        let base = base.and_then(|base| HeaderValue::from_str(&format!("\"{base}\"")).ok());
        base.map(|base| request.headers.insert(header::IF_MATCH, base));
        self.read(self.send(request).await?, Method::PUT, "/modules").await
    }

    /// All that saving or launching a module would refuse.
    pub async fn check_module(&self, text: &str) -> Result<Vec<FileProblem>, ClientError> {
        let mut request = self.request(Method::POST, "/check-module", Bytes::copy_from_slice(text.as_bytes()))?;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        let page: Page<FileProblem> = self.read(self.send(request).await?, Method::POST, "/check-module").await?;
        Ok(page.items)
    }

    /// The newest versions of all modules for which these conditions hold: the query of the route.
    pub async fn modules(&self, conditions: &[(&str, &str)]) -> Result<Vec<ModuleInfo>, ClientError> {
        let query: Vec<String> = conditions.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        self.all(&format!("/modules?{}", query.join("&"))).await
    }

    /// A module: `path`, `path@version` or `path@published`.
    pub async fn module(&self, path: &str) -> Result<ModuleInfo, ClientError> {
        self.get(&format!("/modules/{}", escape(path))).await
    }

    /// All versions of a module, the newest first.
    pub async fn module_versions(&self, path: &str) -> Result<Vec<ModuleInfo>, ClientError> {
        self.all(&format!("/versions/{}", escape(path))).await
    }

    /// Publishes, copies or moves a module, or brings it back.
    pub async fn change_module(&self, path: &str, action: &ModuleAction) -> Result<ModuleInfo, ClientError> {
        self.call(Method::POST, &format!("/modules/{}", escape(path)), json(action), None).await
    }

    /// Deletes a module; its versions are kept.
    pub async fn delete_module(&self, path: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &format!("/modules/{}", escape(path)), Bytes::new()).await
    }
}
