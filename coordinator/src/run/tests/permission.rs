//! Every writer and every kind of key.

use super::*;

/// `web` is written in place in the application, `client` uses a component of its own, `old` is imported.
fn plan_of_three() -> Plan {
    let mut plan = plan();
    for name in ["site", "shared"] {
        plan.params.insert(name.into(), ParamPlan::default());
    }
    let of = |name: &str| name.parse().expect("valid");
    let client = plan.nodes.get_mut(&of("client")).expect("there");
    client.component = "apps/client@2".into();
    client.params.insert("shared".into(), ParamPlan { value: Some(template("${ss.shared}")), ..ParamPlan::default() });
    let old = NodePlan { imported: true, component: "old/module@1".into(), ..node(1, &[("port", None)]) };
    plan.nodes.insert(of("old"), old);
    plan
}

const OK: &str = "";

#[test]
fn each_writer_and_each_kind_of_key() {
    let mut bench = Bench::new(plan_of_three());
    bench.settle();
    let computed = "the coordinator computes it";
    let others = "it belongs to web.2";
    // Of each key: a person, an instance written in place, one of a component, one that is imported.
    for (k, person, web, client, old) in [
        ("web.1:port", OK, OK, "it belongs to web.1", OK),
        ("web.2:port", OK, others, others, OK),
        ("web.1:statecustom", OK, OK, "it belongs to web.1", OK),
        ("web.2:statecustom", OK, others, others, OK),
        ("web.1:url.service", OK, OK, "it belongs to web.1", OK),
        ("web.1:abort", OK, OK, "it belongs to web.1", OK),
        ("web.2:abort", OK, others, others, OK),
        ("ss:abort", OK, OK, OK, OK),
        ("ss:url.service", OK, OK, OK, OK),
        ("ss:site", OK, OK, "the module of client does not declare it", OK),
        ("ss:shared", OK, OK, OK, OK),
        ("ss:state", computed, computed, computed, computed),
        ("ss:tags", computed, computed, computed, computed),
        ("web:ids", computed, computed, computed, computed),
        ("web:multiplicity", computed, computed, computed, computed),
        ("web.1:hostname", computed, computed, computed, computed),
        ("web.2:hostname", computed, computed, computed, computed),
        ("web.1:vmstate", computed, computed, computed, computed),
        ("ss:nothing", "has no parameter", "has no parameter", "has no parameter", "has no parameter"),
        ("web:port", "has no parameter", "has no parameter", "has no parameter", "has no parameter"),
        ("web.1:nothing", "has no parameter", "has no parameter", "has no parameter", "has no parameter"),
        ("web.9:port", "has no parameter", "has no parameter", "has no parameter", "has no parameter"),
        ("nobody.1:port", "has no parameter", "has no parameter", "has no parameter", "has no parameter"),
    ] {
        for (who, says) in [("user:ann", person), ("web.1", web), ("client.1", client), ("old.1", old)] {
            let by: Author = who.parse().expect("valid");
            for value in [Some("1"), None] {
                match bench.run.set(&by, &key(k), value) {
                    Ok(_) => assert_eq!(says, OK, "{who} may write {k}"),
                    Err(refused) => {
                        let said = refused.to_string();
                        assert!(says != OK && said.contains(says), "{who} {k}: {said}");
                    }
                }
            }
        }
    }
    bench.happen(Event::StateChanged { state: RunState::Done });
    for (who, k) in [("user:ann", "web.1:port"), ("web.1", "web.1:port"), ("user:ann", "ss:abort")] {
        let refused = bench.run.set(&who.parse().expect("valid"), &key(k), Some("1")).expect_err("it has ended");
        assert!(matches!(refused, Refused::Gone(_)), "{who} {k}: {refused}");
    }
}
