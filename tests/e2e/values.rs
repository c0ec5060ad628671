//! Values of every kind of character, of the largest size, in and out by every way.

use std::fs;

use slipstream_shared::{parameter::MAX_VALUE, state::RunState};
use slipstream_tests::{Coordinator, Options, cli};

use crate::processes::{LIMIT, key, problem};

const IMAGE: &str = "slipstream: 1\nkind: image\nname: tests/image\nnative: { processes: host }\nplatform: other\n";

/// Gives back what it is given, after the line break that `get` adds was cut off.
const ECHO: &str = r#"slipstream: 1
kind: component
name: tests/echo
image: tests/image
publish: { odd: {}, odd.back: {}, big: {}, big.back: {}, empty: {}, go: {} }
deploy: |
  #!/bin/sh
  ss-get --timeout 0 go
  slipstream-agent get odd | head -c -1 | slipstream-agent set --stdin odd.back; echo "odd: $?"
  slipstream-agent get big | head -c -1 | slipstream-agent set --stdin big.back; echo "big: $?"
  slipstream-agent get big | slipstream-agent set --stdin big.back; echo "too big: $?"
  slipstream-agent set empty ""; echo "empty: $?"
"#;

/// All control characters, and others that programs stumble over.
fn odd() -> String {
    let control = ('\0'..' ').chain(['\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{fffd}', '\u{10ffff}']);
    control.chain("e\u{301} \u{1f469}\u{200d}\u{1f680} \" ' \\ $(x) ${x} %s %00 <&> ".chars()).collect()
}

#[tokio::test]
async fn any_character_and_the_largest_size_go_in_and_out_by_every_way() {
    let coordinator = Coordinator::start(Options::default()).await;
    let client = coordinator.client();
    for module in [IMAGE, ECHO] {
        client.put_module(module).await.unwrap_or_else(|e| panic!("{e}\n{module}"));
    }
    let run = coordinator.launch("tests/echo").await;
    // Two bytes each: exactly as long as may be.
    let (odd, big) = (odd(), "\u{e9}".repeat(MAX_VALUE / 2));
    client.set_parameter(&run, &key("machine.1:odd"), &odd).await.expect("set");
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, value: &str| {
        let file = folder.path().join("value");
        fs::write(&file, value).expect("written");
        cli(&coordinator.profile()).args(["param", "set", &run, name, "--file"]).arg(&file).output().expect("runs")
    };
    let output = put("machine.1:big", &big);
    assert!(output.status.success(), "{output:?}");
    for (too_long, refused) in [
        (format!("{big}x"), "cannot set `machine.1:big`: the value has 65537 bytes, the limit is 65536"),
        ("x".repeat(MAX_VALUE * 2), "cannot set `machine.1:big`: the value has 131072 bytes, the limit is 65536"),
    ] {
        let output = put("machine.1:big", &too_long);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(refused), "{output:?}");
        assert_eq!(problem(client.set_parameter(&run, &key("machine.1:big"), &too_long).await).detail, refused);
    }
    assert_eq!(client.parameter(&run, &key("machine.1:empty")).await.expect("there").value, None, "unset");

    client.set_parameter(&run, &key("machine.1:go"), "now").await.expect("set");
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let machine = "machine.1".parse().expect("valid");
    let mut body = client.log(&run, &machine, 0, 0).await.expect("kept");
    let log = String::from_utf8(body.bytes().await.expect("read").to_vec()).expect("text");
    for line in ["odd: 0", "big: 0", "too big: 7", "empty: 0"] {
        assert!(log.lines().any(|l| l == line), "no line `{line}` in:\n{log}");
    }
    assert!(log.contains("the value on standard input has more than 65536 bytes; nothing was set"), "{log}");
    for (name, value) in
        [("odd", &odd), ("odd.back", &odd), ("big", &big), ("big.back", &big), ("empty", &String::new())]
    {
        let name = format!("machine.1:{name}");
        let read = client.parameter(&run, &key(&name)).await.expect("there").value;
        assert!(read.as_ref() == Some(value), "{name}: {} bytes", read.map_or(0, |v| v.len()));
        let output = cli(&coordinator.profile()).args(["param", "get", &run, &name]).output().expect("runs");
        assert!(output.stdout == format!("{value}\n").as_bytes(), "{name} by the command line");
    }
    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
}
