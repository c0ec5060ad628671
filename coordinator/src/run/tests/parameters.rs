//! Parameters: what they are worth, who may write them, and under what condition.

use slipstream_shared::predefined::{Level, PREDEFINED, Since};

use super::*;

#[test]
fn references_are_values_once_all_they_name_is_set() {
    let mut bench = Bench::new(plan());
    bench.settle();
    let url = key("client.1:url");
    let lacks =
        vec![Leaf::Value(key("web.1:address")), Leaf::Members("web".parse().expect("valid")), Leaf::Value(url.clone())];
    assert_eq!(bench.run.value(&url), Err(lacks));
    bench.boot("web.1");
    assert_eq!(bench.run.value(&url), Ok("http://10.0.0.1:80/".into()));
    let set = |k: &str, v: &str| Event::ParameterSet { key: key(k), value: v.into() };
    bench.happen(set("web.1:port", "8080"));
    assert_eq!(bench.run.value(&url), Ok("http://10.0.0.1:8080/".into()));

    let all = key("client.1:all");
    bench.happen(set("web.1:ready", "yes"));
    assert!(bench.run.value(&all).expect_err("one is missing").contains(&Leaf::Value(key("web.2:ready"))));
    bench.happen(set("web.2:ready", "too"));
    assert_eq!(bench.run.value(&all), Ok("yes,too".into()));
    assert!(bench.run.is_indirect(&Leaf::Value(all)));
}

#[test]
fn predefined_names_have_their_values() {
    let mut plan = plan();
    let web = plan.nodes.get_mut(&id("web.1").node).expect("there");
    web.size = Size { cpu: Some(2), ram: Some(3 << 29), disk: None };
    let mut bench = Bench::new(plan);
    bench.settle();
    bench.boot("web.2");
    for (name, value) in [
        ("ss:state", "Provisioning"),
        ("ss:category", "Deployment"),
        ("web:ids", "1,2"),
        ("web:multiplicity", "2"),
        ("web.2:nodename", "web"),
        ("web.2:id", "2"),
        ("web.2:cloudservice", "here"),
        ("web.2:instanceid", "m-web.2"),
        ("web.2:hostname", "10.0.0.2"),
        ("web.2:address", "10.0.0.2"),
        ("web.2:address.private", "10.0.0.2"),
        ("web.2:vmstate", "Running"),
        ("web.2:login", "root"),
        ("ss:groups", "here:client,here:web"),
        ("web:max-provisioning-failures", "0"),
        ("web.2:complete", "false"),
        ("web.2:is.orchestrator", "false"),
        ("web.2:network", "Public"),
        ("web.2:image.id", "host"),
        ("web.2:cpu.nb", "2"),
        ("web.2:ram.GB", "1.5"),
    ] {
        assert_eq!(bench.run.value(&key(name)), Ok(value.into()), "{name}");
    }
    bench.deploy("web.2");
    assert_eq!(bench.run.value(&key("web.2:complete")), Ok("true".into()));
    for level in [Level::Run, Level::Node, Level::Instance] {
        let of = |name: &str| match level {
            Level::Run => key(&format!("ss:{name}")),
            Level::Node => key(&format!("web:{name}")),
            Level::Instance => key(&format!("web.2:{name}")),
        };
        for one in PREDEFINED.iter().filter(|one| one.level == level) {
            let key = of(one.name);
            assert_eq!(bench.run.is_computed(&key), !one.settable, "{key}");
            assert!(one.since != Since::Start || bench.run.value(&key).is_ok(), "{key}");
            if let Ok(value) = bench.run.value(&key) {
                assert_eq!(bench.run.kind_of(&key).expect("exists").check(&value), Ok(()), "{key}");
            }
        }
    }
    for unset in [
        "web.2:disk.GB",
        "web.2:image.platform",
        "ss:abort",
        "web.2:address.public",
        "web.2:url.ssh",
        "web.2:statecustom",
        "web.2:abort",
        "ss:tags",
    ] {
        assert!(bench.run.value(&key(unset)).is_err(), "{unset}");
        assert!(bench.run.kind_of(&key(unset)).is_some(), "{unset} exists");
    }
}

