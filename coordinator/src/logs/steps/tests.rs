use super::*;

fn key(index: u32) -> StepKey {
    StepKey {
        run: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a run"),
        instance: "web.1".parse().expect("an instance"),
        attempt: 1,
        index,
        step: "deploy".to_owned(),
    }
}

async fn text(log: &StepLog) -> String {
    String::from_utf8(log.read(0, usize::MAX >> 1).await.expect("readable")).expect("text")
}

#[tokio::test]
async fn a_chunk_counts_once_and_a_gap_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let logs = Logs::new(data.path());
    let log = logs.step(&key(0));
    assert_eq!(text(&log).await, "");
    assert_eq!(log.append(0, b"hello ").await.expect("written"), Appended::To(6));
    assert_eq!(log.append(0, b"hello ").await.expect("written"), Appended::To(6));
    assert_eq!(log.append(3, b"lo world").await.expect("written"), Appended::To(11));
    assert_eq!(log.append(12, b"!").await.expect("written"), Appended::Gap(11));
    assert_eq!(text(&log).await, "hello world");
    log.bridge(31).await.expect("filled");
    assert_eq!(log.append(31, b"!").await.expect("written"), Appended::To(32));
    assert_eq!(text(&log).await, "hello world[output lost]\n[outpu!");
    assert_eq!(log.read(6, 5).await.expect("readable"), b"world");
}

#[tokio::test]
async fn output_goes_on_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    Logs::new(data.path()).step(&key(0)).append(0, b"one").await.expect("written");
    let logs = Logs::new(data.path());
    let log = logs.step(&key(0));
    assert_eq!(log.append(0, b"one two").await.expect("written"), Appended::To(7));
    assert_eq!(text(&log).await, "one two");
    logs.step(&key(1)).append(0, b"x").await.expect("written");
    let sizes = async |instance: &str, attempt| {
        logs.sizes(key(0).run, &instance.parse().expect("valid"), attempt).await.expect("listed")
    };
    assert_eq!(sizes("web.1", 1).await, BTreeMap::from([(0, 7), (1, 1)]));
    assert_eq!(sizes("web.1", 2).await, BTreeMap::new());
    assert_eq!(sizes("db.1", 1).await, BTreeMap::new());
}

#[tokio::test]
async fn what_is_too_much_is_acknowledged_and_thrown_away() {
    let data = tempfile::tempdir().expect("a folder");
    let log = Logs::new(data.path()).step(&key(0));
    log.append(0, b"").await.expect("written");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&log.path)
        .and_then(|file| file.set_len(MAX_STEP - 2))
        .expect("a sparse file");
    let log = Logs::new(data.path()).step(&key(0));
    assert_eq!(log.append(MAX_STEP - 2, b"abcd").await.expect("written"), Appended::To(MAX_STEP + 2));
    assert_eq!(log.append(MAX_STEP + 100, b"e").await.expect("written"), Appended::To(MAX_STEP + 101));
    let end = log.read(MAX_STEP - 2, 1000).await.expect("readable");
    assert_eq!(end, [b"ab".as_slice(), CUT].concat());
}

#[tokio::test]
async fn a_reader_hears_of_growth_and_of_the_end() {
    let data = tempfile::tempdir().expect("a folder");
    let logs = Logs::new(data.path());
    let reader = logs.step(&key(0));
    let mut progress = reader.watch();
    logs.step(&key(0)).append(0, b"x").await.expect("written");
    progress.changed().await.expect("tells");
    assert_eq!(*progress.borrow_and_update(), Progress { written: 1, ended: false });
    logs.step(&key(0)).finish().await.expect("synced");
    progress.changed().await.expect("tells");
    assert!(progress.borrow().ended);
}

#[test]
fn names_of_files_read_back_and_hold_no_slash() {
    assert_eq!(parse_name("2-11-pre_install.log"), Some((2, 11)));
    for other in ["2-11-x", "a-1-x.log", ".new", "1.log"] {
        assert_eq!(parse_name(other), None, "{other}");
    }
    assert_eq!(file_name("../x"), "___x");
}
