//! Versions, the modules they use, and the plans made of them; the examples of the project included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use slipstream_shared::{
    parameter::ParamType,
    plan::{Category, KeepRunning, Network, NodePlan, Plan, Script},
};

use super::*;
use crate::store::MemoryBackend;

/// A store in memory. `conflicts` is how many batches still lose against somebody else.
#[derive(Debug, Default)]
struct Memory {
    store: MemoryBackend,
    conflicts: AtomicU32,
}

impl Memory {
    /// Puts bytes there past the catalogue.
    async fn plant(&self, key: Vec<u8>, value: Vec<u8>) {
        self.store.append(Batch { expect: vec![], writes: vec![(key, Some(value))] }).await.unwrap();
    }
}

#[async_trait]
impl Backend for Memory {
    async fn append(&self, batch: Batch) -> Result<(), StoreError> {
        let lost = self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        match batch.expect.first().filter(|_| lost) {
            Some((key, _)) => Err(StoreError::Conflict { key: key.clone() }),
            None => self.store.append(batch).await,
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.store.scan(prefix, after, limit).await
    }

    async fn delete_range(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.store.delete_range(prefix).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

fn empty() -> Catalogue {
    Catalogue::new(Arc::new(Memory::default()))
}

/// Puts the three lines before a body that every module has.
fn text(kind: &str, name: &str, body: &str) -> String {
    format!("slipstream: 1\nkind: {kind}\nname: {name}\n{body}\n")
}

/// A catalogue with these modules, each by kind, name and body.
async fn with(modules: &[(&str, &str, &str)]) -> Catalogue {
    let catalogue = empty();
    for (kind, name, body) in modules {
        catalogue.put(&text(kind, name, body), "ada", "", 1).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    catalogue
}

const BASE: (&str, &str, &str) =
    ("image", "images/base", "native: {local: base, exo: '7'}\nplatform: debian\nlogin: admin");

async fn refused(catalogue: &Catalogue, kind: &str, name: &str, body: &str) -> Vec<String> {
    match catalogue.put(&text(kind, name, body), "ada", "", 1).await {
        Err(CatalogueError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_change_is_a_version_and_no_change_is_none() {
    let catalogue = empty();
    let first = text("project", "apps", "title: One");
    let stored = catalogue.put(&first, "ada", "begin", 1000).await.unwrap();
    assert_eq!((stored.version, stored.created, stored.to_string().as_str()), (1, true, "apps@1"));
    let again = catalogue.put(&first, "bob", "again", 2000).await.unwrap();
    assert_eq!((again.version, again.created, again.heading.author.as_str()), (1, false, "ada"));
    let second = catalogue.put(&text("project", "apps", "title: Two"), "bob", "", 3000).await.unwrap();
    assert_eq!((second.version, second.created), (2, true));
    // Going back to an older text is a change as well.
    assert_eq!(catalogue.put(&first, "ada", "", 4000).await.unwrap().version, 3);

    assert_eq!(catalogue.get("apps@1").await.unwrap().source, first);
    assert_eq!(catalogue.get("apps").await.unwrap().version, 3);
    let versions = catalogue.versions("apps").await.unwrap();
    let shown: Vec<_> = versions.iter().map(|v| (v.version, v.author.as_str(), v.comment.as_str(), v.at)).collect();
    assert_eq!(shown, [(3, "ada", "", 4000), (2, "bob", "", 3000), (1, "ada", "begin", 1000)]);
    let info = second.info();
    assert_eq!((info.kind.as_str(), info.title.as_deref(), info.at.as_millisecond()), ("project", Some("Two"), 3000));
}

#[tokio::test]
async fn modules_are_listed_by_project() {
    let catalogue =
        with(&[("project", "b", ""), ("project", "a", ""), ("project", "a/x", ""), ("project", "ab", "")]).await;
    let all: Vec<String> = catalogue.list(None).await.unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(all, ["a", "a/x", "ab", "b"]);
    let below: Vec<String> = catalogue.list(Some("a")).await.unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(below, ["a/x"]);
}

#[tokio::test]
async fn lists_longer_than_a_page_are_whole() {
    let catalogue = empty();
    for i in 0..=2 * PAGE {
        catalogue.put(&text("project", &format!("p{i}"), ""), "ada", "", 1).await.unwrap();
    }
    assert_eq!(catalogue.list(None).await.unwrap().len(), 2 * PAGE + 1);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_was_meant() {
    let catalogue = with(&[BASE]).await;
    let shown = |result: Result<Stored, CatalogueError>| result.unwrap_err().to_string();
    assert_eq!(
        shown(catalogue.get("images/bsae").await),
        "there is no module `images/bsae` (did you mean `images/base`?)"
    );
    assert_eq!(shown(catalogue.get("zzz").await), "there is no module `zzz`");
    assert_eq!(shown(catalogue.get("images/base@7").await), "`images/base` has no version 7 (its newest is 1)");
    assert_eq!(
        shown(catalogue.get("images/base@x").await),
        "`images/base@x` is not a version of a module: the part after `@` is a number from 1"
    );
    assert_eq!(catalogue.versions("zzz").await.unwrap_err().to_string(), "there is no module `zzz`");
    let long = "x".repeat(5000);
    let result = catalogue.put(&text("project", "a", ""), "ada", &long, 1).await;
    assert_eq!(shown(result), "the comment has 5000 bytes, the limit is 4096");
    let result = catalogue.put("kind: project\nnmae: a\nslipstream: 1\n", "ada", "", 1).await;
    assert_eq!(shown(result), "the module file has 2 problems");
    let result = catalogue.put(&text("project", "a", "count: 1"), "ada", "", 1).await;
    assert!(shown(result).starts_with("`a` has a problem at 4:1: `count` is not a key of a project"));
}

#[tokio::test]
async fn of_two_saves_at_once_both_are_kept() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    memory.conflicts.store(ATTEMPTS - 1, Ordering::SeqCst);
    assert_eq!(catalogue.put(&text("project", "a", ""), "ada", "", 1).await.unwrap().version, 1);
    memory.conflicts.store(ATTEMPTS, Ordering::SeqCst);
    let error = catalogue.put(&text("project", "a", "title: x"), "ada", "", 1).await.unwrap_err();
    assert_eq!(error.to_string(), "others are saving `a` at the same time (look at their version, then save again)");

    let texts: Vec<String> = (0..4).map(|i| text("project", "b", &format!("title: t{i}"))).collect();
    let saves = texts.iter().map(|source| catalogue.put(source, "ada", "", 1));
    let mut versions: Vec<u32> =
        futures_util::future::join_all(saves).await.into_iter().map(|s| s.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_record_that_is_no_module_is_damaged() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    memory.plant(layout::module_head("a"), b"what".to_vec()).await;
    assert_eq!(catalogue.get("a").await.unwrap_err().to_string(), "cannot read `a` from the store");
}

#[tokio::test]
async fn a_module_is_checked_against_those_it_uses() {
    let catalogue = with(&[
        BASE,
        ("project", "folder", ""),
        ("component", "part", "image: images/base\npublish: {port: {}}\ndeploy: x"),
    ])
    .await;
    for (kind, body, shown) in [
        ("component", "image: images/bsae", "4:8: there is no module `images/bsae` (did you mean `images/base`?)"),
        ("component", "image: images/base@2", "4:8: `images/base` has no version 2 (its newest is 1)"),
        (
            "component",
            "image: folder",
            "4:8: `folder@1` is a module of the kind project (only images and components can be built on)",
        ),
        ("component", "image: new", "4:8: modules build on each other in a circle: new -> new"),
        (
            "component",
            "image: part\nenv: {X: \"${prot}\"}",
            "5:10: `${prot}`: there is no parameter `prot` here (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part, params: {prot: 1}}}",
            "4:39: `prot` is not a parameter of `a` (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part}, b: {use: part, env: {X: \"${a.prot}\"}}}",
            "4:49: `${a.prot}`: the node `a` does not publish `prot` (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part, needs: [b.ready]}, b: {use: part, needs: [a.ready]}}",
            "4:32: this waits for itself: deploy of a -> b.ready -> deploy of b -> a.ready -> deploy of a (give one of the values a default, or let the script read it with `ss-get`)",
        ),
    ] {
        assert_eq!(refused(&catalogue, kind, "new", body).await, [shown], "{body}");
    }
}

#[tokio::test]
async fn modules_do_not_build_on_each_other_in_a_circle() {
    let catalogue = with(&[BASE, ("component", "a", "image: images/base"), ("component", "b", "image: a")]).await;
    assert_eq!(
        refused(&catalogue, "component", "a", "image: b").await,
        ["4:8: modules build on each other in a circle: a -> b -> a"]
    );
    for i in 1..32 {
        let parent = if i == 1 { "b".to_owned() } else { format!("c{}", i - 1) };
        let saved =
            catalogue.put(&text("component", &format!("c{i}"), &format!("image: {parent}")), "ada", "", 1).await;
        assert_eq!(saved.is_ok(), i < 30, "{i}");
    }
}

#[tokio::test]
async fn a_version_that_no_longer_reads_is_named() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    let old = catalogue.put(&text("image", "old", "native: {local: x}"), "ada", "", 1).await.unwrap();
    let mut record = serde_json::to_vec(&old.heading).unwrap();
    record.extend_from_slice(b"\nslipstream: 0\nkind: image\nname: old\n");
    memory.plant(layout::module_version("old", 1), record).await;
    assert_eq!(
        refused(&catalogue, "component", "new", "image: old").await,
        ["4:8: `old@1` cannot be read any more (save `old` again to see why)"]
    );
}

async fn resolved(catalogue: &Catalogue, target: &str, options: LaunchOptions) -> Plan {
    catalogue.resolve(target, &options).await.unwrap_or_else(|e| panic!("{e}"))
}

fn on(cloud: &str) -> LaunchOptions {
    LaunchOptions { cloud: BTreeMap::from([("*".to_owned(), cloud.to_owned())]), ..LaunchOptions::default() }
}

fn set(options: LaunchOptions, values: &[(&str, &str)]) -> LaunchOptions {
    LaunchOptions { set: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), ..options }
}

fn node<'p>(plan: &'p Plan, name: &str) -> &'p NodePlan {
    &plan.nodes[&name.parse().unwrap()]
}

fn value(node: &NodePlan, name: &str) -> Option<String> {
    node.params[name].value.as_ref().map(ToString::to_string)
}

const STACK: &str = "image: images/base
params: {who: {default: world}}
publish: {port: {type: port, default: 80}, ready: {type: boolean}}
pre_install: echo parent pre
packages: [curl]
install: echo parent install
deploy: {run: echo parent deploy, within: 5m}
report: echo parent report
env: {PORT: \"${port}\", SELF: parent}
network: private
size: {cpu: 1, ram: 1GiB}";

const TOP: &str = "image: stack@1
packages: {apt: [apache2], dnf: [httpd]}
install: echo child install
deploy: echo child deploy
env: {SELF: child, WHO: \"${who}\"}
size: {cpu: 2}
login: me
ready: {http: \"http://localhost:${port}/\"}";

#[tokio::test]
async fn a_component_runs_its_parents_first_and_its_own_values_win() {
    let catalogue = with(&[BASE, ("component", "stack", STACK), ("component", "top", TOP)]).await;
    let plan = resolved(&catalogue, "top", set(on("exo"), &[("who", "you"), ("machine:port", "8080")])).await;
    assert_eq!((plan.module.as_str(), plan.title.as_str(), plan.category), ("top@1", "top", Category::Machine));
    let machine = node(&plan, "machine");
    assert_eq!((machine.count, machine.cloud.as_str(), machine.image.as_str()), (1, "exo", "7"));
    assert_eq!(
        (machine.component.as_str(), machine.platform.as_deref(), machine.login.as_str()),
        ("top@1", Some("debian"), "me")
    );
    assert_eq!((machine.size.cpu, machine.size.ram, machine.network), (Some(2), Some(1 << 30), Network::Private));
    assert_eq!((value(machine, "who").as_deref(), value(machine, "port").as_deref()), (Some("you"), Some("8080")));
    assert_eq!((value(machine, "ready"), &machine.params["ready"].kind), (None, &ParamType::Boolean));
    assert_eq!(
        machine.params.keys().collect::<Vec<_>>(),
        ["port", "ready", "who"],
        "predefined ones are not in a plan"
    );

    let steps: Vec<_> = machine.steps.iter().map(|s| (s.step.as_str(), s.origin.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("pre_install", "stack@1"),
            ("packages", "stack@1"),
            ("install", "stack@1"),
            ("packages", "top@1"),
            ("install", "top@1"),
            ("deploy", "stack@1"),
            ("deploy", "top@1"),
        ]
    );
    assert_eq!(machine.steps[3].script, Script::Packages(vec!["apache2".to_owned()]));
    assert_eq!((machine.steps[5].within, machine.steps[6].within), (Some(300), None));
    assert_eq!(machine.report.iter().map(|s| s.origin.as_str()).collect::<Vec<_>>(), ["stack@1"]);
    let ready = machine.ready.as_ref().unwrap();
    assert_eq!((ready.within, ready.every), (300, 2));
}

#[tokio::test]
async fn installing_waits_for_nobody() {
    let application = "params: {site: {default: x}, later: {}}
nodes:
  db: {image: images/base, publish: {port: {default: 1}}, deploy: x}
  web:
    image: images/base
    publish: {mine: {}, dsn: {default: \"${db.port}\"}}
    install: x
    deploy: y
    report: z
    needs: [db.ready, \"db[*].deployed\"]
    env: {A: plain, B: \"${db.address}\", C: \"${address}\", D: \"${site}\", E: \"${later}\", F: \"${dsn}\", G: \"${ss.state}\"}";
    let catalogue = with(&[BASE, ("application", "app", application)]).await;
    let plan = resolved(&catalogue, "app", on("local")).await;
    let web = node(&plan, "web");
    let names = |i: usize| web.steps[i].env.keys().map(String::as_str).collect::<String>();
    assert_eq!((names(0).as_str(), names(1).as_str()), ("ACDG", "ABCDEFG"));
    assert_eq!(web.report[0].env.len(), 7);
    assert_eq!((web.steps[0].needs.len(), web.steps[1].needs.len()), (0, 2));
}

const SHOP: &str = "title: Shop
params: {site: {default: A}, who: {required: true, match: '[a-z]+'}}
nodes:
  web: {use: stack, count: {default: 2, min: 1, max: 4}, params: {port: 81}, env: {X: \"${db.address}\"}}
  db: {image: images/base, cloud: [local, exo], publish: {site: {default: own}}}
outputs: {url: \"http://${web[1].address}/\"}
policy: {keep_running: on-error, timeout: 2m}";

#[tokio::test]
async fn an_application_is_planned_with_what_is_chosen() {
    let catalogue = with(&[BASE, ("component", "stack", STACK), ("application", "shop", SHOP)]).await;
    let mut options = set(LaunchOptions::default(), &[("who", "me"), ("ss:site", "B"), ("web:who", "you")]);
    options.default_cloud = Some("exo".to_owned());
    let plan = resolved(&catalogue, "shop@1", options.clone()).await;
    assert_eq!((plan.module.as_str(), plan.title.as_str(), plan.category), ("shop@1", "Shop", Category::Application));
    assert_eq!((plan.policy.keep_running, plan.policy.timeout), (KeepRunning::OnError, 120));
    assert_eq!(plan.outputs["url"].to_string(), "http://${web[1].address}/");
    assert_eq!(plan.params["site"].value.as_ref().map(ToString::to_string).as_deref(), Some("B"));
    let (web, db) = (node(&plan, "web"), node(&plan, "db"));
    assert_eq!((web.cloud.as_str(), db.cloud.as_str()), ("exo", "local"));
    assert_eq!((web.component.as_str(), db.component.as_str()), ("stack@1", "shop@1"));
    assert_eq!((web.count, db.count, db.login.as_str()), (2, 1, "admin"));
    assert_eq!(value(web, "port").as_deref(), Some("81"));
    // A run-wide input is a parameter of every node that has none of that name itself.
    assert_eq!(value(web, "site").as_deref(), Some("${ss.site}"));
    assert_eq!(value(db, "site").as_deref(), Some("own"));
    assert_eq!((value(web, "who").as_deref(), value(db, "who").as_deref()), (Some("you"), Some("${ss.who}")));

    options.cloud = BTreeMap::from([("*".to_owned(), "exo".to_owned()), ("web".to_owned(), "local".to_owned())]);
    options.count = BTreeMap::from([("web".to_owned(), 4)]);
    (options.keep_running, options.timeout) = (Some(KeepRunning::Never), Some(60));
    let plan = resolved(&catalogue, "shop", options).await;
    assert_eq!((node(&plan, "web").cloud.as_str(), node(&plan, "db").cloud.as_str()), ("local", "exo"));
    assert_eq!((node(&plan, "web").count, plan.policy.keep_running, plan.policy.timeout), (4, KeepRunning::Never, 60));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[tokio::test]
async fn all_that_cannot_be_chosen_is_said_at_once() {
    let catalogue = with(&[BASE, ("component", "stack", STACK), ("application", "shop", SHOP)]).await;
    let values = [
        ("nobody:x", "1"),
        ("web.1:port", "1"),
        ("web:prt", "1"),
        ("web:port", "0"),
        ("stie", "x"),
        ("who", "ME"),
        ("ss:zzzz", "x"),
    ];
    let mut options = set(LaunchOptions::default(), &values);
    options.cloud = BTreeMap::from([("db".to_owned(), "mars".to_owned()), ("dbb".to_owned(), "exo".to_owned())]);
    options.count = BTreeMap::from([("web".to_owned(), 5), ("wbe".to_owned(), 1)]);
    options.timeout = Some(0);
    let Err(CatalogueError::Launch { module, mut reasons }) = catalogue.resolve("shop", &options).await else {
        panic!("this cannot be launched")
    };
    reasons.sort();
    let mut expected = [
        "there is no node `nobody`",
        "`web.1` is one instance: at launch, choose for the node `web`",
        "`web` has no parameter `prt` (did you mean `port`?)",
        "`web:port`: the value is not a port (a number from 1 to 65535)",
        "the application has no input `stie` (did you mean `site`?)",
        "`who`: the value does not match `[a-z]+`",
        "the application has no input `zzzz`",
        "there is no node `dbb` (did you mean `db`?)",
        "there is no node `wbe` (did you mean `web`?)",
        "a timeout of 0 s leaves no time to start",
        "the input `who` needs a value",
        "`db`: the image `images/base@1` has no identifier for the cloud `mars` (it has: exo, local)",
        "nothing says on which cloud `web` runs",
        "the number of instances of `web` is 1 to 4, not 5",
    ];
    expected.sort_unstable();
    assert_eq!((module.as_str(), reasons), ("shop@1", expected.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn what_cannot_be_launched_at_all_says_why() {
    let many = "nodes: {a: {image: images/base, count: 200}, b: {image: images/base, count: 101}}";
    let yum = "image: images/base\npackages: {dnf: [httpd]}";
    let need = "image: images/base\nparams: {x: {required: true}}";
    let big = format!("image: images/base\ndeploy: \"{}\"", "x".repeat(600_000));
    let catalogue = with(&[
        BASE,
        ("project", "folder", ""),
        ("application", "many", many),
        ("component", "yum", yum),
        ("component", "need", need),
        ("component", "big", &big),
        ("application", "twice", "nodes: {a: {use: big}, b: {use: big}}"),
        ("image", "bare", "native: {local: x}"),
        ("component", "no_family", "image: bare\npackages: {apt: [x]}"),
    ])
    .await;
    for (target, shown) in [
        ("folder", "cannot launch `folder@1`: it is a project, launch one of the modules in it"),
        ("many", "cannot launch `many@1`: a run has at most 300 instances, not 301"),
        ("yum", "cannot launch `yum@1`: `machine` lists packages for dnf, but its image has the platform `debian`"),
        ("no_family", "cannot launch `no_family@1`: `machine` lists packages for apt, but its image has no platform"),
        ("need", "cannot launch `need@1`: the input `machine:x` needs a value"),
    ] {
        let error = catalogue.resolve(target, &on("local")).await.unwrap_err();
        assert_eq!(error.to_string(), shown);
    }
    let error = catalogue.resolve("twice", &on("local")).await.unwrap_err().to_string();
    assert!(error.contains("its scripts and values make a plan of 1200"), "{error}");
    let mut two = on("local");
    two.count = BTreeMap::from([("machine".to_owned(), 2)]);
    let error = catalogue.resolve("images/base", &two).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot launch `images/base@1`: the number of instances of `machine` is 1, not 2");
}

#[tokio::test]
async fn a_module_that_no_longer_fits_what_it_uses_is_not_launched() {
    let catalogue = with(&[BASE, ("component", "stack", STACK), ("application", "shop", SHOP)]).await;
    catalogue.put(&text("component", "stack", "image: images/base"), "bob", "", 2).await.unwrap();
    let options = set(on("local"), &[("who", "me")]);
    let error = catalogue.resolve("shop", &options).await.unwrap_err();
    assert_eq!(error.to_string(), "`shop@1` has a problem at 7:73: `port` is not a parameter of `web`");
}

fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let mut files: Vec<PathBuf> =
        folders.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    // Images before components before applications, as the command line uploads them.
    let rank = |text: &str| ["kind: image", "kind: component"].iter().position(|k| text.contains(k)).unwrap_or(2);
    files.sort_by_key(|f| (rank(&std::fs::read_to_string(f).unwrap()), f.clone()));
    files
}

#[tokio::test]
async fn the_examples_can_be_saved_and_launched() {
    let catalogue = empty();
    for file in examples() {
        let source = std::fs::read_to_string(&file).unwrap();
        let stored = catalogue.put(&source, "ada", "", 1).await.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let name = file.with_extension("");
        assert!(name.ends_with(&stored.path), "{} is called {}", file.display(), stored.path);
        assert!(stored.created, "{} is there twice", stored.path);
    }
    for (folder, image) in [
        ("service-testing", "debian-12"),
        ("service-testing-processes", "host"),
        ("service-testing-busybox", "busybox"),
    ] {
        let plan = resolved(&catalogue, &format!("examples/{folder}/system"), LaunchOptions::default()).await;
        let (apache, client) = (node(&plan, "apache"), node(&plan, "testclient"));
        assert_eq!((apache.image.as_str(), apache.count), (image, 1));
        assert_eq!(value(apache, "port").as_deref(), Some("8080"));
        assert_eq!(value(client, "webserver.hostname").as_deref(), Some("${apache.hostname}"));
        assert_eq!(value(client, "webserver.ready").as_deref(), Some("${apache.ready}"));
        assert_eq!(client.steps.last().map(|s| s.step.as_str()), Some("deploy"));
        assert!(!apache.report.is_empty() && plan.outputs.contains_key("url"));
    }
}

#[tokio::test]
async fn a_secret_is_bound_where_a_node_speaks_of_it_and_is_no_part_of_the_plan() {
    let component =
        ("component", "apps/worker", "image: images/base\nparams: {token: {type: secret, required: true}}\ndeploy: x");
    let body = r#"params:
  db_password: { type: secret, generate: 24 }
  admin: { type: secret, required: true }
nodes:
  mysql:
    image: images/base
    cloud: local
    deploy: mysql -e "IDENTIFIED BY '$(ss-get db_password)'"
  cache:
    image: images/base
    cloud: local
    deploy: echo my_db_password db_password.old
  worker:
    use: apps/worker
    cloud: local
    params: { token: "${ss.db_password}" }
  other:
    use: apps/worker
    cloud: local
    count: 2
"#;
    let catalogue = with(&[BASE, component, ("application", "apps/lamp", body)]).await;
    let launch = |pairs: &[(&str, &str)]| LaunchOptions {
        set: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..LaunchOptions::default()
    };
    let error = catalogue.prepare("apps/lamp", &launch(&[])).await.expect_err("something is missing").to_string();
    assert!(error.contains("the input `admin` needs a value; the input `other:token` needs a value"), "{error}");
    let error = catalogue.prepare("apps/lamp", &launch(&[("cache:db_password", "canary")])).await.expect_err("unused");
    let error = error.to_string();
    assert!(error.contains("`cache:db_password`: nothing in that node reads this secret"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let options = launch(&[("admin", "canary-1"), ("other:token", "canary-2"), ("mysql:db_password", "canary-3")]);
    let prepared = catalogue.prepare("apps/lamp", &options).await.expect("can be launched");
    let text = serde_json::to_string(&prepared.plan).unwrap() + &format!("{prepared:?} {options:?}");
    assert!(!text.contains("canary"), "{text}");
    let chosen: Vec<String> = prepared.secrets.0.iter().map(|(key, value)| format!("{key} {value}")).collect();
    assert_eq!(chosen, ["ss:admin canary-1", "mysql:db_password canary-3", "other:token canary-2"]);
    let plan = &prepared.plan;
    assert_eq!((plan.params["db_password"].generate, plan.params["admin"].generate), (Some(24), None));
    let value = |name: &str, param: &str| {
        let param = node(plan, name).params.get(param)?;
        Some((param.kind.clone(), param.value.as_ref().map(ToString::to_string)))
    };
    let bound = |text: Option<&str>| Some((ParamType::Secret, text.map(str::to_owned)));
    assert_eq!(value("mysql", "db_password"), bound(None), "it has a value of its own");
    assert_eq!(value("worker", "token"), bound(Some("${ss.db_password}")));
    assert_eq!(value("other", "token"), bound(None));
    for (name, param) in [("cache", "db_password"), ("mysql", "admin"), ("worker", "db_password")] {
        assert_eq!(value(name, param), None, "{name} does not bind {param}");
    }
}

#[tokio::test]
async fn single_instances_have_values_of_their_own_unless_the_launch_says_otherwise() {
    let body = r#"nodes:
  db: { image: images/base, cloud: local, publish: { name: { default: db } } }
  web:
    image: images/base
    cloud: local
    count: { default: 2, max: 4 }
    params: { port: { type: port, default: 80 }, role: { default: follower } }
    env: { ROLE: "${role}", PORT: "${port}" }
    install: x
    instances:
      1: { params: { role: "leader of ${db.name}" } }
      3: { params: { port: 83 } }
"#;
    let catalogue = with(&[BASE, ("application", "apps/roles", body)]).await;
    let plan = catalogue.resolve("apps/roles", &LaunchOptions::default()).await.unwrap();
    let web = node(&plan, "web");
    let own = |web: &NodePlan, id: &str, name: &str| {
        web.instances.get(&id.parse().unwrap()).and_then(|i| i.params.get(name)).map(ToString::to_string)
    };
    assert_eq!(own(web, "web.1", "role").as_deref(), Some("leader of ${db.name}"));
    assert_eq!(own(web, "web.3", "port").as_deref(), Some("83"), "also of one that is not there yet");
    let install = web.steps.iter().find(|step| step.step == "install").unwrap();
    assert_eq!(install.env.keys().collect::<Vec<_>>(), ["PORT"], "one of them waits for another node");
    let set = [("web:role".to_owned(), "all".to_owned())].into();
    let plan = catalogue.resolve("apps/roles", &LaunchOptions { set, ..LaunchOptions::default() }).await.unwrap();
    assert_eq!(own(node(&plan, "web"), "web.1", "role"), None);
    let back: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(back, plan, "as it is kept with the run");
}
