//! Secrets: what is stored of them, who reads them, what everybody else sees.

use slipstream_shared::{
    condition::Condition,
    parameter::{MASK, ParamType},
};

use super::{super::expand::reason, super::secret::Unsealable, *};

const CANARY: &str = "hunter2-canary";

fn secret(value: Option<&str>) -> ParamPlan {
    ParamPlan { kind: ParamType::Secret, value: value.map(template), ..ParamPlan::default() }
}

/// The run has a secret; `client` binds it, `web` has one of its own.
fn plan_with_secrets() -> Plan {
    let mut plan = plan();
    plan.params.insert("db_password".into(), secret(None));
    let of = |name: &str| name.parse().expect("valid");
    let client = plan.nodes.get_mut(&of("client")).expect("there");
    client.params.insert("password".into(), secret(Some("${ss.db_password}")));
    client.params.insert("url".into(), secret(Some("db://web:${password}@${web.address}")));
    plan.nodes.get_mut(&of("web")).expect("there").params.insert("token".into(), secret(None));
    plan
}

fn bench() -> Bench {
    let mut bench = Bench::new(plan_with_secrets());
    bench.settle();
    set(&mut bench, "user:ann", "ss:db_password", CANARY);
    bench
}

fn author(text: &str) -> Author {
    text.parse().expect("valid")
}

fn set(bench: &mut Bench, by: &str, k: &str, value: &str) {
    let events = bench.run.set(&author(by), &key(k), Some(value)).expect("allowed");
    assert!(matches!(events.as_slice(), [Event::SecretSet { .. }]), "sealed before it is an event");
    events.into_iter().for_each(|event| drop(bench.happen(event)));
}

#[test]
fn what_is_stored_of_a_secret_cannot_be_read() {
    let bench = bench();
    let snapshot = serde_json::to_string(&bench.run).expect("serializes");
    assert!(!snapshot.contains(CANARY) && !format!("{:?}", bench.run).contains(CANARY));
    let stored = bench.run.stored(&key("ss:db_password")).expect("written");
    assert!(stored.secret && stored.value.as_ref().is_some_and(|sealed| !sealed.contains(CANARY)));
    assert_eq!(bench.run.clear_value(&key("ss:db_password")), Ok(CANARY.into()));
    assert_eq!(bench.run.value(&key("ss:db_password")), Ok(MASK.into()));
    let shown = bench.run.parameter(&key("client.1:password")).expect("there is one");
    assert_eq!((shown.value.as_deref(), shown.kind), (Some(MASK), ParamType::Secret));
}

#[test]
fn only_who_binds_a_secret_may_read_it() {
    let mut bench = bench();
    bench.boot("web.1");
    set(&mut bench, "web.1", "web.1:token", "t");
    for (who, k, may) in [
        ("client.1", "ss:db_password", true),
        ("client.1", "client.1:password", true),
        ("client.1", "client.1:url", true),
        ("web.1", "ss:db_password", false),
        ("web.1", "client.1:password", false),
        ("web.1", "client.1:url", false),
        ("web.1", "web.1:token", true),
        ("web.2", "web.1:token", false),
        ("client.1", "web.1:token", false),
        ("web.1", "web.2:port", true),
    ] {
        assert_eq!(bench.run.may_read(&id(who), &key(k)), may, "{who} {k}");
        let condition: Vec<Condition> = vec![k.parse().expect("valid")];
        let wanted = bench.run.wanted(condition).expect("understood");
        assert_eq!(bench.run.may_wait(&author(who), &wanted).is_ok(), may, "{who} waits for {k}");
    }
    let refused = bench.run.may_touch(&author("web.1"), &key("ss:db_password")).expect_err("not bound");
    let says = "web.1 may not read ss:db_password: it is a secret, and the module of web does not bind it";
    assert_eq!(refused.to_string(), says);
    assert!(bench.run.set(&author("web.1"), &key("ss:db_password"), Some("x")).is_err(), "nor may it write it");
    assert_eq!(bench.run.clear_value(&key("client.1:url")), Ok(format!("db://web:{CANARY}@10.0.0.1")));
    assert_eq!(bench.run.value(&key("client.1:url")), Ok(MASK.into()), "what is made of it is masked as well");
    let told: Vec<String> =
        bench.run.agent_plan(&id("client.1"), true).expect("there").secrets.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["ss:db_password", "client.1:password", "client.1:url"]);
    assert_eq!(bench.run.agent_plan(&id("web.1"), true).expect("there").secrets, [key("web.1:token")]);
}

