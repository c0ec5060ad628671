//! Says what is wrong with a module here: with the modules there are, on the clouds there are. Nothing is stored.

use std::collections::BTreeSet;

use slipstream_shared::module::{Body, Draft, Layers, Problem, Problems, near::did_you_mean};

use super::{Catalogue, CatalogueError, error::invalid};

impl Catalogue {
    /// What a save would refuse, and what a launch would: clouds that are named and are not there, images without an
    /// identifier for a cloud that is named. A save does not refuse these, for clouds come and go.
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] where the text is no module at all; the store failed.
    pub async fn check(&self, source: &str, clouds: &BTreeSet<String>) -> Result<Vec<Problem>, CatalogueError> {
        let mut draft = Draft::read(source).map_err(|problems| invalid("", problems))?;
        let used = self.used(&mut draft).await?;
        let module = match draft.check(&used) {
            Ok(module) => module,
            Err(problems) => return Ok(problems),
        };
        let Body::Application(application) = &module.body else { return Ok(Vec::new()) };
        let mut problems = Problems::default();
        for (name, node) in &application.nodes {
            let layers = Layers::of_node(node, "", &used);
            for cloud in &node.clouds {
                let path = format!("nodes.{name}.cloud");
                let names = || clouds.iter().map(String::as_str);
                if !clouds.contains(&cloud.value) {
                    let hint = did_you_mean(&cloud.value, names())
                        .unwrap_or_else(|| format!("it has: {}", names().collect::<Vec<_>>().join(", ")));
                    let message = format!("the coordinator has no cloud `{}`", cloud.value);
                    problems.add(cloud.at, &path, message, Some(hint));
                } else if layers.native(&cloud.value).is_none() {
                    let message = format!("the image of `{name}` has no identifier for the cloud `{}`", cloud.value);
                    let hint = format!("it has one for: {}", layers.clouds().join(", "));
                    problems.add(cloud.at, &path, message, Some(hint));
                }
            }
        }
        Ok(problems.sorted())
    }
}
