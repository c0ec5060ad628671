//! Module files.

use std::fs;

use slipstream_shared::module;
use slipstream_tests::repository;

use crate::{
    driver::{Target, fuzz},
    short,
};

#[test]
fn module_files() {
    fuzz(&Target {
        name: "module",
        seeds: &[
            "slipstream: 1\nkind: project\nname: apps\n",
            "slipstream: 1\nkind: image\nname: a/b\nnative: { local: debian-12 }\nplatform: debian\n",
            "slipstream: 1\nkind: component\nname: a/c\nimage: a/b\nparams:\n  port: { type: port, default: 80, help: x }\n  color: { type: enum, values: [red, green] }\npublish:\n  ready: { type: boolean }\npackages: [ apache2 ]\ndeploy: |\n  #!/bin/sh -e\n  ss-set ready true\nready: { tcp: \"${port}\", within: 5m }\nreport: ls\n",
            "slipstream: 1\nkind: application\nname: a/d\nnodes:\n  web:\n    use: a/c\n    cloud: local\n    count: 3\n    size: { cpu: 2, ram: 4GiB, disk: 10GiB }\n    params: { port: 80 }\n    env: { URL: \"http://${db.address}\" }\n    needs: [ db.ready ]\n  db:\n    image: a/b\n    deploy: \"true\"\noutputs:\n  url: \"http://${web.address}:${web.port}\"\npolicy: { keep_running: always, timeout: 30m }\n",
            "a: &x [1, *x]\nb: *x\n",
            "slipstream = 1\nkind = \"image\"\nname = \"a/b\"\n[native]\nlocal = \"x\"\n",
        ],
        words: &[
            "\n",
            "  ",
            ": ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            "&x ",
            "*x",
            "<<: *x",
            "|\n",
            ">\n",
            "!!str ",
            "!!binary ",
            "? ",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "#",
            "nodes:",
            "params:",
            "publish:",
            "kind: component",
            "count: ",
            "default: ",
            "type: enum",
            "values: ",
            "match: ",
            "min: ",
            "max: ",
            "needs: ",
            "${web.port}",
            "4GiB",
            "5m",
            "deploy: ",
        ],
        read,
        memory: 3000,
    });
}

fn read(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(problems) = module::parse(text) {
        assert!(!problems.is_empty(), "refused without a reason");
        // What ends too early is wrong where the file ends, which is taken for the beginning of a line.
        let lines = u32::try_from(text.split(['\n', '\r']).count() + 1).expect("short");
        for problem in &problems {
            short(problem);
            assert!(problem.line <= lines, "line {} of {lines}", problem.line);
        }
    }
}

#[test]
fn formatted_files() {
    fuzz(&Target {
        name: "format",
        seeds: &[
            "kind: component # what\nname: a/c\n\n# why\nslipstream: 1\nimage: a/b\nready: {tcp: 80,  within: 5m}\ndeploy: | # how\n   x\n\n   y\nneeds:\n- a.ready # one\n# two\n- b.ready\n",
            "{\"kind\": \"image\", \"slipstream\": 1, \"name\": \"a\", \"native\": {\"c\": \"x\"}}",
        ],
        words: &[
            "\n", "  ", ": ", "- ", "{", "}", "[", "]", "|\n", ">-\n", " # c", "# d\n", "'", "\"", "\n\n", "\t", "? ",
            "é",
        ],
        read: format,
        memory: 6000,
    });
}

/// What is formatted says the same, and stays as it is.
fn format(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(once) = module::fmt::format(text) else { return };
    assert_eq!(module::fmt::format(&once).as_deref(), Ok(once.as_str()));
    assert_eq!(module::diff::changes(text, &once), Ok(vec![]));
}

#[test]
fn documents_of_the_original() {
    fuzz(&Target {
        name: "original",
        seeds: &[
            "<imageModule category=\"Image\" parentUri=\"module/a\" shortName=\"b\" isBase=\"false\" moduleReferenceUri=\"module/c/3\"><parameters><entry><string>p</string><parameter name=\"p\" category=\"Input\" type=\"Enum\"><enumValues><string>x</string></enumValues><value>x</value></parameter></entry></parameters><targets><target name=\"execute\">#!/bin/sh\n&lt;&#233;</target></targets><packages><package name=\"w\"/></packages></imageModule>",
            "<deploymentModule category=\"Deployment\" shortName=\"d\"><nodes><entry><string>n</string><node name=\"n\" imageUri=\"module/a/b\" multiplicity=\"2\" cloudService=\"c\"><parameterMappings><entry><string>p</string><parameter name=\"p\"><value>'${x'</value></parameter></entry></parameterMappings></node></entry></nodes></deploymentModule>",
        ],
        words: &[
            "<",
            ">",
            "/>",
            "</",
            "&amp;",
            "&#0;",
            "&#x1;",
            "&e;",
            "<![CDATA[",
            "]]>",
            "<!DOCTYPE x>",
            "<!--",
            "-->",
            "\"",
            "'",
            "${",
            "\r\n",
            "value",
            "name=\"",
            "Output",
            "Cloud",
            "Password",
        ],
        read: original,
        memory: 6000,
    });
}

/// What is imported is a module file, and can be exported.
fn original(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match module::original::import(text) {
        Ok(all) => {
            for imported in all {
                assert!(module::Draft::read(&imported.text).is_ok_and(|draft| draft.problems.is_empty()));
                let _ = module::original::export(&imported.text);
            }
        }
        Err(refused) => short(&refused),
    }
}

/// The files that everybody begins with.
#[test]
fn examples_are_read() {
    let mut count = 0;
    for example in fs::read_dir(repository().join("examples")).expect("examples").flatten() {
        for file in fs::read_dir(example.path()).expect("a folder").flatten() {
            if file.path().extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read(file.path()).expect("readable");
                read(&text);
                count += 1;
            }
        }
    }
    assert!(count > 5, "only {count} examples");
}
