//! Keys, references and conditions: what is read can be written and read again.

use slipstream_shared::{
    condition::Condition,
    id::InstanceId,
    parameter::Key,
    template::{Part, Template},
};

use crate::{
    driver::{Target, fuzz},
    short,
};

const WORDS: &[&str] = &[
    ":",
    ".",
    "ss",
    "web",
    "web.1",
    "[",
    "]",
    "[*]",
    "[any]",
    "[2+]",
    "${",
    "}",
    "$",
    "$${",
    "=",
    "~",
    "@",
    "ids",
    "port",
    "-",
    "_",
    "multiplicity",
];

#[test]
fn keys() {
    fuzz(&Target {
        name: "key",
        seeds: &["web.1:port", "ss:state", "web:ids", "web:port", "port", "web.12:url.ssh", "a_B.3:x-y.z"],
        words: WORDS,
        read: key,
        memory: 50,
    });
}

fn key(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<Key>() {
        Ok(key) => assert_eq!(key.to_string().parse::<Key>().as_ref(), Ok(&key), "{key}"),
        Err(e) => short(&e),
    }
    let me: InstanceId = "web.3".parse().expect("valid");
    for caller in [None, Some(&me)] {
        match Key::qualify(text, caller) {
            // Completed once, it is complete.
            Ok(key) => assert_eq!(Key::qualify(&key.to_string(), caller).as_ref(), Ok(&key), "{key}"),
            Err(e) => short(&e),
        }
    }
}

#[test]
fn references() {
    fuzz(&Target {
        name: "reference",
        seeds: &[
            "http://${web[1].address}:${web.port}/",
            "${web[*].address} ${web[any].x} ${ss.url.service} ${own} $${not} $5",
            "",
            "${",
        ],
        words: WORDS,
        read: reference,
        memory: 200,
    });
}

fn reference(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let literal = Template::literal(text);
    assert_eq!(literal.as_literal(), Some(text));
    assert_eq!(literal.to_string().parse::<Template>().as_ref(), Ok(&literal), "a literal does not read back");
    match text.parse::<Template>() {
        Ok(template) => {
            assert_eq!(template.to_string(), text);
            for part in template.parts() {
                if let Part::Reference(reference) = part {
                    let again: Template = format!("${{{reference}}}").parse().expect("it was read before");
                    assert_eq!(again.parts(), [Part::Reference(reference.clone())]);
                }
            }
        }
        Err(e) => {
            assert!(e.offset <= text.len(), "an error at {} of {}", e.offset, text.len());
            short(&e);
        }
    }
}

#[test]
fn conditions() {
    fuzz(&Target {
        name: "condition",
        seeds: &[
            "web.1:port",
            "web.1:port=80",
            "web.1:version~^1[.]",
            "web.1:lock@7",
            "web[*]:ready",
            "web[any]:ready=true",
            "web[2+]:ready",
            "ss:url.service~(a*)*b",
            "ready",
        ],
        words: WORDS,
        read: condition,
        memory: 50,
    });
}

fn condition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<Condition>() {
        Ok(condition) => {
            assert_eq!(condition.to_string().parse::<Condition>().as_ref(), Ok(&condition), "{condition}");
            assert!(condition.brief().len() <= 1000, "{} bytes are not brief", condition.brief().len());
        }
        Err(e) => short(&e),
    }
    let me: InstanceId = "web.3".parse().expect("valid");
    match Condition::qualify(text, Some(&me)) {
        Ok(condition) => assert_eq!(condition.to_string().parse::<Condition>().as_ref(), Ok(&condition)),
        Err(e) => short(&e),
    }
}
