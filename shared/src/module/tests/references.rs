//! References: where they lead, what waits for what, and how far they unfold.

use super::*;

/// An application whose nodes are all known: `web` and `db` on an image.
fn with_image(body: &str) -> Vec<String> {
    let image = parse("slipstream: 1\nkind: image\nname: i\nnative: {local: x}\n").expect("valid");
    let found = Found { origin: "i@1".to_owned(), module: Arc::new(image) };
    let used = Used::from([("i".to_owned(), vec![found])]);
    let source = format!("slipstream: 1\nname: a/b\nkind: application\n{body}\n");
    let Err(problems) = Draft::read(&source).and_then(|d| d.check(&used)) else { return Vec::new() };
    problems.into_iter().map(|p| Problem { line: p.line - 3, ..p }.to_string()).collect()
}

#[test]
fn what_differs_for_an_instance_is_checked_like_what_is_said_for_all() {
    for (instances, says) in [
        ("{2: {params: {port: 81, name: \"${db.name}\"}}}", ""),
        ("{3: {params: {port: 81}}}", "`web` has at most 2 instances (ids begin with 1)"),
        ("{0: {}}", "`0` is not the id of an instance (a number from 1)"),
        ("{01: {}}", "`01` is not the id of an instance (a number from 1)"),
        ("{1: {params: {prot: 1}}}", "`prot` is not a parameter of `web` (did you mean `port`?)"),
        ("{1: {params: {port: none}}}", "`port`: the value is not a port (a number from 1 to 65535)"),
        ("{1: {params: {port: 70}}}", "`port`: the value is less than 80"),
        (
            "{1: {params: {port: \"${db.name}\"}}}",
            "`port` is a port, `${db.name}` is a string (make both of the same type)",
        ),
        (
            "{1: {params: {name: \"${db.nam}\"}}}",
            "`${db.nam}`: the node `db` does not publish `nam` (did you mean `name`?)",
        ),
        (
            "{1: {params: {name: \"${name}\"}}}",
            "this value is made of itself: ${web.name} -> ${web.name} (give one of them a value without a reference)",
        ),
        ("{1: {parms: {}}}", "`parms` is not a key of an instance (did you mean `params`?)"),
        ("{1: {size: {cpu: 2}}}", "`size` is not supported by this version yet"),
    ] {
        let web = "image: i, count: {default: 2, max: 2}, params: {port: {type: port, default: 80, min: 80}, name: {default: x}}";
        let db = "db: {image: i, publish: {name: {default: db}}}";
        let found = with_image(&format!("nodes:\n  {db}\n  web: {{{web}, instances: {instances}}}"));
        let found: Vec<&str> = found.iter().filter_map(|p| p.splitn(3, ':').nth(2)).map(str::trim).collect();
        let expected: &[&str] = if says.is_empty() { &[] } else { &[says] };
        assert_eq!(found, expected, "{instances}");
    }
}

#[test]
fn what_is_made_of_a_secret_is_a_secret() {
    let db = "db: {image: i, publish: {token: {type: secret}, port: {default: 1}}, deploy: x}";
    let hint = |name: &str| {
        format!("(bind it to a parameter of the type `secret`, read that in the script: `$(ss-get {name})`)")
    };
    let shown = |what: &str| format!("`${{{what}}}` is a secret: what stands here is shown, and seen by all processes");
    for (node, says) in [
        ("env: {X: \"a${ss.password}\"}", format!("{} {}", shown("ss.password"), hint("password"))),
        ("env: {X: \"${password}\"}", format!("{} {}", shown("password"), hint("password"))),
        ("env: {X: \"${db[*].token}\"}", format!("{} {}", shown("db[*].token"), hint("token"))),
        ("ready: {http: \"http://${own}/\"}", format!("{} {}", shown("own"), hint("own"))),
        (
            "params: {plain: \"x${db.token}\"}",
            format!("`plain` is shown to everybody, and `${{db.token}}` is a secret {}", hint("token")),
        ),
        (
            "params: {own: hunter2}",
            "`own` is a secret: whoever reads the module would know it (refer to an input of the application of the type \
             `secret`, as in `${ss.name}`)"
                .to_owned(),
        ),
        (
            "params: {own: \"${db.password}\"}",
            "`${db.password}`: `password` is a secret of the run, not of `db` (write `${ss.password}`)".to_owned(),
        ),
        ("params: {own: \"db://${ss.password}:${db.token}@${db.address}:${db.port}\"}", String::new()),
    ] {
        let web = "image: i, publish: {own: {type: secret}, plain: {}}, deploy: x";
        let found = with_image(&format!(
            "params: {{password: {{type: secret, generate: 24}}}}\nnodes:\n  {db}\n  web: {{{web}, {node}}}"
        ));
        let found: Vec<&str> = found.iter().filter_map(|p| p.splitn(3, ':').nth(2)).map(str::trim).collect();
        let expected: &[&str] = if says.is_empty() { &[] } else { &[&says] };
        assert_eq!(found, expected, "{node}");
    }
    let output = with_image(
        "params: {password: {type: secret, generate: 24}}\nnodes: {n: {image: i}}\noutputs: {url: \"${password}\"}",
    );
    assert_eq!(output, [format!("3:16: {} {}", shown("password"), hint("password"))]);
}

