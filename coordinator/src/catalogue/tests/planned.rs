//! What becomes of a module and the choices of a launch: the plan.

use super::*;

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
size: {cpu: 1, ram: 1GiB}
disks: [{size: 20GiB, mount: /srv}]
pre_scale: echo parent pre_scale";

const TOP: &str = "image: stack@1
packages: {apt: [apache2], dnf: [httpd]}
install: echo child install
deploy: echo child deploy
env: {SELF: child, WHO: \"${who}\"}
size: {cpu: 2}
pre_scale: echo child pre_scale
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
    assert_eq!((machine.disks.len(), machine.disks[0].mount.as_deref()), (1, Some("/srv")), "no other disks are said");
    assert_eq!(machine.hooks[&Hook::PreScale].len(), 2, "the parent's runs first");
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
