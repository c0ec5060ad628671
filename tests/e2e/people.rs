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

const IMAGE: &str = "slipstream: 1\nkind: image\nname: ann/image\nnative: { processes: host }\nplatform: other\n";
const COMPONENT: &str = "slipstream: 1\nkind: component\nname: ann/one\nimage: ann/image\ndeploy: |\n  true\n";

#[tokio::test]
async fn what_is_not_shared_is_not_there_and_what_is_shared_is_used_together() {
    let coordinator = Coordinator::start(Options::default()).await;
    let admin = coordinator.profile();
    done(&admin, "group add devs", "");
    for name in ["ann", "bob"] {
        done(&admin, &format!("user add {name} --password-file -"), "correct horse\n");
        done(&admin, &format!("group change devs --member {name}"), "");
    }
    let [ann, bob] = [fresh(&coordinator, "ann"), fresh(&coordinator, "bob")];
    done(&ann, "login ann --password-file -", "correct horse\n");
    done(&bob, "login bob --password-file -", "correct horse\n");
    let folder = coordinator.data();
    for (file, text) in [("image.yaml", IMAGE), ("one.yaml", COMPONENT)] {
        fs::write(folder.join(file), text).expect("written");
        done(&ann, &format!("module put {}", folder.join(file).display()), "");
    }
    let elsewhere = folder.join("elsewhere.yaml");
    fs::write(&elsewhere, IMAGE.replace("ann/", "apps/")).expect("written");
    let (code, _, err) = run(&ann, &format!("module put {}", elsewhere.display()), "");
    assert!(code == 4 && err.contains("or save below `ann/`"), "{err}");

    let mine = done(&ann, "run launch ann/one --wait -q -o json", "");
    let mine: serde_json::Value = serde_json::from_str(&mine).expect("JSON");
    let id = mine["id"].as_str().expect("an id").to_owned();
    let short = &id[id.len() - 8..];
    for line in ["run show", "run why", "param list", "run events", "run terminate", "run share"] {
        for run_id in [short, &id, "01890a5d-ac96-774b-bcce-b302099a8057"] {
            let (code, out, err) = run(&bob, &format!("{line} {run_id}"), "");
            assert!(code == 3 && err.contains(&format!("there is no run `{run_id}`")), "{line}: {code} {out} {err}");
        }
    }
    assert_eq!(run(&bob, "module show ann/one", "").0, 3);
    assert!(!done(&bob, "run list", "").contains(short) && !done(&bob, "module list", "").contains("ann/"));

    let shared = done(&ann, "share ann/one --group devs=launch", "");
    assert!(shared.contains("group devs  read,launch"), "{shared}");
    let (code, _, err) = run(&bob, "run launch ann/one", "");
    assert!(code != 0 && err.contains("ann/image"), "what it builds on is not shared: {err}");
    done(&ann, "share ann/image --group devs=launch", "");
    done(&ann, "share ann/one --runs --group devs=read", "");
    let his = done(&bob, "run launch ann/one --wait -q -o json", "");
    assert!(his.contains("\"owner\": \"bob\""), "{his}");
    let his: serde_json::Value = serde_json::from_str(&his).expect("JSON");
    let his = his["id"].as_str().expect("an id").to_owned();
    done(&ann, &format!("run show {his}"), "");
    assert_eq!(run(&ann, &format!("run terminate {his}"), "").0, 4, "she may only look");

    done(&ann, &format!("run share {id} --group devs=edit"), "");
    done(&bob, &format!("param set {short} machine.1:statecustom hello"), "");
    assert_eq!(run(&bob, &format!("run terminate {short}"), "").0, 4);
    done(&ann, &format!("run share {id} --group devs=nothing"), "");
    assert_eq!(run(&bob, &format!("run show {short}"), "").0, 3);
    done(&ann, &format!("run terminate {short} --wait"), "");
    done(&bob, &format!("run terminate {his} --wait"), "");
}