#[test]
fn who_may_write_what() {
    let mut bench = Bench::new(plan());
    bench.settle();
    let web: Author = "web.1".parse().expect("valid");
    let ann = Author::User("ann".into());
    let set = |by: &Author, k: &str| bench.run.set(by, &key(k), Some("1"));
    assert!(set(&web, "web.1:port").is_ok());
    assert!(set(&web, "web.1:statecustom").is_ok());
    assert!(set(&web, "ss:url.service").is_ok());
    assert!(set(&ann, "web.1:port").is_ok());
    for (by, forbidden, says) in [
        (&web, "web.2:port", "web.1 may not set web.2:port: it belongs to web.2"),
        (&web, "ss:state", "web.1 may not set ss:state: the coordinator computes it"),
        (&web, "web.1:hostname", "web.1 may not set web.1:hostname: the coordinator computes it"),
        (&ann, "web:ids", "user:ann may not set web:ids: the coordinator computes it"),
        (&web, "web.2:abort", "web.1 may not set web.2:abort: it belongs to web.2"),
    ] {
        assert_eq!(set(by, forbidden).expect_err(forbidden).to_string(), says);
    }
    let unknown = set(&web, "web.1:prot").expect_err("no such key");
    assert_eq!(unknown.to_string(), "this run has no parameter `web.1:prot` (did you mean `web.1:port`?)");
    assert!(bench.run.abort.is_none(), "an unknown key aborts nothing");
    assert!(matches!(set(&web, "web.9:port"), Err(Refused::UnknownKey { .. })));
}

#[test]
fn any_is_the_first_one_and_stays_it_until_that_is_gone() {
    let mut plan = plan();
    let client = plan.nodes.get_mut(&id("client.1").node).expect("there");
    for (name, text) in [("one", "${web[any].ready}"), ("at", "${web[any].address}")] {
        client.params.insert(name.into(), ParamPlan { value: Some(template(text)), ..ParamPlan::default() });
    }
    let mut bench = Bench::new(plan);
    bench.settle();
    let set = |k: &str, v: &str| Event::ParameterSet { key: key(k), value: v.into() };
    bench.happen(set("web.2:ready", "two"));
    bench.boot("web.2");
    bench.happen(set("web.1:ready", "one"));
    bench.boot("web.1");
    bench.happen(set("web.2:ready", "two again"));
    assert_eq!(bench.run.value(&key("client.1:one")), Ok("two again".into()));
    assert_eq!(bench.run.value(&key("client.1:at")), Ok("10.0.0.2".into()));
    bench.happen(Event::ParameterUnset { key: key("web.2:ready") });
    assert!(bench.run.value(&key("client.1:one")).is_err(), "nobody else is asked while it is there");
    let leaves = bench.run.value(&key("client.1:one")).expect_err("not set");
    let changed = bench.happen(Event::MachineGone { instance: id("web.2"), attempt: 1, unexpected: true });
    assert!(changed.iter().any(|leaf| leaves.contains(leaf)), "who waits looks again");
    assert_eq!(bench.run.value(&key("client.1:one")), Ok("one".into()));
    assert_eq!(bench.run.value(&key("client.1:at")), Ok("10.0.0.1".into()));
}

