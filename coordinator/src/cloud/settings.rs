//! Opens configured clouds: finds the kind, refuses settings it does not know, makes the connector.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{CloudError, Connector, KINDS};
use crate::seam::Seam;

/// What a cloud is given besides its settings.
#[derive(Debug, Clone)]
pub struct CloudEnv {
    /// A folder of its own.
    pub data: PathBuf,
    /// Clock, randomness and tasks.
    pub seam: Seam,
    /// Tells machines of this coordinator from those of others.
    pub coordinator_id: String,
}

/// Makes the connector of the cloud of that name.
pub(super) type Constructor = fn(&str, &toml::Table, &CloudEnv) -> Result<Arc<dyn Connector>, CloudError>;

/// One kind of cloud.
#[derive(Debug)]
pub struct Kind {
    /// As in the configuration: `kind = "process"`.
    pub name: &'static str,
    /// The settings it knows.
    pub keys: &'static [&'static str],
    /// Makes a connector.
    pub(super) open: Constructor,
}

/// The settings every kind has; the configuration reads them, not the connector.
const COMMON: &[&str] = &["kind"];

/// Makes the connector of the cloud `name` from its table in the configuration.
///
/// # Errors
/// An unknown kind, an unknown setting, or one with a wrong value.
pub fn open(name: &str, kind: &str, table: &toml::Table, env: &CloudEnv) -> Result<Arc<dyn Connector>, CloudError> {
    let names = || KINDS.iter().map(|kind| kind.name);
    let found = KINDS.iter().find(|known| known.name == kind).ok_or_else(|| CloudError::Invalid {
        what: format!("cloud `{name}` has the unknown kind `{kind}`"),
        remedy: suggestion(kind, names()),
    })?;
    let known = || found.keys.iter().chain(COMMON).copied();
    if let Some(key) = table.keys().find(|key| !known().any(|known| known == *key)) {
        return Err(CloudError::Invalid {
            what: format!("cloud `{name}` of kind `{kind}` has no setting `{key}`"),
            remedy: suggestion(key, known()),
        });
    }
    (found.open)(name, table, env)
}

/// Reads a text from the settings of a cloud.
pub(super) fn text<'a>(cloud: &str, table: &'a toml::Table, key: &str) -> Result<Option<&'a str>, CloudError> {
    let wrong = |value: &toml::Value| CloudError::Invalid {
        what: format!("`{key}` of cloud `{cloud}` is {} {value}", value.type_str()),
        remedy: format!("write it as text: {key} = \"...\""),
    };
    table.get(key).map(|value| value.as_str().ok_or_else(|| wrong(value))).transpose()
}

/// Reads an absolute path from the settings of a cloud: what a relative one means depends on where the
/// coordinator was started.
pub(super) fn path(cloud: &str, table: &toml::Table, key: &str) -> Result<Option<PathBuf>, CloudError> {
    match text(cloud, table, key)?.map(Path::new) {
        Some(path) if path.is_relative() => Err(CloudError::Invalid {
            what: format!("`{key}` of cloud `{cloud}` is the relative path {}", path.display()),
            remedy: "write the whole path, from /".to_owned(),
        }),
        path => Ok(path.map(Path::to_owned)),
    }
}

/// What was probably meant, else all there is.
fn suggestion<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let nearest = known.clone().min_by_key(|known| distance(given, known));
    match nearest {
        Some(nearest) if distance(given, nearest) <= 2.max(given.len() / 3) => format!("did you mean `{nearest}`?"),
        _ => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// How many letters must be inserted, removed or changed to turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: &str, settings: &str) -> String {
        let env = CloudEnv { data: "/nowhere".into(), seam: Seam::real(), coordinator_id: "c".into() };
        open("local", kind, &settings.parse().expect("TOML"), &env).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_was_meant() {
        assert_eq!(refusal("proces", ""), "cloud `local` has the unknown kind `proces` (did you mean `process`?)");
        assert_eq!(
            refusal("process", "agnet = '/a'"),
            "cloud `local` of kind `process` has no setting `agnet` (did you mean `agent`?)"
        );
        assert_eq!(
            refusal("process", "bandwidth = 3"),
            "cloud `local` of kind `process` has no setting `bandwidth` (there are: agent, kind)"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_form_it_has() {
        assert_eq!(
            refusal("process", "agent = 3"),
            "`agent` of cloud `local` is integer 3 (write it as text: agent = \"...\")"
        );
        assert_eq!(
            refusal("process", "agent = 'bin/agent'"),
            "`agent` of cloud `local` is the relative path bin/agent (write the whole path, from /)"
        );
    }
}
