//! Users, groups, tokens and what they share, by the command line.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use slipstream_tests::{Coordinator, Options, cli};

/// Runs a line of the command line, with something on its standard input; exit code, output, messages.
fn run(profile: &Path, line: &str, input: &str) -> (i32, String, String) {
    let mut command = cli(profile);
    command.args(line.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

/// The same, which must succeed; its output.
fn done(profile: &Path, line: &str, input: &str) -> String {
    let (code, out, err) = run(profile, line, input);
    assert_eq!(code, 0, "{line}: {out}\n{err}");
    out
}

/// A profile of somebody who is not logged in yet.
fn fresh(coordinator: &Coordinator, name: &str) -> std::path::PathBuf {
    let text = fs::read_to_string(coordinator.profile()).expect("written");
    let mut profile: toml::Table = text.parse().expect("TOML");
    profile.remove("token");
    let path = coordinator.data().join(format!("{name}.toml"));
    fs::write(&path, profile.to_string()).expect("written");
    path
}

#[tokio::test]
async fn people_log_in_make_tokens_and_go() {
    let mut coordinator = Coordinator::start(Options::default()).await;
    let admin = coordinator.profile();
    done(&admin, "user add ann --password-file - --full-name Ann", "correct horse\n");
    done(&admin, "group add devs --manager ann", "");
    let ann = fresh(&coordinator, "ann");
    let (code, _, err) = run(&ann, "run list", "");
    assert!(code == 2 && err.contains("slipstream login USER"), "{err}");
    let (code, _, err) = run(&ann, "login ann --password-file -", "wrong horse\n");
    assert!(code == 4 && err.contains("the name or the password is wrong"), "{code} {err}");
    done(&ann, "login ann --password-file - --for 1h", "correct horse\n");
    assert!(done(&ann, "group list", "").contains("devs"));
    assert_eq!(run(&ann, "user add bob --no-password", "").0, 4, "she is no administrator");
    assert_eq!(run(&ann, "token list --user admin", "").0, 3, "and admin's tokens are nothing to her");

    let token = done(&ann, "token add ci --allows read --for 30d", "");
    let token_file = coordinator.data().join("token");
    fs::write(&token_file, &token).expect("written");
    let with_token = format!("run list --token-file {}", token_file.display());
    done(&ann, &with_token, "");
    let listed = done(&ann, "token list -o json", "");
    assert!(!listed.contains(token.trim()), "{listed}");

    // Durable, and at once.
    coordinator.kill();
    coordinator.restart().await;
    done(&ann, &with_token, "");
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let ci = listed["items"].as_array().expect("a list").iter().find(|t| t["name"] == "ci").expect("listed");
    done(&ann, &format!("token revoke {}", ci["id"].as_str().expect("text")), "");
    assert_eq!(run(&ann, &with_token, "").0, 4);

    done(&admin, "user passwd ann --password-file -", "another horse\n");
    let (code, _, err) = run(&ann, "group list", "");
    assert!(code == 4, "the session has ended: {err}");
    done(&ann, "login ann --password-file -", "another horse\n");
    done(&ann, "logout", "");
    assert!(!fs::read_to_string(&ann).expect("there").contains("slip_"));
    done(&admin, "user delete ann", "");
    assert_eq!(run(&admin, "user add ann --no-password", "").0, 5, "the name is not given again");
}
