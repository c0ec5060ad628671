//! Conditions: what they mean, and that no change that makes one hold goes unnoticed.

use std::time::Instant;

use slipstream_shared::{condition::Condition, parameter::MAX_VALUE};

use super::*;

fn conditions(texts: &[&str]) -> Vec<Condition> {
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

fn set(k: &str, v: &str) -> Event {
    Event::ParameterSet { key: key(k), value: v.into() }
}

impl Bench {
    fn holds(&self, texts: &[&str]) -> bool {
        let wanted = self.run.wanted(conditions(texts)).expect("understood");
        self.run.hold(&wanted).is_ok()
    }

    fn refuses(&self, texts: &[&str]) -> String {
        self.run.wanted(conditions(texts)).expect_err("refused").to_string()
    }
}

#[test]
fn conditions_mean_what_they_say() {
    let mut bench = Bench::new(plan());
    bench.settle();
    for (text, holds) in [
        ("web.1:port", true),
        ("web.1:ready", false),
        ("web.1:port=80", true),
        ("web.1:port=8", false),
        ("web.1:port~8", true),
        ("web.1:port~^8$", false),
        ("web.1:port@0", false),
        ("web[*]:port=80", true),
        ("web[any]:ready", false),
        ("web[2+]:port", true),
        ("web[3+]:port", false),
        ("web:multiplicity=2", true),
        ("ss:state=Provisioning", true),
        ("ss:abort", false),
    ] {
        assert_eq!(bench.holds(&[text]), holds, "{text}");
    }
    bench.happen(set("web.2:ready", ""));
    assert!(bench.holds(&["web.2:ready"]) && bench.holds(&["web.2:ready="]), "empty is not unset");
    assert!(bench.holds(&["web[any]:ready"]) && bench.holds(&["web[1+]:ready"]));
    assert!(!bench.holds(&["web[*]:ready"]) && !bench.holds(&["web[any]:ready", "web.1:ready"]));
    let revision = bench.run.seq;
    assert!(bench.holds(&[&format!("web.2:ready@{}", revision - 1)]));
    assert!(!bench.holds(&[&format!("web.2:ready@{revision}")]));
    bench.happen(Event::ParameterUnset { key: key("web.2:ready") });
    assert!(bench.holds(&[&format!("web.2:ready@{revision}")]), "to be unset is a change");
    assert!(!bench.holds(&["web.2:ready"]));
}

#[test]
fn an_instance_that_is_gone_counts_no_longer() {
    let mut bench = Bench::new(plan());
    bench.settle();
    bench.happen(set("web.2:ready", "yes"));
    let gone = |who| Event::MachineGone { instance: id(who), attempt: 1, unexpected: true };
    assert!(!bench.holds(&["web[*]:ready=yes"]));
    bench.happen(gone("web.1"));
    assert!(bench.holds(&["web[*]:ready=yes"]));
    bench.happen(gone("web.2"));
    assert!(!bench.holds(&["web[*]:ready=yes"]), "there is none");
    assert!(bench.holds(&["web.2:ready=yes"]), "a value outlives its machine");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let bench = Bench::new(plan());
    assert_eq!(bench.refuses(&["web.1:prot"]), "this run has no parameter `web.1:prot` (did you mean `web.1:port`?)");
    for unknown in ["web.9:port", "db[*]:port", "web[*]:ids", "web:ready"] {
        assert!(bench.refuses(&[unknown]).contains("has no parameter"), "{unknown}");
    }
    assert_eq!(
        bench.refuses(&["ss:state@3"]),
        "cannot wait for `ss:state@3`: the coordinator computes that value, it has no revisions"
    );
    for (pattern, says) in
        [("web.1:port~(", "open group"), ("web.1:port~(a{99}){99}", "size limit"), ("web.1:port~*", "")]
    {
        let text = bench.refuses(&[pattern]);
        assert!(text.contains("the pattern is wrong: ") && text.contains(says), "{text}");
    }
    assert_eq!(bench.refuses(&[]), "a wait has 1 to 64 conditions, not 0");
    assert_eq!(bench.refuses(&["web.1:port"; 65]), "a wait has 1 to 64 conditions, not 65");
}

#[test]
fn no_pattern_explodes() {
    let mut bench = Bench::new(plan());
    bench.happen(set("web.1:ready", &"a".repeat(MAX_VALUE)));
    for pattern in ["(a*)*b", "(a|aa)+$b", "(a?){9}a{9}b", "(.*)(.*)(.*)(.*)(.*)b", r"(\w|a|.)*\d"] {
        let text = format!("web.1:ready~{pattern}");
        let began = Instant::now();
        assert!(!bench.holds(&[&text]), "{pattern}");
        // Generous: built without optimization this takes tens of times longer.
        assert!(began.elapsed().as_secs() < 10, "{pattern} took {:?}", began.elapsed());
    }
}

/// What may happen to a run, drawn by a number.
fn something(bench: &Bench, draw: u64) -> Event {
    let who = id(["web.1", "web.2", "client.1"][(draw % 3) as usize]);
    let k = key(["web.1:port", "web.2:port", "web.1:ready", "web.2:ready", "client.1:url"][(draw / 3 % 5) as usize]);
    let attempt = bench.run.instances[&who].attempt;
    match draw / 15 % 12 {
        0 => Event::ParameterUnset { key: k },
        1 => Event::AddressKnown { instance: who, public: Some(format!("p{}", draw % 2)), private: None, ssh: None },
        2 => Event::TerminateIntended { instance: who, attempt },
        3 => Event::MachineGone { instance: who, attempt, unexpected: true },
        4 => Event::LaunchIntended { instance: who, attempt: attempt + 1, cloud: "here".into(), name: "n".into() },
        5 => Event::LaunchFailed { instance: who, attempt, reason: "no".into(), retry: draw.is_multiple_of(2) },
        6 => Event::AbortRaised { instance: Some(who), reason: "x".into(), failure: None },
        7 => Event::AbortCancelled,
        8 if draw.is_multiple_of(4) => {
            Event::Enrolled { instance: who, attempt, key: "k".into(), agent: "1".into(), boot: None }
        }
        8 => {
            let result = StepResult { exit: Some(i32::from(draw % 4 == 3)), ..StepResult::default() };
            Event::StepFinished { instance: who, index: u32::from(draw % 4 == 1), step: "s".into(), result }
        }
        11 if draw.is_multiple_of(2) => Event::MachineRunning { instance: who, attempt },
        9 => Event::Launched { instance: who, attempt, machine: "m".into() },
        _ => Event::ParameterSet { key: k, value: (draw % 2).to_string() },
    }
}

#[test]
fn whatever_makes_a_condition_hold_is_among_what_it_was_waiting_for() {
    let mut plan = plan();
    let client = plan.nodes.get_mut(&id("client.1").node).expect("there");
    let any = ParamPlan { value: Some(template("${web[any].ready}")), ..ParamPlan::default() };
    client.params.insert("any".into(), any);
    let mut bench = Bench::new(plan);
    bench.settle();
    let lists: [&[&str]; 17] = [
        &["web.1:port=1"],
        &["client.1:url=http://p1:1/"],
        &["client.1:url~p0"],
        &["client.1:all"],
        &["client.1:all=1,0"],
        &["client.1:all=1"],
        &["web[*]:ready=1"],
        &["web[any]:ready=1", "web.1:port=0"],
        &["web[2+]:port@9"],
        &["web:multiplicity=1"],
        &["web:ids=2"],
        &["ss:abort", "web.1:abort"],
        &["web.1:complete=true"],
        &["client.1:any=1"],
        &["web.1:vmstate=Running", "web.2:vmstate=Unknown"],
        &["web.1:address=p1", "web.1:hostname~p"],
        &["web.1:instanceid", "client.1:url", "web[*]:port"],
    ];
    let mut seen = [0; 17];
    let mut state = 42_u64;
    for _ in 0..4000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wanted = lists.map(|texts| bench.run.wanted(conditions(texts)).expect("understood"));
        let before = wanted.each_ref().map(|w| bench.run.hold(w));
        let event = something(&bench, state >> 33);
        let changed = bench.happen(event.clone());
        for (i, wanted) in wanted.iter().enumerate() {
            if let (Err(leaves), Ok(())) = (&before[i], bench.run.hold(wanted)) {
                assert!(changed.iter().any(|leaf| leaves.contains(leaf)), "{:?}: {event:?} wakes nobody", lists[i]);
                seen[i] += 1;
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 0), "each came true now and then: {seen:?}");
}