#[test]
fn references_of_applications_lead_somewhere() {
    let db = "db: {image: i, publish: {port: {type: port, default: 1}, name: {}, on: {type: boolean}}, params: {free: {}}, deploy: x}";
    for (node, shown) in [
        ("env: {X: \"${db.prt}\"}", "`${db.prt}`: the node `db` does not publish `prt` (did you mean `port`?)"),
        (
            "env: {X: \"${db.zzz}\"}",
            "`${db.zzz}`: the node `db` does not publish `zzz` (declare it under `publish`, or under `params`)",
        ),
        (
            "env: {X: \"${db.free}\"}",
            "`${db.free}`: `free` is an input of `db` that nothing gives a value (publish it, or give it a value)",
        ),
        ("env: {X: \"${zzzz.x}\"}", "there is no node `zzzz` (there are: db, web)"),
        ("env: {X: \"${prot}\"}", "`${prot}`: there is no parameter `prot` here (did you mean `port`?)"),
        (
            "env: {X: \"${ss.sitename}\"}",
            "`${ss.sitename}`: the run has no parameter `sitename` (did you mean `site_name`?)",
        ),
        ("env: {X: \"${db[2].ids}\"}", "`ids` belongs to the node `db` as a whole (write `${db.ids}`)"),
        (
            "env: {X: \"${url.service}\"}",
            "`url.service` has a dot: in `${…}` what stands before it is a node (read it in the script, with `ss-get url.service`)",
        ),
        ("params: {y: \"${db.port}\"}", "`y` is not a parameter of `web` (there are: flag, port)"),
        ("params: {port: \"${db.name}\"}", "`port` is a port, `${db.name}` is a string (make both of the same type)"),
        (
            "params: {flag: \"${db[*].on}\"}",
            "`flag` is a boolean, `${db[*].on}` is a string (make both of the same type)",
        ),
        ("params: {flag: 8}", "`flag`: the value is not `true` or `false`"),
        ("ready: {tcp: \"${db.name}\"}", "`tcp` is a port, `${db.name}` is a string (make both of the same type)"),
        ("needs: [dbb.ready]", "there is no node `dbb` (did you mean `db`?)"),
        ("params: {flag: \"${db.on}\"}", ""),
        (
            "env: {X: \"${db.port} ${db[*].address} ${db.ids} ${site_name} ${ss.site_name} ${ss.state} ${db.site_name}\"}",
            "",
        ),
        ("env: {X: \"${port} ${hostname} ${id} ${multiplicity} $${zzz.y}\"}", ""),
    ] {
        let mut web =
            "image: i, publish: {port: {type: port, default: 2}, flag: {type: boolean, default: true}}".to_owned();
        web.push_str(", deploy: x");
        let found = with_image(&format!("params: {{site_name: {{}}}}\nnodes:\n  {db}\n  web: {{{web}, {node}}}"));
        let found: Vec<&str> = found.iter().filter_map(|p| p.splitn(3, ':').nth(2)).map(str::trim).collect();
        let expected: &[&str] = if shown.is_empty() { &[] } else { &[shown] };
        assert_eq!(found, expected, "{node}");
    }
    assert_eq!(
        with_image("nodes: {web: {image: i, needs: [web.enrolled]}}"),
        ["1:33: `needs` holds back `deploy`, and there is none here"]
    );
    assert_eq!(
        with_image("nodes: {web: {image: i}}\noutputs: {x: \"${zzz}\"}"),
        ["2:14: `${zzz}`: the run has no parameter `zzz`"]
    );
}

