//! Wrong keys, values, times and owners: each its own clear error wherever it is said, and nothing changed.

use slipstream_shared::state::RunState;
use slipstream_tests::{Coordinator, Machine, Options, cli};

use crate::processes::{LIMIT, key, problem, put_single};

/// Keys no parameter can have, with a part of what is said about each.
const KEYS: [(&str, &str); 9] = [
    (":", "must start with"),
    ("machine.1:", "must start with"),
    (":answer", "is not"),
    ("machine.1:an swer", "only letters"),
    ("machine.1:-answer", "must start with"),
    ("machine.1:a:b", "only letters"),
    ("machine.0:answer", "is not"),
    ("machine.x:answer", "is not"),
    ("machinê:answer", "is not"),
];

/// Arguments of a command of a machine, its exit code and a part of what it says.
const INSIDE: [(&str, i32, &str); 17] = [
    ("get nonsense", 7, "no parameter `machine.1:nonsense`"),
    ("set nonsense 1", 7, "no parameter"),
    ("set machine.2:answer 1", 7, "it belongs to machine.2"),
    ("unset machine.2:answer", 7, "it belongs to machine.2"),
    ("set machine.9:answer 1", 7, "no parameter"),
    ("set ss:state Done", 7, "the coordinator computes it"),
    ("set id 7", 7, "the coordinator computes it"),
    ("wait answer~(a", 7, "the pattern is wrong"),
    ("wait answer~(x{1000}){1000}", 7, "the pattern is wrong"),
    ("wait answer~(a*)*b --timeout 1", 4, "did not come within 1 s"),
    ("wait machine[0+]:answer", 7, "no number before the `+`"),
    ("get answer --timeout -1", 2, ""),
    ("get answer --timeout 1x", 2, "is not a time"),
    ("get answer --timeout 1000000000000000000000", 2, "too many"),
    ("barrier b --count 0", 7, "it would open for nobody"),
    ("barrier b --count -1", 2, ""),
    ("barrier b --of nobody", 7, "no node `nobody`"),
];

/// The same of the command line of people.
const OUTSIDE: [(&str, i32, &str); 13] = [
    ("param get RUN machine.1:nonsense", 3, "no parameter"),
    ("param set RUN ss:state Done", 4, "the coordinator computes it"),
    ("param set RUN machine.7:answer 1", 3, "no parameter"),
    ("param wait RUN machine.1:answer~(a", 2, "the pattern is wrong"),
    ("param wait RUN machine.1:answer~(x{1000}){1000}", 2, "the pattern is wrong"),
    ("param wait RUN machine.1:answer --timeout 0s", 2, "is not a time"),
    ("param wait RUN machine.1:answer --timeout -1s", 2, ""),
    ("param wait RUN machine.1:answer --timeout 1000000000000000000s", 2, "is not a time"),
    ("param wait RUN machine.1:answer --timeout 1s", 8, "within"),
    ("param get RUN machine.1:answer --wait 0s", 2, "is not a time"),
    ("barrier wait RUN b --count 0", 2, "it would open for nobody"),
    ("barrier wait RUN no/name", 2, "only letters"),
    ("lead end RUN nothing", 2, "nobody has ever led"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_by_name_and_changes_nothing() {
    let coordinator = Coordinator::start(Options::default()).await;
    put_single(&coordinator, "wrong", "true").await;
    let two = "slipstream: 1\nkind: application\nname: tests/pair\nnodes:\n  machine: { use: tests/wrong, count: 2 }\n";
    coordinator.client().put_module(two).await.expect("fine");
    let run = coordinator.launch("tests/pair").await;
    coordinator.wait_for(&run, RunState::Ready, LIMIT).await;
    let client = coordinator.client();
    // What the coordinator itself still has to say about the machines is no change of ours.
    for id in ["machine.1", "machine.2"] {
        client.wait_parameter(&run, &key(&format!("{id}:address")), LIMIT).await.expect("it has one");
        let running = [format!("{id}:vmstate=Running").parse().expect("valid")];
        client.wait(&run, &running, false, LIMIT).await.expect("it runs");
    }
    let machine = Machine::take_over(&coordinator, &run, "machine.1").await;
    let before = client.parameters(&run).await.expect("read");

    let inside = |arguments: &[&str]| {
        let output = machine.command(arguments).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let outside = |arguments: &[&str]| {
        let output = cli(&coordinator.profile()).args(arguments).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let check = |what: &str, wanted: (i32, &str), (code, said): (Option<i32>, String)| {
        assert!(code == Some(wanted.0) && said.contains(wanted.1), "`{what}` ended with {code:?}: {said}");
    };
    for (bad, says) in KEYS {
        check(bad, (7, says), inside(&["get", bad]));
        check(bad, (7, says), inside(&["set", bad, "x"]));
        check(bad, (7, says), inside(&["wait", bad]));
        check(bad, (2, says), outside(&["param", "set", &run, bad, "x"]));
        check(bad, (2, says), outside(&["param", "wait", &run, bad]));
    }
    for (what, code, says) in INSIDE {
        check(what, (code, says), inside(&what.split(' ').collect::<Vec<_>>()));
    }
    for (what, code, says) in OUTSIDE {
        let what = what.replace("RUN", &run);
        check(&what, (code, says), outside(&what.split(' ').collect::<Vec<_>>()));
    }
    let now = client.parameters(&run).await.expect("read");
    let same = |all: &[slipstream_shared::api::Parameter]| {
        all.iter().map(|p| (p.key.clone(), p.value.clone(), p.revision)).collect::<Vec<_>>()
    };
    assert_eq!(same(&now), same(&before), "something was changed");
    assert!(client.barriers(&run).await.expect("read").is_empty());

    client.terminate(&run).await.expect("accepted");
    coordinator.wait_for(&run, RunState::Done, LIMIT).await;
    let ended = problem(client.set_parameter(&run, &key("machine.1:answer"), "late").await.map(drop));
    assert_eq!((ended.status, ended.code.as_str()), (410, "run_ended"), "{ended:?}");
    let ended = problem(client.wait_parameter(&run, &key("machine.1:answer"), LIMIT).await);
    assert_eq!((ended.status, ended.code.as_str()), (410, "run_ended"), "{ended:?}");
}