#[test]
fn a_wait_is_no_oracle() {
    let bench = bench();
    for condition in
        [format!("ss:db_password={CANARY}"), format!("ss:db_password~{CANARY}"), format!("web[*]:token={CANARY}")]
    {
        let error = bench.run.wanted(vec![condition.parse().expect("valid")]).expect_err("refused").to_string();
        assert!(error.contains("it is a secret") && !error.contains(CANARY), "{error}");
    }
    for condition in ["ss:db_password", "ss:db_password@0"] {
        let wanted = bench.run.wanted(vec![condition.parse().expect("valid")]).expect("understood");
        assert!(bench.run.hold(&wanted).is_ok(), "{condition}");
        let shown = serde_json::to_string(&bench.run.parameters_of(&wanted)).expect("serializes");
        assert!(shown.contains(MASK) && !shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn nothing_plain_is_made_of_a_secret_even_if_a_plan_says_so() {
    let mut plan = plan_with_secrets();
    plan.outputs.insert("leak".into(), template("${ss.db_password}"));
    let client = plan.nodes.get_mut(&"client".parse().expect("valid")).expect("there");
    client.params.insert("leak".into(), ParamPlan { value: Some(template("a${password}")), ..ParamPlan::default() });
    client.steps[1].env.insert("LEAK".into(), template("${password}"));
    let mut bench = Bench::new(plan);
    bench.settle();
    set(&mut bench, "user:ann", "ss:db_password", CANARY);
    let why = "`client.1:leak` may not be made of `client.1:password`: that is a secret";
    assert_eq!(reason(&bench.run.value(&key("client.1:leak")).expect_err("refused")), Some(why));
    assert!(reason(&bench.run.agent_env(&id("client.1"), 1).expect_err("refused")).is_some());
    let detail = serde_json::to_string(&bench.run.detail(|_| true)).expect("serializes");
    assert!(detail.contains("that is a secret") && !detail.contains(CANARY), "{detail}");
}

#[test]
fn a_wrong_key_or_a_damaged_value_is_an_error_and_no_panic() {
    let mut bench = bench();
    let k = key("ss:db_password");
    let vault = LaunchSecret::new(&[7; 32]).vault(bench.run.id);
    let sealed = vault.seal(&k, CANARY);
    assert_eq!(vault.open(&k, &sealed).as_deref(), Ok(CANARY));
    assert_eq!(vault.open(&key("ss:other"), &sealed), Err(Unsealable::Key), "of another parameter");
    let other = LaunchSecret::new(&[7; 32]).vault(RunId::new(T0, [2; 10]));
    assert_eq!(other.open(&k, &sealed), Err(Unsealable::Key), "of another run");
    for cut in 0..sealed.len() {
        assert!(vault.open(&k, &sealed[..cut]).is_err(), "cut at {cut}");
        let flipped = if sealed.as_bytes()[cut] == b'A' { "B" } else { "A" };
        let changed = format!("{}{flipped}{}", &sealed[..cut], &sealed[cut + 1..]);
        assert!(vault.open(&k, &changed).is_err(), "changed at {cut}");
    }
    for text in ["", "é", "AQ", "=", &"A".repeat(100_000)] {
        assert!(vault.open(&k, text).is_err());
    }
    bench.run.vault = Some(LaunchSecret::new(&[8; 32]).vault(bench.run.id));
    let says = "`ss:db_password`: it cannot be decrypted: secret.key is not the one it was written with, \
        or what is stored is damaged";
    assert_eq!(bench.run.parameter(&k).expect("there").broken.as_deref(), Some(says));
    assert_eq!(bench.run.value(&key("web.1:port")), Ok("80".into()), "the rest of the run is not disturbed");
}

#[test]
fn a_value_chosen_for_a_node_is_that_of_all_its_instances_until_one_has_its_own() {
    let mut bench = bench();
    let vault = bench.run.vault.clone().expect("there");
    let shared = key("web:token");
    let sealed = Some(vault.seal(&shared, "shared"));
    let leaves = bench.happen(Event::SecretSet { key: shared.clone(), sealed });
    assert!(leaves.contains(&Leaf::Value(key("web.2:token"))), "who waits looks again");
    set(&mut bench, "web.1", "web.1:token", "own");
    assert_eq!(bench.run.clear_value(&key("web.1:token")), Ok("own".into()));
    assert_eq!(bench.run.clear_value(&key("web.2:token")), Ok("shared".into()));
    assert!(bench.run.parameter(&shared).is_none(), "it is no parameter by itself");
    bench.happen(Event::ParameterUnset { key: key("web.1:token") });
    assert_eq!(bench.run.clear_value(&key("web.1:token")), Ok("shared".into()));
}

#[test]
fn a_secret_is_made_up_once_for_each_who_has_none() {
    let mut plan = plan_with_secrets();
    let generated = ParamPlan { generate: Some(24), ..secret(None) };
    plan.params.insert("salt".into(), generated.clone());
    plan.nodes.get_mut(&"web".parse().expect("valid")).expect("there").params.insert("token".into(), generated);
    let mut bench = Bench::new(plan);
    let lacking = |bench: &Bench| bench.run.to_generate().iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>();
    assert_eq!(lacking(&bench), ["ss:salt 24", "web.1:token 24", "web.2:token 24"]);
    set(&mut bench, "system", "ss:salt", "x");
    set(&mut bench, "system", "web.2:token", "y");
    bench.happen(Event::ParameterUnset { key: key("web.2:token") });
    assert_eq!(lacking(&bench), ["web.1:token 24"], "who takes it away means it");
}

#[test]
fn a_request_that_is_repeated_is_known_by_its_sealed_value() {
    let mut bench = bench();
    let (by, k) = (author("user:ann"), key("ss:db_password"));
    let event = bench.run.set(&by, &k, Some("new")).expect("allowed").remove(0);
    let record = Record { seq: bench.run.seq + 1, at: timestamp(T0), by: by.clone(), op: Some(7), event };
    bench.run.apply(&record);
    assert_eq!(bench.run.was_made(&by, 7, &k, Some("new")), Ok(true));
    assert_eq!(bench.run.was_made(&by, 7, &k, Some("newer")), Err(Refused::Reused));
    assert_eq!(bench.run.was_made(&by, 8, &k, Some("new")), Ok(false));
}
