//! The bodies of requests and the lines of the link: what is read can be written and read again.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use slipstream_shared::{
    api::{AbortRequest, LaunchRequest, SetParameter, WaitRequest},
    context::Context,
    link::{Down, EnrolRequest, Up},
};

use crate::{
    driver::{Target, fuzz},
    short,
};

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "false",
    "\"t\"",
    "\"do\"",
    "\"id\"",
    "\"key\"",
    "\"web.1:x\"",
    "\"value\"",
    "\"module\"",
    "\"set\"",
    "\"count\"",
    "\"conditions\"",
    "\\u0000",
    "\\ud800",
    "\"op\"",
];

fn again<T: Serialize + DeserializeOwned + Debug + PartialEq>(input: &[u8]) {
    // Refusals quote the input: the API cuts them, and the link says only where.
    let Ok(read) = serde_json::from_slice::<T>(input) else { return };
    let written = serde_json::to_vec(&read).expect("plain data serializes");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written is read"), read);
}

#[test]
fn requests() {
    fuzz(&Target {
        name: "request",
        seeds: &[
            r#"{"module":"apps/lamp@4","set":{"web:port":"80"},"cloud":{"*":"local"},"count":{"web":3},"keep_running":"always","timeout":60,"tags":["a"],"ssh_keys":["ssh-ed25519 A me"]}"#,
            r#"{"value":"x","if_revision":7}"#,
            r#"{"conditions":["web.1:port=80","web[*]:ready"],"timeout":30,"ignore_abort":true}"#,
            r#"{"reason":"enough"}"#,
        ],
        words: WORDS,
        read: |input| {
            again::<LaunchRequest>(input);
            again::<SetParameter>(input);
            again::<WaitRequest>(input);
            again::<AbortRequest>(input);
        },
        memory: 300,
    });
}

#[test]
fn lines() {
    fuzz(&Target {
        name: "line",
        seeds: &[
            r#"{"t":"hello","protocol":1,"oldest_protocol":1,"agent":"1","boot":"b","addresses":["10.0.0.1"]}"#,
            r#"{"t":"get","id":1,"key":"web.1:port","wait":true,"ignore_abort":false}"#,
            r#"{"t":"wait","id":2,"conditions":["web.1:port=80"],"ignore_abort":false}"#,
            r#"{"t":"do","op":3,"do":"set","key":"web.1:port","value":"80"}"#,
            r#"{"t":"do","op":4,"do":"set_if","key":"web.1:port","value":null,"revision":3}"#,
            r#"{"t":"do","op":5,"do":"step_finished","index":0,"result":{"exit":1,"last_stderr":"no","millis":7}}"#,
            r#"{"t":"log","index":0,"offset":0,"err":false,"data":"aGVsbG8="}"#,
            r#"{"t":"plan","steps":[{"step":"deploy","origin":"a@1","script":{"text":"true"},"gated":false}],"deploy":1,"ready":null,"finished":{"0":{"exit":0}}}"#,
            r#"{"t":"answer","id":1,"is":"value","value":"80","revision":9}"#,
            r#"{"t":"done","op":3,"refused":{"code":"invalid","message":"no"}}"#,
        ],
        words: WORDS,
        read: |input| {
            again::<Up>(input);
            again::<Down>(input);
            let _ = serde_json::from_slice::<EnrolRequest>(input);
        },
        memory: 300,
    });
}

#[test]
fn contexts() {
    fuzz(&Target {
        name: "context",
        seeds: &["#!/bin/sh\n# slipstream-context: H4sIAAAAAAAA\n", "slipstream-context", "{\"version\":1}"],
        words: &["#", "slipstream", "context", ":", "H4sI", "AAAA", "_", "-", "="],
        read: |input| {
            if let Err(e) = Context::from_user_data(input) {
                short(&e);
            }
        },
        memory: 2000,
    });
}
