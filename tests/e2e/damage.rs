//! A store that was damaged: the program says what is lost and both ways on, and both lead on.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use slipstream_shared::state::RunState;
use slipstream_tests::{Coordinator, Options, program};

use crate::processes::{LIMIT, key, put_single};

fn coordinator(arguments: &[&str], data: &Path) -> Output {
    Command::new(program("slipstream-coordinator")).args(arguments).arg("--data").arg(data).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_damaged_store_is_not_served_and_there_are_two_ways_on() {
    let mut first = Coordinator::start(Options::default()).await;
    put_single(&first, "kept", "ss-display written").await;
    let run = first.launch("tests/kept").await;
    first.wait_for(&run, RunState::Ready, LIMIT).await;
    let data = first.data();
    let place = |name: &str| data.with_file_name(name);
    let (backup, rest) = (place("backup"), place("rest"));
    let made = coordinator(&["backup", backup.to_str().expect("text")], &data);
    assert!(made.status.success(), "{}", text(&made.stderr));
    for n in 0..300 {
        let value = format!("{n} {}", "x".repeat(1000));
        first.client().set_parameter(&run, &key("machine.1:statecustom"), &value).await.expect("set");
    }
    first.kill();

    let db = data.join("store/db");
    let whole = fs::read(&db).expect("there");
    fs::write(&db, &whole[..whole.len() / 2]).expect("written");
    let refused = coordinator(&["serve", "--dev"], &data);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("the store in {} is damaged: its file `db` ", data.join("store").display())),
        "{said}"
    );
    assert!(said.contains("was acknowledged: the last ") && said.contains(" are lost"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    // On with what can be read.
    let exported = coordinator(&["export", "--damaged", rest.to_str().expect("text")], &data);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert!(text(&exported.stdout).contains("\ncannot be read: its file `db` "), "{}", text(&exported.stdout));
    let full = coordinator(&["import", rest.to_str().expect("text")], &data);
    assert!(!full.status.success(), "the store is still there");
    fs::rename(data.join("store"), place("damaged-store")).expect("moved away");
    let imported = coordinator(&["import", rest.to_str().expect("text")], &data);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    first.restart().await;
    let runs = first.client().runs(None, 10).await.expect("served").items;
    assert!(runs.iter().all(|listed| listed.id.to_string() == run), "{runs:?}");
    let again = coordinator(&["import", rest.to_str().expect("text")], &data);
    assert!(text(&again.stderr).contains("in use by another coordinator"), "{}", text(&again.stderr));
    first.kill();
    let again = coordinator(&["import", rest.to_str().expect("text")], &data);
    assert!(
        text(&again.stderr).contains("is not empty; move it away first, nothing was changed"),
        "{}",
        text(&again.stderr)
    );

    // Or back to the backup.
    fs::rename(&data, place("damaged")).expect("moved away");
    let restored = coordinator(&["restore", backup.to_str().expect("text")], &data);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    // The machine of the run was left where it was.
    fs::rename(place("damaged").join("clouds"), data.join("clouds")).expect("moved back");
    first.restart().await;
    let value = first.client().parameter(&run, &key("machine.1:statecustom")).await.expect("served").value;
    assert_eq!(value.as_deref(), Some("written"), "as it was at the backup");
    first.client().terminate(&run).await.expect("accepted");
    first.wait_for(&run, RunState::Done, LIMIT).await;
}
