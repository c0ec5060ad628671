//! What this machine can do at best: its disk, and a question over TLS.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use crate::{
    Run,
    ours::{Ours, key},
    row::{Rounds, Rows},
    scene::quantile,
};

pub(super) async fn play(run: &Run, rows: &mut Rows) -> anyhow::Result<()> {
    let (rounds, tries) = if run.quick { (2, 200) } else { (5, 1000) };
    let (mut disk, mut tls) = (Rounds::default(), Rounds::default());
    let ours = Ours::start(&run.data).await?;
    let client = ours.client().await?;
    let id = ours.launch(&client, 1).await?;
    for _ in 0..rounds {
        let path = run.data.join("sync");
        disk.ours(quantile(&mut synced(&File::create(&path)?, tries)?, 0.5) * 1000.0);
        std::fs::remove_file(path)?;
        let mut took = Vec::new();
        for _ in 0..tries {
            let began = Instant::now();
            client.parameter(&id, &key(0)?).await?;
            took.push(began.elapsed());
        }
        tls.ours(quantile(&mut took, 0.5) * 1000.0);
    }
    rows.add(&disk.row("limit: 4 KiB written and fdatasync, p50", "ms", "", ""))?;
    rows.add(&tls.row("limit: a value read through the API, p50", "ms", "", ""))
}

/// How long each of so many written pages takes until it is on the disk. The file has its size before, as the
/// logs of both servers have.
fn synced(file: &File, tries: usize) -> anyhow::Result<Vec<Duration>> {
    let page = [7; 4096];
    file.write_all_at(&vec![0; page.len() * tries], 0)?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(tries);
    for n in 0..tries {
        let began = Instant::now();
        file.write_all_at(&page, (n * page.len()) as u64)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    Ok(took)
}
