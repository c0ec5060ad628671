use std::{collections::BTreeMap, net::SocketAddr};

use slipstream_shared::{api::RunSummary, event::Author};
use tempfile::TempDir;

use super::*;
use crate::{
    RunningCoordinator, cloud::fake::World, config::Config, seam::Seam, start_with, store::layout, testing::plan,
};

async fn start(data: &Path) -> RunningCoordinator {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let text = format!(
        "data = {:?}\n[server]\nlisten = \"{anywhere}\"\nagent_listen = \"{anywhere}\"\n",
        data.display().to_string()
    );
    let file = data.with_extension("toml");
    fs::write(&file, text).expect("written");
    let config = Config::load(&file).expect("good");
    let seam = Seam::real();
    let clouds = BTreeMap::from([("fake".to_owned(), World::new(seam.clone()).connector())]);
    start_with(config, seam, clouds).await.expect("starts")
}

async fn launch(coordinator: &RunningCoordinator, tag: &str) {
    let runs = &coordinator.app().runs;
    let id = runs.launch("admin", plan(), vec![tag.to_owned()], vec![]).await.expect("launched");
    let run = runs.find(&id.to_string()).await.expect("there");
    let key = "web.1:port".parse().expect("a key");
    run.set(Author::User("ann".to_owned()), key, Some("80".to_owned())).await.expect("set");
}

async fn runs(coordinator: &RunningCoordinator) -> Vec<RunSummary> {
    coordinator.app().runs.list(None, 100).await.expect("listed")
}

fn tags(runs: &[RunSummary]) -> Vec<String> {
    runs.iter().flat_map(|run| run.tags.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_runs_is_copied_and_goes_on_from_the_copy_as_the_same() {
    let folder = TempDir::new().expect("a folder");
    let (data, copy, file) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("backup"));
    let first = start(&data).await;
    launch(&first, "before").await;
    backup(&data, &file).await.expect("backed up");
    launch(&first, "after").await;
    let (token, authority) = (first.admin_token.clone(), first.authority().to_owned());
    assert!(first.stop().await);

    restore(&file, &copy).await.expect("restored");
    let second = start(&copy).await;
    assert_eq!((&second.admin_token, second.authority()), (&token, &*authority), "agents and people know it again");
    assert_eq!(tags(&runs(&second).await), ["before"]);
    assert!(second.stop().await);

    // Without a coordinator it is the same file.
    let later = folder.path().join("later");
    backup(&data, &later).await.expect("backed up");
    let third = folder.path().join("c");
    restore(&later, &third).await.expect("restored");
    let third = start(&third).await;
    assert_eq!(tags(&runs(&third).await), ["after", "before"]);
    assert!(third.stop().await);
}

#[tokio::test]
async fn what_is_there_is_never_overwritten() {
    let folder = TempDir::new().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("file"));
    fs::create_dir(&data).expect("made");
    let error = backup(&data, &file).await.expect_err("no store").to_string();
    assert!(error.ends_with("is not the data folder of a coordinator: it has no store"), "{error}");
    let store = SledBackend::open(&data.join("store")).expect("opens");
    store.close().await.expect("closes");
    backup(&data, &file).await.expect("backed up");
    let error = backup(&data, &file).await.expect_err("there already").to_string();
    assert!(error.ends_with("is there already; nothing was written"), "{error}");
    let error = restore(&file, &data).await.expect_err("in use").to_string();
    assert!(error.ends_with("is not empty; move it away first, nothing was changed"), "{error}");
}

#[tokio::test]
async fn a_damaged_backup_restores_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (data, file, copy) = (folder.path().join("data"), folder.path().join("file"), folder.path().join("copy"));
    let store = SledBackend::open(&data.join("store")).expect("opens");
    store.close().await.expect("closes");
    backup(&data, &file).await.expect("backed up");
    let good = fs::read(&file).expect("read");
    fs::write(&file, &good[..good.len() - 1]).expect("written");
    let error = restore(&file, &copy).await.expect_err("cut off").to_string();
    assert_eq!(error, "not a whole backup: it is cut off; nothing was restored");
    let mut writer = Writer::new(Vec::new()).expect("memory");
    writer.add(&Item::Entry(layout::FORMAT.to_vec(), Some(layout::version()))).expect("memory");
    writer.add(&Item::File("../outside".to_owned(), b"x".to_vec())).expect("memory");
    fs::write(&file, writer.finish().expect("memory").0).expect("written");
    let error = restore(&file, &copy).await.expect_err("it leads elsewhere").to_string();
    assert_eq!(error, "the backup has a file with the name \"../outside\"; nothing was restored");
    assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 2, "data and file");
}