#[test]
fn a_component_stands_alone() {
    for (body, shown) in [
        (
            "env: {X: \"${mysql.port}\"}",
            "a component does not know the node `mysql` (declare an input under `params`; the application gives it its value)",
        ),
        (
            "env: {X: \"${ss.site}\"}",
            "`${ss.site}`: a component does not know the run-wide input `site` (declare an input under `params`; the application gives it its value)",
        ),
        (
            "params: {server.port: {}}\nenv: {X: \"${server.port}\"}",
            "`server.port` has a dot: in `${…}` what stands before it is a node (read it in the script, with `ss-get server.port`)",
        ),
        ("params: {a: {default: \"${b}\"}, b: {type: port}}\npublish: {c: {type: integer, default: \"${b}\"}}", ""),
        (
            "publish: {c: {type: port, default: \"${hostname}\"}}",
            "`c` is a port, `${hostname}` is a string (make both of the same type)",
        ),
        // What the parent declares is not known here.
        ("env: {X: \"${of_the_parent}\"}", ""),
    ] {
        let found = in_component(body);
        let found: Vec<&str> = found.iter().filter_map(|p| p.splitn(3, ':').nth(2)).map(str::trim).collect();
        let expected: &[&str] = if shown.is_empty() { &[] } else { &[shown] };
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn one_mistake_does_not_make_others() {
    assert_eq!(
        with_image("nodes:\n  db: {image: i, publsh: {port: {}}}\n  web: {image: i, env: {X: \"${db.port}\"}}"),
        ["2:18: `publsh` is not a key of a node (did you mean `publish`?)"]
    );
    assert_eq!(
        with_image("nodes:\n  d-b: {image: i}\n  web: {image: i, env: {X: \"${web.y}\"}}"),
        [
            "2:3: `d-b` is not a node name: only letters, digits and underscores are allowed",
            "3:28: `${web.y}`: the node `web` does not publish `y` (declare it under `publish`, or under `params`)"
        ]
    );
}

#[test]
fn circles_of_waits_are_found() {
    let hint = "give one of the values a default, or let the script read it with `ss-get`";
    for (nodes, shown) in [
        (
            "a: {image: i, env: {X: \"${b.v}\"}, publish: {u: {}}, deploy: x}\n  b: {image: i, env: {X: \"${a.u}\"}, publish: {v: {}}, deploy: x}",
            vec![format!(
                "2:26: this waits for itself: deploy of a -> ${{b.v}} -> deploy of b -> ${{a.u}} -> deploy of a ({hint})"
            )],
        ),
        // A default is there from the beginning, and an install script may set a value early.
        (
            "a: {image: i, env: {X: \"${b.v}\"}, publish: {u: {default: 1}}, deploy: x}\n  b: {image: i, env: {X: \"${a.u}\"}, publish: {v: {}}, deploy: x}",
            vec![],
        ),
        (
            "a: {image: i, env: {X: \"${b.v}\"}, publish: {u: {}}, install: ss-set u 1, deploy: x}\n  b: {image: i, env: {X: \"${a.u}\"}, publish: {v: {}}, deploy: x}",
            vec![],
        ),
        (
            "a: {image: i, needs: [b.ready], deploy: x}\n  b: {image: i, needs: [\"a[*].deployed\"], deploy: x}",
            vec![format!("2:25: this waits for itself: deploy of a -> b.ready -> deploy of b -> deploy of a ({hint})")],
        ),
        ("a: {image: i, needs: [b.ready], deploy: x}\n  b: {image: i, needs: [a.enrolled], deploy: x}", vec![]),
        (
            "a: {image: i, needs: [a.deployed], deploy: x}",
            vec![format!("2:25: this waits for itself: deploy of a -> deploy of a ({hint})")],
        ),
        (
            "a: {image: i, publish: {u: {}}, env: {X: \"${u}\"}, deploy: x}",
            vec![format!("2:44: this waits for itself: deploy of a -> ${{a.u}} -> deploy of a ({hint})")],
        ),
        (
            "a: {image: i, needs: [b.ready], publish: {u: {}}, deploy: x}\n  b: {image: i, ready: {http: \"http://${a.u}/\"}, deploy: x}",
            vec![format!("2:25: this waits for itself: deploy of a -> b.ready -> ${{a.u}} -> deploy of a ({hint})")],
        ),
        (
            "a: {image: i, publish: {u: {default: \"${b.v}\"}}}\n  b: {image: i, publish: {v: {default: \"${a.u}\"}}}",
            vec![
                "2:27: this value is made of itself: ${a.u} -> ${b.v} -> ${a.u} (give one of them a value without a reference)"
                    .to_owned(),
            ],
        ),
        // Addresses are there before any step.
        (
            "a: {image: i, env: {X: \"${b.hostname}\"}, deploy: x}\n  b: {image: i, env: {X: \"${a.hostname}\"}, deploy: x}",
            vec![],
        ),
    ] {
        assert_eq!(with_image(&format!("nodes:\n  {nodes}")), shown, "{nodes}");
    }
    assert_eq!(
        in_component("params: {a: {default: \"${b}\"}, b: {default: \"${a}\"}}"),
        ["1:10: this value is made of itself: ${a} -> ${b} -> ${a} (give one of them a value without a reference)"]
    );
}

#[test]
fn a_circle_through_a_used_component_is_found_in_the_application() {
    let part = "slipstream: 1\nkind: component\nname: part\nimage: i\nparams: {peer: {}}\npublish: {mine: {}}\nenv: {P: \"${peer}\"}\ndeploy: x\n";
    let module = Arc::new(parse(part).expect("valid"));
    let used = Used::from([("part".to_owned(), vec![Found { origin: "part@1".to_owned(), module }])]);
    let source = "slipstream: 1\nkind: application\nname: a\nnodes:\n  a: {use: part, params: {peer: \"${b.mine}\"}}\n  b: {use: part, params: {peer: \"${a.mine}\"}}\n";
    let problems = Draft::read(source).and_then(|d| d.check(&used)).expect_err("a circle");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].to_string().starts_with(
            "5:33: this waits for itself: ${a.peer} -> ${b.mine} -> deploy of b -> ${b.peer} -> ${a.mine} -> deploy of a -> ${a.peer}"
        ),
        "{}",
        problems[0]
    );
}

