//! Journals: any sequence of events that begins with one that is accepted makes a run, which can be shown,
//! goes on, and reads back from its snapshot.

use slipstream_coordinator::run::Run;
use slipstream_shared::{
    event::{Event, Record},
    id::RunId,
    parameter::Key,
};

use crate::driver::{Target, fuzz};

#[test]
fn journals() {
    fuzz(&Target {
        name: "journal",
        seeds: &[concat!(
            r#"{"seq":1,"at":"2023-11-14T22:13:20Z","by":"user:ann","kind":"accepted","owner":"ann","plan":{"module":"t@1","title":"t","category":"application","params":{"greeting":{"value":"${web[any].port}"}},"nodes":{"web":{"component":"t@1","count":2,"cloud":"fake","image":"any","login":"root","params":{"port":{"type":"port"},"url":{"value":"http://${web[*].address}:${port}"}},"steps":[{"step":"deploy","origin":"t","script":{"text":"true"}}]}}}}"#,
            "\n",
            r#"{"seq":2,"at":"2023-11-14T22:13:21Z","by":"system","kind":"launch_intended","instance":"web.1","attempt":1,"cloud":"fake","name":"n"}"#,
            "\n",
            r#"{"seq":3,"at":"2023-11-14T22:13:22Z","by":"system","kind":"launched","instance":"web.1","attempt":1,"machine":"m"}"#,
            "\n",
            r#"{"seq":4,"at":"2023-11-14T22:13:23Z","by":"system","kind":"address_known","instance":"web.1","public":"1.2.3.4"}"#,
            "\n",
            r#"{"seq":5,"at":"2023-11-14T22:13:24Z","by":"system","kind":"enrolled","instance":"web.1","attempt":1,"key":"k","agent":"1"}"#,
            "\n",
            r#"{"seq":6,"at":"2023-11-14T22:13:25Z","by":"web.1","op":1,"kind":"parameter_set","key":"web.1:port","value":"80"}"#,
            "\n",
            r#"{"seq":7,"at":"2023-11-14T22:13:26Z","by":"web.1","op":2,"kind":"step_finished","instance":"web.1","index":0,"step":"deploy","result":{"exit":0,"millis":3}}"#,
            "\n",
            r#"{"seq":8,"at":"2023-11-14T22:13:27Z","by":"system","kind":"abort_raised","instance":"web.1","reason":"x"}"#,
            "\n",
            r#"{"seq":9,"at":"2023-11-14T22:13:28Z","by":"user:ann","kind":"terminate_requested"}"#,
            "\n",
            r#"{"seq":10,"at":"2023-11-14T22:13:29Z","by":"system","kind":"state_changed","state":"Finalizing"}"#,
            "\n",
            r#"{"seq":11,"at":"2023-11-14T22:13:30Z","by":"system","kind":"machine_gone","instance":"web.1","attempt":1}"#,
        )],
        words: &[
            "\n",
            "\"web.1\"",
            "\"web.2\"",
            "\"kind\":\"instance_ready\"",
            "\"kind\":\"machine_running\"",
            "\"kind\":\"launch_failed\"",
            "\"kind\":\"abort_cancelled\"",
            "\"kind\":\"report_finished\"",
            "\"kind\":\"terminate_intended\"",
            "\"kind\":\"wait_began\"",
            "Ready",
            "Done",
            "SendingReports",
            "${web[any].url}",
            "\"count\":",
            "\"timeout\":",
            "\"policy\":{\"timeout\":",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
        ],
        read: journal,
        // Fifty instances, each with all its parameters shown and written, from a line for one.
        memory: 20_000,
    });
}

/// Launching refuses what has too many instances, long before there is an event.
fn is_launchable(first: &Record) -> bool {
    let Event::Accepted { plan, .. } = &first.event else { return false };
    plan.nodes.values().map(|node| u64::from(node.count)).sum::<u64>() <= 50
}

fn journal(input: &[u8]) {
    let id = RunId::new(1_700_000_000_000, [1; 10]);
    let records = input.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Record>(line).ok());
    let mut run: Option<Run> = None;
    for record in records.take(40) {
        match &mut run {
            Some(run) => drop(run.apply(&record)),
            None => {
                if !is_launchable(&record) {
                    return;
                }
                run = Run::begin(id, &record);
            }
        }
    }
    let Some(run) = run else { return };
    for now in [0, 1_700_000_000_000, 1_700_003_600_000, 253_402_300_799_000] {
        let _ = run.decide(now);
    }
    let parameters = run.parameters();
    assert!(parameters.iter().all(|p| run.kind_of(&p.key).is_some()), "a parameter that there is not");
    let _ = (run.detail(|_| true), run.summary(), run.value(&Key::run("state")));
    for id in run.instances.keys() {
        let _ = (run.agent_plan(id, true), run.agent_env(id, 0));
    }
    let snapshot = serde_json::to_string(&run).expect("a run serializes");
    let back: Run = serde_json::from_str(&snapshot).expect("its snapshot is read");
    assert_eq!(serde_json::to_string(&back).expect("serializes"), snapshot, "a snapshot loses something");
}