#[test]
fn what_was_written_meanwhile_is_not_overwritten() {
    let mut bench = Bench::new(plan());
    bench.settle();
    let set = |k: &str, revision| {
        let value = Some("1".to_owned());
        Change::SetIf { key: key(k), value, revision, ignore_abort: false }
    };
    bench.change("web.1", &set("web.1:ready", 0));
    let revision = bench.run.seq;
    let changed = bench.run.agent_change(&id("web.1"), &set("web.1:ready", 0)).expect_err("written already");
    assert_eq!(changed.to_string(), format!("`web.1:ready` was not written: its revision is {revision}, not 0"));
    bench.happen(Event::ParameterUnset { key: key("web.1:ready") });
    assert!(bench.run.agent_change(&id("web.1"), &set("web.1:ready", revision)).is_err(), "to unset is to write");
    bench.change("web.1", &set("web.1:ready", bench.run.seq));
    for (k, says) in [("ss:abort", "`ss:abort` has no revisions to compare"), ("web.2:port", "web.1 may not set")] {
        let error = bench.run.agent_change(&id("web.1"), &set(k, 0)).expect_err(k).to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn the_last_hundred_writes_are_remembered() {
    let mut bench = Bench::new(plan());
    for n in 0..150 {
        bench.happen(Event::ParameterSet { key: key("web.1:port"), value: n.to_string() });
    }
    let writes = &bench.run.writes[&key("web.1:port")];
    assert_eq!((writes.len(), writes.back()), (100, Some(&bench.run.seq)));
}

#[test]
fn an_abort_can_be_raised_and_taken_back_by_parameter() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.change("web.1", &Change::Set { key: key("ss:abort"), value: Some("stop".into()), ignore_abort: false });
    assert_eq!(bench.run.value(&key("ss:abort")), Ok("stop".into()));
    let set = Change::Set { key: key("web.1:port"), value: Some("1".into()), ignore_abort: false };
    assert!(matches!(bench.run.agent_change(&id("web.1"), &set), Err(Refused::Aborted { .. })));
    bench.change("web.1", &Change::CancelAbort);
    assert!(bench.run.agent_change(&id("web.1"), &set).is_ok());
}

/// `web` with further parameters.
fn with(params: &[(&str, ParamPlan)]) -> Plan {
    let mut plan = plan();
    let web = plan.nodes.get_mut(&"web".parse().expect("valid")).expect("there");
    web.params.extend(params.iter().map(|(name, param)| ((*name).to_owned(), param.clone())));
    plan
}

fn made_of(text: &str) -> ParamPlan {
    ParamPlan { value: Some(template(text)), ..ParamPlan::default() }
}

#[test]
fn a_value_that_would_be_too_long_is_refused_and_says_so() {
    let d = "x".repeat(MAX_VALUE / 2);
    let mut bench = Bench::new(with(&[("a", made_of("\u{fc}${b}")), ("b", made_of("${c}${c}")), ("c", made_of(""))]));
    bench.settle();
    let set = |bench: &mut Bench, value: &str| {
        bench.change("web.1", &Change::Set { key: key("web.1:c"), value: Some(value.into()), ignore_abort: false });
    };
    set(&mut bench, &d);
    assert_eq!(bench.run.value(&key("web.1:b")).map(|v| v.len()), Ok(MAX_VALUE), "exactly as long as may be");
    let why = "`web.1:a` would have 65538 bytes, made of the values it refers to; the limit is 65536";
    assert_eq!(super::super::expand::reason(&bench.run.value(&key("web.1:a")).expect_err("too long")), Some(why));
    let shown = bench.run.parameter(&key("web.1:a")).expect("there is one");
    assert_eq!((shown.value, shown.broken.as_deref()), (None, Some(why)));
    assert_eq!(bench.run.value(&key("web.1:port")), Ok("80".into()), "the others are not disturbed");
    set(&mut bench, &format!("{d}x"));
    let why = "`web.1:b` would have 65538 bytes, made of the values it refers to; the limit is 65536";
    let of = |name: &str| bench.run.parameter(&key(name)).expect("there is one").broken;
    assert_eq!(of("web.1:a").as_deref(), Some(why), "the one that is too long is named");
    set(&mut bench, "short");
    assert_eq!(bench.run.value(&key("web.1:a")), Ok("\u{fc}shortshort".into()));
}

#[test]
fn nested_references_cost_a_bounded_amount_of_work() {
    let chain: Vec<(String, ParamPlan)> =
        (0..20).map(|n| (format!("p{n}"), made_of(&format!("${{web[*].p{}}}", n + 1)))).collect();
    let chain: Vec<(&str, ParamPlan)> = chain.iter().map(|(name, param)| (name.as_str(), param.clone())).collect();
    let mut plan = with(&chain);
    plan.nodes.get_mut(&"web".parse().expect("valid")).expect("there").count = 100;
    let bench = Bench::new(plan);
    let leaves = bench.run.value(&key("web.1:p0")).expect_err("100 to the power of 20 values");
    assert_eq!(super::super::expand::reason(&leaves), Some("`web.1:p0` is made of too many values"));
    assert!(leaves.len() < 100, "{} leaves", leaves.len());
}

#[test]
fn values_keep_to_type_and_limits_whoever_sets_them_and_however_they_are_made() {
    use slipstream_shared::{limits::Limits, parameter::ParamType};
    let limits = Limits { min: Some("1GiB".into()), max: None, pattern: None };
    let room = ParamPlan { kind: ParamType::Size, limits, ..ParamPlan::default() };
    let made = ParamPlan { value: Some(template("${number}${number}MiB")), ..room.clone() };
    let mut bench = Bench::new(with(&[("room", room), ("made", made), ("number", ParamPlan::default())]));
    bench.settle();
    for by in ["user:ann", "web.1"] {
        let set = |value: &str| bench.run.set(&by.parse().expect("valid"), &key("web.1:room"), Some(value));
        assert!(set("2GiB").is_ok());
        for (bad, says) in [
            ("2GB2", "cannot set `web.1:room`: the value is not a size (as in `512MiB` or `20GB`)"),
            ("1000MiB", "cannot set `web.1:room`: the value is less than 1GiB"),
        ] {
            assert_eq!(set(bad).expect_err(bad).to_string(), says, "{by}");
        }
    }
    let number = |value: &str| Event::ParameterSet { key: key("web.1:number"), value: value.into() };
    bench.happen(number("32"));
    assert_eq!(bench.run.value(&key("web.1:made")), Ok("3232MiB".into()));
    bench.happen(number("x"));
    let says = "`web.1:made` cannot be made of `${number}${number}MiB`: \
        the value is not a size (as in `512MiB` or `20GB`)";
    assert_eq!(bench.run.parameter(&key("web.1:made")).expect("there is one").broken.as_deref(), Some(says));
}

#[test]
fn a_loopback_address_has_no_ssh_server_of_its_own() {
    let mut bench = Bench::new(plan());
    bench.settle();
    let mut known = |public: &str, ssh: Option<&str>| {
        let (public, ssh) = (Some(public.to_owned()), ssh.map(str::to_owned));
        bench.happen(Event::AddressKnown { instance: id("web.1"), public, private: None, ssh });
        bench.run.value(&key("web.1:url.ssh")).ok()
    };
    assert_eq!(known("127.8.1.2", None), None);
    assert_eq!(known("198.18.0.1", None).as_deref(), Some("ssh://root@198.18.0.1"));
    assert_eq!(known("198.18.0.1", Some("127.0.0.1:2222")).as_deref(), Some("ssh://root@127.0.0.1:2222"));
}

#[test]
fn only_a_machine_of_its_own_is_told_whom_to_let_in() {
    let bench = Bench::new(plan());
    let keys = |own| bench.run.agent_plan(&id("web.1"), own).expect("an instance").ssh_keys;
    assert_eq!((keys(true), keys(false)), (vec!["key".to_owned()], vec![]));
}

#[test]
fn an_instance_may_have_a_value_of_its_own() {
    use slipstream_shared::plan::InstancePlan;
    let mut plan = with(&[("role", made_of("follower"))]);
    let web = plan.nodes.get_mut(&"web".parse().expect("valid")).expect("there");
    let own = [("role".to_owned(), template("leader of ${client[any].port}"))].into();
    web.instances.insert(id("web.2"), InstancePlan { params: own });
    let client = plan.nodes.get_mut(&"client".parse().expect("valid")).expect("there");
    client.params.insert("port".into(), ParamPlan::default());
    let accepted = Event::Accepted {
        plan: Box::new(plan.clone()),
        owner: "ann".into(),
        tags: vec![],
        ssh_keys: vec![],
        grants: Default::default(),
    };
    let json = serde_json::to_string(&record(1, T0, accepted.clone())).expect("serializes");
    assert_eq!(serde_json::from_str::<Record>(&json).expect("reads back").event, accepted);
    let mut bench = Bench::new(plan);
    bench.settle();
    assert_eq!(bench.run.value(&key("web.1:role")), Ok("follower".into()));
    assert!(bench.run.value(&key("web.2:role")).is_err());
    bench.happen(Event::ParameterSet { key: key("client.1:port"), value: "7".into() });
    assert_eq!(bench.run.value(&key("web.2:role")), Ok("leader of 7".into()));
}