/// A node with parameters `p0` to `p<last>`, each made of the next.
fn chain(last: u32) -> String {
    let values: String = (0..last).map(|i| format!("p{i}: {{default: \"${{p{}}}\"}}, ", i + 1)).collect();
    with_image(&format!("nodes:\n  n: {{image: i, publish: {{{values}p{last}: {{default: x}}}}}}")).join("\n")
}

#[test]
fn a_chain_that_runs_would_not_follow_is_refused() {
    assert_eq!(chain(30), "");
    for length in [31, 900] {
        let found = chain(length);
        assert!(
            found.contains("is made of a chain of more than 30 values (refer to the first of them directly)"),
            "{found}"
        );
        assert_eq!(found.lines().count(), 1, "it is said once");
    }
}

#[test]
fn a_short_file_does_not_unfold_to_gigabytes() {
    let values: String = (0..20).map(|i| format!("p{i}: {{default: \"${{p{0}}}${{p{0}}}\"}}, ", i + 1)).collect();
    let found = with_image(&format!("nodes:\n  n: {{image: i, publish: {{{values}p20: {{default: x}}}}}}"));
    let shown = "`${n.p11}` is made of more than 1000 values (refer to each of them once)";
    assert!(found.iter().any(|p| p.contains(shown)), "{found:?}");
}

#[test]
fn waits_through_hundreds_of_nodes_are_followed_without_a_deep_stack() {
    let nodes: String =
        (0..999).map(|n| format!("  n{n}: {{image: i, needs: [n{}.ready], deploy: x}}\n", n + 1)).collect();
    assert_eq!(with_image(&format!("nodes:\n{nodes}  n999: {{image: i}}")), Vec::<String>::new());
}
