//! The JSON Schema of module files in an editor: a session with the language server that editors use for
//! YAML. `make test-editor` installs it and runs this.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};
use slipstream_tests::repository;

/// A running language server, and a file that is open in it.
struct Editor {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    asked: u32,
    version: u32,
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FILE: &str = "file:///somewhere/app.yaml";

impl Editor {
    fn start() -> Self {
        let server = std::env::var_os("YAML_LANGUAGE_SERVER").expect("run this with `make test-editor`");
        let mut command = Command::new("node");
        command.arg(server).arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node runs");
        let (to, out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (said, from) = channel();
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            while let Some(message) = read(&mut out) {
                if said.send(message).is_err() {
                    break;
                }
            }
        });
        let mut editor = Editor { child, to, from, asked: 0, version: 0 };
        let abilities = json!({ "workspace": { "configuration": true }, "textDocument": { "completion": {} } });
        editor.ask("initialize", json!({ "processId": null, "rootUri": null, "capabilities": abilities }));
        editor.tell("initialized", json!({}));
        editor
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("the server reads");
        self.to.flush().expect("the server reads");
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.until(|message| message["id"] == id && message.get("method").is_none())["result"].clone()
    }

    /// Reads messages until the one that is meant; answers what the server asks meanwhile.
    fn until(&mut self, meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.from.recv_timeout(Duration::from_secs(60)).expect("the server says something");
            if meant(&message) {
                return message;
            }
            if message.get("method").is_some() && message.get("id").is_some() {
                let result = match message["method"].as_str() {
                    Some("workspace/configuration") => {
                        let items = message["params"]["items"].as_array().map_or(0, Vec::len);
                        let settings = (0..items).map(|i| match message["params"]["items"][i]["section"].as_str() {
                            Some("yaml") => settings(),
                            _ => Value::Null,
                        });
                        settings.collect()
                    }
                    _ => Value::Null,
                };
                self.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }));
            }
        }
    }

    /// Writes the file anew.
    fn write(&mut self, text: &str) {
        self.version += 1;
        let version = self.version;
        if version == 1 {
            let file = json!({ "uri": FILE, "languageId": "yaml", "version": version, "text": text });
            self.tell("textDocument/didOpen", json!({ "textDocument": file }));
        } else {
            let change =
                json!({ "textDocument": { "uri": FILE, "version": version }, "contentChanges": [{ "text": text }] });
            self.tell("textDocument/didChange", change);
        }
    }

    /// Waits until what the server says is wrong with the file is what is meant, each as `line: message`.
    fn told(&mut self, meant: impl Fn(&[String]) -> bool) {
        self.until(|message| {
            let told = message["params"]["diagnostics"].as_array().cloned().unwrap_or_default();
            let line = |one: &Value| {
                format!("{}: {}", one["range"]["start"]["line"], one["message"].as_str().unwrap_or_default())
            };
            let told: Vec<String> = told.iter().map(line).collect();
            message["method"] == "textDocument/publishDiagnostics" && meant(&told)
        });
    }

    /// What it offers where `|` stands in the text.
    fn offered(&mut self, text: &str) -> BTreeSet<String> {
        let (before, _) = text.split_once('|').expect("a cursor");
        let (line, column) = (before.matches('\n').count(), before.rsplit('\n').next().map_or(0, str::len));
        self.write(&text.replacen('|', "", 1));
        let place = json!({ "textDocument": { "uri": FILE }, "position": { "line": line, "character": column } });
        let found = self.ask("textDocument/completion", place);
        let items = found["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["label"].as_str().map(str::to_owned)).collect()
    }
}

/// The next message; none when the server has ended.
fn read(out: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().split_once(": ") {
            Some(("Content-Length", number)) => length = number.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    out.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn settings() -> Value {
    let schema = format!("file://{}", repository().join("docs/module.schema.json").display());
    json!({ "schemas": { schema: ["*.yaml"] }, "completion": true, "validate": true, "hover": true, "schemaStore": { "enable": false } })
}

const HEAD: &str = "slipstream: 1\nkind: application\nname: apps/shop\n";

#[test]
fn an_editor_completes_keys_and_values_and_shows_mistakes() {
    let mut editor = Editor::start();
    let node = |rest: &str| format!("{HEAD}nodes:\n  web:\n    use: components/apache\n{rest}");
    editor.write(&node("    count: many\n    deplyo: x\n"));
    editor.told(|wrong| {
        wrong.iter().any(|told| told.starts_with("6: "))
            && wrong.iter().any(|told| told.starts_with("7: ") && told.contains("deplyo"))
    });
    editor.write(&node("    count: 2\n"));
    editor.told(<[String]>::is_empty);

    let keys = editor.offered(&node("    |\n"));
    for key in ["deploy", "ready", "count", "cloud", "env", "needs"] {
        assert!(keys.contains(key), "{key}: {keys:?}");
    }
    assert!(!keys.contains("native"), "that is for images: {keys:?}");
    let values = editor.offered(&node("    on_silent: |\n"));
    assert!(["wait", "fail", "replace"].iter().all(|word| values.contains(*word)), "{values:?}");
    let kinds = editor.offered("slipstream: 1\nkind: |\n");
    assert!(kinds.contains("component") && kinds.contains("image"), "{kinds:?}");

    editor.write(&node("    on_silent: wait\n"));
    let place = json!({ "textDocument": { "uri": FILE }, "position": { "line": 6, "character": 6 } });
    let hover = editor.ask("textDocument/hover", place);
    assert!(hover.to_string().contains("falls silent"), "{hover}");
}
