//! Module files on disk: read, with the scripts kept beside them, in the order they depend on each
//! other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use slipstream_shared::{
    api::{self, ModuleInfo},
    client::{Client, ClientError},
    module::{Draft, Problem, Used, files, tree::MAX_SOURCE},
};

use crate::exit::{Exit, fail};

/// A module file, whole.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it is, as the user wrote it.
    pub(crate) file: PathBuf,
    /// Its text with all scripts in it.
    pub(crate) text: String,
    /// Its place in the catalogue.
    pub(crate) name: String,
    /// `image`, `application`, ...
    pub(crate) kind: &'static str,
    /// What it builds on.
    needs: BTreeSet<String>,
}

/// Reads a module file. What is wrong with it beyond its form is for the coordinator to say.
pub(crate) fn read(file: &Path) -> anyhow::Result<Source> {
    let written = text(file)?;
    let wrong = |problems: Vec<Problem>| fail(Exit::Usage, places(file, problems.iter().map(place)));
    let mut contents = BTreeMap::new();
    for reference in files::list(&written).map_err(wrong)? {
        let path = file.parent().unwrap_or(Path::new("")).join(&reference.file);
        let script = fs::read_to_string(&path).map_err(|e| {
            let message = format!("cannot read {}: {e}", path.display());
            fail(Exit::Usage, format!("{}:{}: {message}", file.display(), reference.at))
        })?;
        contents.insert(reference.file, script);
    }
    of(file, files::inline(&written, &contents).map_err(wrong)?)
}

/// A module file whose text is there already.
pub(crate) fn of(file: &Path, text: String) -> anyhow::Result<Source> {
    let wrong = |problems: Vec<Problem>| fail(Exit::Usage, places(file, problems.iter().map(place)));
    let module = Draft::read(&text).map_err(wrong)?.module;
    let needs = module.references().into_iter().map(|(_, reference)| reference.value.path.clone()).collect();
    Ok(Source { file: file.to_owned(), text, kind: module.kind(), needs, name: module.name })
}

/// The text of a module file. One that is larger than any may be is refused before it is read.
pub(crate) fn text(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let size = fs::metadata(file).with_context(|| format!("cannot read {name}"))?.len();
    if size > MAX_SOURCE as u64 {
        return Err(fail(Exit::Usage, format!("{name} has {size} bytes, a module file has at most {MAX_SOURCE}")));
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {name}"))
}

impl Source {
    /// Says all that is wrong with it, as far as that can be seen without a coordinator.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let problems = match Draft::read(&self.text).map(|draft| draft.check(&Used::new())) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(problems)) | Err(problems) => problems,
        };
        Err(fail(Exit::Usage, places(&self.file, problems.iter().map(place))))
    }

    /// Says all that the coordinator would refuse, which knows other modules and clouds.
    pub(crate) async fn check_on(&self, client: &Client) -> anyhow::Result<()> {
        let problems = client.check_module(&self.text).await?;
        if problems.is_empty() {
            return Ok(());
        }
        let place = |p: &api::FileProblem| format!("{}:{}: {}", p.line, p.column, p.message);
        Err(fail(Exit::Usage, places(&self.file, problems.iter().map(place))))
    }

    /// Saves it in the catalogue.
    pub(crate) async fn put(&self, client: &Client, comment: &str, base: Option<u32>) -> anyhow::Result<ModuleInfo> {
        client.save_module(&self.text, comment, base).await.map_err(|error| match &error {
            ClientError::Problem(problem) if !problem.problems.is_empty() => {
                let place = |p: &api::FileProblem| format!("{}:{}: {}", p.line, p.column, p.message);
                fail(Exit::Usage, places(&self.file, problem.problems.iter().map(place)))
            }
            _ => anyhow::Error::new(error).context(format!("cannot save {}", self.file.display())),
        })
    }
}

/// Puts what is built on before what builds on it.
pub(crate) fn in_order(mut sources: Vec<Source>) -> Vec<Source> {
    let rank =
        |source: &Source| ["project", "image", "component", "application"].iter().position(|k| *k == source.kind);
    sources.sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
    let mut ordered: Vec<Source> = Vec::new();
    while !sources.is_empty() {
        let waiting: BTreeSet<String> = sources.iter().map(|s| s.name.clone()).collect();
        let is_free = |s: &Source| s.needs.iter().all(|need| need == &s.name || !waiting.contains(need));
        // In a circle nobody is free: then the coordinator says what is wrong with the first one.
        let next = sources.iter().position(is_free).unwrap_or(0);
        ordered.push(sources.remove(next));
    }
    ordered
}

/// The module files of a folder. Others, those without `slipstream:`, are not ours.
pub(crate) fn folder(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read the folder {}", folder.display()))?.path();
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text = text(&path)?;
        if text.lines().any(|line| line.starts_with("slipstream:") || line.starts_with("slipstream =")) {
            sources.push(read(&path)?);
        }
    }
    Ok(sources)
}

fn place(problem: &Problem) -> String {
    problem.to_string()
}

/// `file.yaml:3:1: what`, one on each line.
pub(crate) fn places(file: &Path, problems: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = problems.map(|p| format!("{}:{p}", file.display())).collect();
    format!("{} cannot be used as it is\n{}", file.display(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("written");
        path
    }

    #[test]
    fn scripts_beside_the_file_become_part_of_it_and_mistakes_have_a_place() {
        let folder = tempfile::tempdir().expect("folder");
        written(folder.path(), "deploy.sh", "#!/bin/sh\necho \"hi\"\n");
        let component =
            "slipstream: 1\nkind: component\nname: apps/web\nimage: images/debian\ndeploy: { file: deploy.sh }\n";
        let source = read(&written(folder.path(), "web.yaml", component)).expect("read");
        assert!(source.text.contains("echo"), "{}", source.text);
        assert_eq!((source.name.as_str(), source.kind), ("apps/web", "component"));
        source.check().expect("nothing wrong");

        let file = written(folder.path(), "bad.yaml", &component.replace("image:", "imaeg:"));
        let text = read(&file).expect("has a form").check().expect_err("a typing error").to_string();
        assert!(text.contains(&format!("{}:4:1: `imaeg` is not a key", file.display())), "{text}");
        fs::remove_file(folder.path().join("deploy.sh")).expect("there");
        let text = read(&folder.path().join("web.yaml")).expect_err("no script").to_string();
        assert!(text.contains("web.yaml:5:"), "{text}");
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_dependency() {
        let folder = tempfile::tempdir().expect("folder");
        let text = |kind: &str, name: &str, rest: &str| format!("slipstream: 1\nkind: {kind}\nname: {name}\n{rest}");
        written(folder.path(), "1.yaml", &text("application", "a/app", "nodes: { web: { use: a/child } }\n"));
        written(folder.path(), "2.yaml", &text("component", "a/child", "image: a/parent\n"));
        written(folder.path(), "3.yml", &text("component", "a/parent", "image: a/image\n"));
        written(folder.path(), "4.yaml", &text("image", "a/image", "native: { local: x }\n"));
        written(folder.path(), "compose.yaml", "services: {}\n");
        let names: Vec<String> =
            in_order(super::folder(folder.path()).expect("read")).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["a/image", "a/parent", "a/child", "a/app"]);
    }
}
