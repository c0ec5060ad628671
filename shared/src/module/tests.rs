//! Whole files: what is accepted, and each message a person can see, once.

mod references;

use super::*;
use crate::{
    disk::Fs,
    operation::Hook,
    parameter::ParamType,
    plan::{KeepRunning, NeedMilestone, Network},
};

/// The shown problems of a file.
fn problems(source: &str) -> Vec<String> {
    let read = parse(source);
    schema::tests::agree(source, read.is_ok());
    match read {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The shown problems of a component, with the three lines every file has left out of the count.
fn in_component(body: &str) -> Vec<String> {
    of("component", &format!("image: images/base\n{body}"), 4)
}

/// The same for an application.
fn in_application(body: &str) -> Vec<String> {
    of("application", body, 3)
}

fn of(kind: &str, body: &str, header: u32) -> Vec<String> {
    let source = format!("slipstream: 1\nname: a/b\nkind: {kind}\n{body}\n");
    let read = parse(&source);
    schema::tests::agree(&source, read.is_ok());
    let Err(problems) = read else { return Vec::new() };
    let shift = |p: Problem| Problem { line: p.line.saturating_sub(header), ..p };
    problems.into_iter().map(|p| shift(p).to_string()).collect()
}

fn component(source: &str) -> Component {
    let module = parse(source).unwrap_or_else(|p| panic!("{p:#?}"));
    module.component().expect("a component").clone()
}

const PHP: &str = r#"
slipstream: 1
kind: application
name: apps/lamp
title: Guest book on LAMP
params:
  site_name: { type: string, default: "Guest book" }
nodes:
  mysql:
    image: images/debian-12
    cloud: exoscale-ch-gva
    size: { cpu: 2, ram: 4GiB }
    publish: { port: { type: port, default: 3306 } }
    packages: [ mariadb-server ]
    deploy: |
      systemctl restart mariadb
    ready: { tcp: 3306, within: 5m }
  php:
    image: images/debian-12@3
    cloud: [ exoscale-ch-dk, local ]
    count: { default: 2, min: 1, max: 8 }
    packages: { apt: [ apache2, php-mysql ], dnf: [ httpd ] }
    needs: [ mysql.ready ]
    env: { DB: "${mysql.address}:${mysql.port}", SITE: "${site_name}" }
    deploy: { run: "systemctl restart apache2", within: 90s }
    ready: { http: "http://localhost/", within: 3m, every: 5s }
outputs:
  url: "http://${php[1].address}/"
policy: { keep_running: on-success, timeout: 20m }
"#;

#[test]
fn an_application_is_read_with_all_its_values() {
    let module = parse(PHP).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!((module.name.as_str(), module.kind()), ("apps/lamp", "application"));
    let Body::Application(application) = &module.body else { panic!("an application") };
    assert_eq!((application.keep_running, application.timeout), (Some(KeepRunning::OnSuccess), Some(1200)));
    assert_eq!(application.outputs["url"].value.to_string(), "http://${php[1].address}/");
    let mysql = &application.nodes[&"mysql".parse().expect("valid")];
    assert_eq!((mysql.component.size.cpu, mysql.component.size.ram), (Some(2), Some(4 << 30)));
    assert_eq!(mysql.component.params["port"].kind, ParamType::Port);
    let php = &application.nodes[&"php".parse().expect("valid")];
    assert_eq!((php.count.default, php.count.min, php.count.max), (2, 1, 8));
    assert_eq!(php.clouds.iter().map(|c| c.value.as_str()).collect::<Vec<_>>(), ["exoscale-ch-dk", "local"]);
    assert_eq!(php.component.deploy.as_ref().and_then(|s| s.within), Some(90));
    assert_eq!(php.component.needs[0].value.milestone, NeedMilestone::Ready);
    assert_eq!(php.component.ready.as_ref().map(|r| (r.within, r.every)), Some((180, 5)));
    let references: Vec<String> = module.references().iter().map(|(key, r)| format!("{key} {}", r.value)).collect();
    assert_eq!(references, ["nodes.mysql.image images/debian-12", "nodes.php.image images/debian-12@3"]);
}

#[test]
fn json_says_the_same() {
    let json =
        r#"{"slipstream": 1, "kind": "image", "name": "images/x", "native": {"local": "x"}, "network": "private"}"#;
    let yaml = "slipstream: 1\nkind: image\nname: images/x\nnative: {local: x}\nnetwork: private\n";
    assert_eq!(parse(json), parse(yaml));
    assert_eq!(component(json).network, Some(Network::Private));
}

#[test]
fn files_of_other_systems_are_read() {
    let windows = "\u{feff}slipstream: 1\r\nkind: project\r\nname: a\r\ndescription: |\r\n  x\r\n  y\r\n";
    assert_eq!(parse(windows).map(|m| m.description), Ok(Some("x\ny\n".to_owned())));
    let tabs = "{\n\t\"slipstream\": 1,\n\t\"kind\": \"project\",\n\t\"name\": \"a\"\n}\n";
    assert!(parse(tabs).is_ok());
}

#[test]
fn six_mistakes_are_shown_at_once_in_the_order_of_the_file() {
    let source = "\
slipstream: 1
kind: application
name: apps/shop
nodes:
  web:
    image: images/debian-12
    count: many
    deplyo: systemctl start web
  db:
    image: images/debian-12
    size: { ram: 4G }
    publish:
      port: { type: prot, default: 5432 }
    firewall: [ { port: 5432 } ]
outputs:
  url: http://${wbe.address}/
";
    assert_eq!(
        problems(source),
        [
            "7:12: `count` takes a whole number from 0 to 300, not `many`",
            "8:5: `deplyo` is not a key of a node (did you mean `deploy`?)",
            "11:18: `4G` is not a size (a whole number and a unit, as in `512MiB` or `20GB`)",
            "13:21: `prot` is not a value of `type` (did you mean `port`?)",
            "14:5: `firewall` is not supported by this version yet",
            "16:8: there is no node `wbe` (did you mean `web`?)",
        ]
    );
    let paths: Vec<String> = parse(source).expect_err("six").into_iter().map(|p| p.path).collect();
    assert_eq!(
        paths,
        [
            "nodes.web.count",
            "nodes.web.deplyo",
            "nodes.db.size.ram",
            "nodes.db.publish.port.type",
            "nodes.db.firewall",
            "outputs.url"
        ]
    );
}

#[test]
fn the_head_of_a_file_is_checked() {
    for (source, shown) in [
        ("[]", "1:1: a module file is a map of keys, not a list (it begins with `slipstream: 1`)"),
        ("slipstream: 2\nkind: project\nname: a", "1:13: `slipstream` takes 1, not `2`"),
        (
            "slipstream: 1\nkind: aplication\nname: a",
            "2:7: `aplication` is not a value of `kind` (did you mean `application`?)",
        ),
        ("slipstream: 1\nkind: project", "1:1: the key `name` is missing (its path in the catalogue)"),
        (
            "slipstream: 1\nkind: project\nname: a//b",
            "3:7: `a//b` is not the path of a module: each part between slashes starts with a letter or a digit",
        ),
        ("slipstream: 1\nkind: project\nname: a\ntitle: [x]", "4:8: `title` takes one line of text, not a list"),
        ("slipstream: 1\nkind: project\nname: a\ntitle: \"x\\ny\"", "4:8: `title` takes one line"),
        ("slipstream: 1\nkind: project\nname: a\ntitle: ''", "4:8: `title` is empty"),
        (
            "slipstream: 1\nkind: project\nname: a\ntags: x",
            "4:7: `tags` takes a list (each item: one line of text), not text",
        ),
        (
            "slipstream: 1\nkind: image\nname: a",
            "1:1: the key `native` is missing (cloud to the image's identifier there)",
        ),
        (
            "slipstream: 1\nkind: image\nname: a\nnative: {my cloud: x}",
            "4:10: `my cloud` is not the name of a cloud: at most 63 letters, digits, `.`, `_` and `-`, a letter or a digit first",
        ),
        (
            "slipstream: 1\nkind: image\nname: a\nnative: {c: x}\nplatform: windows",
            "5:11: `platform: windows` is not supported by this version yet",
        ),
    ] {
        assert_eq!(problems(source), [shown], "{source}");
    }
    let open = problems("slipstream: 1\nkind: project\nname: a\nzzzzzz: 1");
    assert_eq!(
        open,
        [
            "4:1: `zzzzzz` is not a key of a project (the keys of a project are: slipstream, kind, name, title, description, tags, notes, logo)"
        ]
    );
}

#[test]
fn keys_of_later_versions_are_refused_by_name() {
    for key in ["firewall", "on_change"] {
        let found = in_application(&format!("nodes:\n  n:\n    image: i\n    {key}: {{ whatever: [1] }}"));
        assert_eq!(found, [format!("4:5: `{key}` is not supported by this version yet")]);
    }
    for (body, shown) in [
        ("nodes: {n: {image: i, deploy: {run: x, shell: y}}}", "1:40: `shell` is not supported by this version yet"),
        (
            "nodes: {n: {image: i, size: {exo: {type: tiny}}}}",
            "1:30: the size for one cloud `exo` is not supported by this version yet",
        ),
    ] {
        assert_eq!(in_application(body), [shown], "{body}");
    }
}

#[test]
fn disks_are_checked_where_they_are_written() {
    let read = component(
        "slipstream: 1\nkind: component\nname: a\nimage: i\npre_scale: stop\npost_scale: {run: go, within: 1m}\n\
         disks: [{size: 20GiB, mount: /data, fs: xfs}, {size: 5GB}]",
    );
    let disks = read.disks.expect("declared");
    assert_eq!((disks[0].size, disks[0].mount.as_deref(), disks[0].fs), (20 << 30, Some("/data"), Some(Fs::Xfs)));
    assert_eq!((disks[1].size, disks[1].mount.as_deref(), disks.len()), (5_000_000_000, None, 2));
    assert_eq!(read.hooks.keys().collect::<Vec<_>>(), [&Hook::PreScale, &Hook::PostScale]);
    assert_eq!(component("slipstream: 1\nkind: component\nname: a\nimage: i").disks, None);
    for (body, shown) in [
        ("{mount: /data}", "1:9: the key `size` is missing (how large it is)"),
        ("{size: 20}", "1:16: `20` is not a size (a whole number and a unit, as in `512MiB` or `20GB`)"),
        ("{size: 1KiB}", "1:9: a disk has 4 MiB to 1024 TiB, not 1 KiB"),
        ("{size: 1GiB, fs: ext4}", "1:9: `fs` is for a disk with a `mount`"),
        ("{size: 1GiB, mount: /data, fs: xsf}", "1:40: `xsf` is not a value of `fs` (did you mean `xfs`?)"),
        ("{size: 1GiB, mount: /dev}", "1:9: a disk cannot be mounted on `/dev`: `/dev` belongs to the system"),
        ("{size: 1GiB, mount: /a}, {size: 2GiB, mount: /a}", "1:34: another disk is mounted on `/a`"),
    ] {
        assert_eq!(in_component(&format!("disks: [{body}]")), [shown], "{body}");
    }
    let many = vec!["{size: 1GiB}"; 17].join(", ");
    assert_eq!(in_component(&format!("disks: [{many}]")), ["1:8: a machine has at most 16 disks, not 17"]);
}

/// The example of the format's description, with all that it has and this version does not.
#[test]
fn the_guest_book_lacks_only_what_is_said_to_come_later() {
    let source = r#"slipstream: 1
kind: application
name: apps/lamp
title: Guest book on LAMP
params:
  site_name:   { type: string, default: "Guest book" }
  db_password: { type: secret, generate: 24 }
nodes:
  mysql:
    image: images/debian-12
    cloud: exoscale-ch-gva
    size: { cpu: 2, ram: 4GiB }
    disks: [ { size: 20GiB, mount: /var/lib/mysql } ]
    firewall: [ { port: 3306, from: php } ]
    publish: { port: { type: port, default: 3306 } }
    packages: [ mariadb-server ]
    deploy: |
      sed -i 's/^bind-address.*/bind-address=0.0.0.0/' /etc/mysql/mariadb.conf.d/50-server.cnf
      systemctl restart mariadb
      mysql -e "CREATE DATABASE book; GRANT ALL ON book.* TO web IDENTIFIED BY '$(ss-get db_password)'"
    ready: { tcp: 3306, within: 5m }
  php:
    image: images/debian-12
    cloud: [ exoscale-ch-dk, local ]
    count: { default: 2, min: 1, max: 8 }
    firewall: [ { port: 80, from: any, when: ready } ]
    packages: [ apache2, php-mysql ]
    needs: [ mysql.ready ]
    env: { DB: "${mysql.address}:${mysql.port}" }
    deploy: |
      printf '<?php $db="%s"; $pw="%s";' "$DB" "$(ss-get db_password)" >/var/www/config.php
      systemctl restart apache2
    on_change: { mysql.address: deploy }
    pre_remove: { run: apachectl graceful-stop, within: 30s }
    ready: { http: "http://localhost/", within: 3m }
outputs:
  url: "http://${php[1].address}/"
policy: { on_failure: keep, timeout: 20m, lease: 8h }
"#;
    let later = |(place, what)| format!("{place}: `{what}` is not supported by this version yet");
    let expected = [("14:5", "firewall"), ("26:5", "firewall"), ("33:5", "on_change")];
    assert_eq!(problems(source), expected.map(later));
}

#[test]
fn old_words_lead_to_the_new_ones() {
    for (old, new) in
        [("recipe", "install"), ("execute", "deploy"), ("prerecipe", "pre_install"), ("loginUser", "login")]
    {
        assert_eq!(
            in_component(&format!("{old}: x")),
            [format!("1:1: `{old}` is not a key of a component (it is called `{new}` here)")]
        );
    }
}

#[test]
fn values_of_a_component_are_checked() {
    for (body, shown) in [
        ("deploy:", "1:1: `deploy` takes text, or a map with the keys run, file, within, not nothing"),
        ("deploy: {within: 5m}", "1:9: `deploy` has no `run`"),
        (
            "deploy: {file: x.sh}",
            "1:16: `file` is read by the `slipstream` command before it uploads a module (upload the file with that command, or write the script under `run`)",
        ),
        (
            "deploy: {run: x, within: 5min}",
            "1:26: `5min` is not a time (a whole number and a unit, as in `30s`, `5m`, `1h30m`, `2d`)",
        ),
        (
            "packages: {apt: [x], yum: [x]}",
            "1:22: `yum` is not a value of `packages` (it is one of apt, dnf, zypper, apk, pacman)",
        ),
        ("packages: [--force]", "1:12: `--force` is not the name of a package"),
        (
            "env: {2X: y}",
            "1:7: `2X` is not a name of an environment variable: only letters, digits and underscores, not a digit first",
        ),
        ("env: {SLIPSTREAM_X: y}", "1:7: `SLIPSTREAM_X` is reserved: names with SLIPSTREAM_ are set by the agent"),
        ("env: {X: \"${y\"}", "1:10: `${` without a closing `}` (write `$${` for a literal one)"),
        ("ready: {within: 5m}", "1:8: `ready` takes one of tcp, http and exec"),
        ("ready: {tcp: 0}", "1:14: `tcp` takes a port (a number from 1 to 65535), not `0`"),
        (
            "ready: {http: localhost}",
            "1:15: `http` takes an address that begins with http:// or https://, not `localhost`",
        ),
        (
            "needs: [mysql]\ndeploy: x",
            "1:9: `mysql` is not a milestone, as in `mysql.ready`, `mysql[*].deployed` or `mysql[1].enrolled`",
        ),
        ("network: both", "1:10: `both` is not a value of `network` (it is one of public, private)"),
        (
            "publish: {a b: {}}",
            "1:11: `a b` is not a parameter name: only letters, digits, `_`, `.` and `-` are allowed",
        ),
        (
            "publish: {hostname: {}}",
            "1:11: `hostname` is always there (take this line away: nobody needs to declare it)",
        ),
        ("params: {x: {}}\npublish: {x: {}}", "2:11: `x` is declared twice (first at 5:10)"),
        (
            "params: {x: 1}",
            "1:13: `x` takes a map with the keys type, default, enum, help, min, max, match, required, generate, not text",
        ),
        ("params: {x: {type: enum}}", "1:13: the type `enum` needs the words it may be (enum: [one, two])"),
        ("params: {x: {type: port, enum: [a]}}", "1:32: `enum` is for the type `enum`"),
        (
            "params: {x: {type: port, default: 0}}",
            "1:35: `default`: the value is not a port (a number from 1 to 65535)",
        ),
        ("params: {x: {min: 1}}", "1:19: `min` is for the types integer, number, port, size and duration"),
        ("params: {x: {type: integer, max: 1.5}}", "1:34: `max` is not a value of the type itself"),
        ("params: {x: {type: integer, min: 2, max: 1}}", "1:13: `min` (2) is more than `max` (1)"),
        ("params: {x: {type: integer, match: a}}", "1:36: `match` is for the types string, text and secret"),
        ("params: {x: {generate: 24}}", "1:24: `generate` is for the type `secret`"),
        ("params: {x: {type: secret, generate: 4}}", "1:38: `generate` takes a whole number from 8 to 1024, not `4`"),
        (
            "params: {x: {type: secret, generate: 8, match: a}}",
            "1:38: `generate` makes up letters and digits, it knows nothing of `match`",
        ),
        (
            "params: {x: {type: secret, default: hunter2}}",
            "1:37: a secret has no `default`: whoever reads the module would know it (write `generate: 24`, or let whoever launches it set a value)",
        ),
        ("params: {x: {required: yes}}", "1:24: `required` takes `true` or `false`, not `yes`"),
    ] {
        assert_eq!(in_component(body), [shown], "{body}");
    }
    assert!(in_component("params: {x: {match: '['}}")[0].starts_with("1:21: `[` is not a regular expression: "));
    let many = "${port}".repeat(1001);
    assert_eq!(
        in_component(&format!("publish: {{port: {{}}}}\nenv: {{X: \"{many}\"}}")),
        ["2:10: `X` has more than 1000 references"]
    );
}

#[test]
fn nodes_are_checked() {
    for (body, shown) in [
        (
            "nodes: {n: {use: a, image: b}}",
            "1:28: node `n` has both `use` and `image` (`use: a component`, or `image: what to build on` with the rest written in place)",
        ),
        (
            "nodes: {n: {}}",
            "1:9: node `n` says neither `use` nor `image` (`use: a component`, or `image: what to build on` with the rest written in place)",
        ),
        ("nodes: {ss: {use: a}}", "1:9: `ss` is not a node name: that name is reserved"),
        ("nodes: {n: {use: a, count: {min: 3, max: 2}}}", "1:28: `min` (3) is more than `max` (2)"),
        (
            "nodes: {n: {use: a, count: {default: 3, max: 2}}}",
            "1:28: `default` (3) is not between `min` (0) and `max` (2)",
        ),
        (
            "nodes: {n: {use: a, cloud: {x: y}}}",
            "1:28: `cloud` takes one line of text, or a list (each item: one line of text), not a map",
        ),
        (
            "nodes: {n: {use: a}}\nparams: {address: {}}",
            "2:10: `address` is always there and cannot be an input of an application (give it another name)",
        ),
        (
            "nodes: {n: {use: a}}\nparams: {x: {default: \"${n.address}\"}}",
            "2:10: the default of the run-wide input `x` has a reference (references are for `nodes` and `outputs`)",
        ),
        ("nodes: {n: {image: a, needs: [n.enrolled]}}", ""),
    ] {
        let expected: &[&str] = if shown.is_empty() { &[] } else { &[shown] };
        assert_eq!(in_application(body), expected, "{body}");
    }
}

/// Bytes and pieces of the language thrown at a good file never make the reader panic.
#[test]
fn garbage_never_panics() {
    let pieces = [
        "\0",
        "\t",
        ": ",
        "\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "!!x ",
        "? ",
        "---\n",
        "...\n",
        "%YAML 9\n",
        "#",
        "${",
        "}",
        "é",
        "\u{feff}",
        "\r",
        "<<: ",
        "~",
        "\\x",
        "@",
        "`",
        ",",
        "nodes:",
        "  ",
    ];
    let mut seed: u64 = 42;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..2000 {
        let mut text: Vec<char> = PHP.chars().collect();
        for _ in 0..=random(6) {
            let at = random(text.len().max(1));
            match random(3) {
                0 => drop(text.splice(at.min(text.len())..at.min(text.len()), pieces[random(pieces.len())].chars())),
                1 => drop(text.drain(at.min(text.len())..(at + random(40)).min(text.len()))),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let _ = parse(&text);
        let _ = files::list(&text);
        let _ = files::inline(&text, &BTreeMap::new());
    }
}
