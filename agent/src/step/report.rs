//! The report: its scripts, then the report folder and all logs as one gzipped tar file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use slipstream_shared::link::{AgentPlan, AgentStep, Change, MAX_REPORT, REPORT_PATH, Reply, Up};
use tokio::time::{sleep, timeout};

use super::{make, run_step};
use crate::{
    agent::Agent,
    connect::{ConnectError, full},
    state::Folder,
    trouble::say,
};

/// How long the values of a report script may be missing: in a failed run they may never come.
const VALUES_WITHIN: Duration = Duration::from_secs(10);

/// How often the upload is tried before the report is given up.
const TRIES: u32 = 5;

/// How long one upload may take.
const UPLOAD_WITHIN: Duration = Duration::from_secs(600);

/// Sends a report each time one is asked for.
pub(super) async fn on_request(agent: &Arc<Agent>) -> std::convert::Infallible {
    let mut requests = agent.link.report();
    loop {
        // The sender lives as long as the link.
        let _ = requests.changed().await;
        let plan = agent.link.plan().borrow().clone().unwrap_or_default();
        run_scripts(agent, &plan).await;
        if let Err(e) = send(agent).await {
            say(format_args!("cannot send the report: {e}"));
        }
        make(agent, Change::Reported);
    }
}

async fn run_scripts(agent: &Arc<Agent>, plan: &AgentPlan) {
    for (index, step) in (0..).zip(&plan.steps).skip(plan.deploy as usize) {
        let env = environment(agent, step, index).await;
        // Its failure is in its result; a report is sent all the same.
        run_step(agent, plan, step, index, env, false).await;
    }
}

async fn environment(agent: &Agent, step: &AgentStep, index: u32) -> BTreeMap<String, String> {
    if step.gated
        && let Ok(Reply::Env { env }) = timeout(VALUES_WITHIN, agent.link.ask(|id| Up::Env { id, index })).await
    {
        return env;
    }
    step.env.clone()
}

async fn send(agent: &Agent) -> io::Result<()> {
    let folder = agent.folder.clone();
    let name = format!("{}_report", agent.context.instance);
    let path = tokio::task::spawn_blocking(move || pack(&folder, &name)).await.map_err(io::Error::other)??;
    let mut last = io::Error::other("there is no connection");
    for attempt in 0..TRIES {
        agent.link.up().await;
        match put(agent, &path).await {
            Ok(200..=299) => return fs::remove_file(&path),
            Ok(status @ 400..=499) => return Err(io::Error::other(format!("refused with status {status}"))),
            Ok(status) => last = io::Error::other(format!("status {status}")),
            Err(e) => last = io::Error::other(e),
        }
        sleep(Duration::from_millis(200) * 2u32.pow(attempt)).await;
    }
    Err(last)
}

async fn put(agent: &Agent, path: &Path) -> Result<u16, ConnectError> {
    let failed = |why: String| ConnectError::Http { what: "cannot send the report", why };
    let connection = agent.connection.borrow().clone().ok_or_else(|| failed("there is no connection".to_owned()))?;
    let request = connection
        .request("PUT", REPORT_PATH)
        .header("content-type", "application/gzip")
        .body(full(fs::read(path).map_err(|e| failed(e.to_string()))?))
        .expect("the URL was parsed before");
    connection.call(request, UPLOAD_WITHIN).await.map(|(status, _)| status)
}

/// Packs the report folder and, as far as there is room, the logs.
fn pack(folder: &Folder, name: &str) -> io::Result<std::path::PathBuf> {
    let path = folder.file("report.tar.gz");
    let mut room = MAX_REPORT as u64;
    let mut tar = tar::Builder::new(GzEncoder::new(File::create(&path)?, Compression::default()));
    tar.follow_symlinks(false);
    for part in ["report", "log"] {
        add(&mut tar, &folder.file(part), &Path::new(name).join(part), &mut room)?;
    }
    tar.into_inner()?.finish()?.sync_all()?;
    Ok(path)
}

fn add(tar: &mut tar::Builder<GzEncoder<File>>, from: &Path, to: &Path, room: &mut u64) -> io::Result<()> {
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            add(tar, &entry.path(), &to, room)?;
        } else if kind.is_file() {
            // Headers count too. Compressed it is smaller, never larger by more than the header.
            let size = entry.metadata()?.len() + 1024;
            if size > *room {
                say(format_args!("{} does not fit into the report", entry.path().display()));
                continue;
            }
            *room -= size;
            // A log grows while it is packed: take what was there.
            let mut header = tar::Header::new_gnu();
            header.set_metadata(&entry.metadata()?);
            header.set_size(size - 1024);
            tar.append_data(&mut header, to, io::Read::take(File::open(entry.path())?, size - 1024))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_report_holds_the_report_folder_and_the_logs() {
        let dir = tempfile::tempdir().unwrap();
        let folder =
            Folder::open(dir.path(), &slipstream_shared::id::RunId::new(1, [1; 10]), &"web.1".parse().unwrap())
                .unwrap();
        fs::create_dir(folder.file("report/deep")).unwrap();
        fs::write(folder.file("report/deep/access.log"), "hits").unwrap();
        fs::write(folder.log(0, "deploy"), "output").unwrap();
        let path = pack(&folder, "web.1_report").unwrap();
        let mut names = Vec::new();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).unwrap()));
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            names.push((entry.path().unwrap().display().to_string(), text));
        }
        let expected = [("web.1_report/report/deep/access.log", "hits"), ("web.1_report/log/0-deploy.log", "output")];
        assert_eq!(names, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
