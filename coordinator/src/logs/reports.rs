//! Reports of machines: one gzipped tar file each, there whole or not at all.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use slipstream_shared::{
    api::ReportInfo,
    id::{InstanceId, RunId},
};
use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

const SUFFIX: &str = ".tar.gz";

/// Why a report is not kept.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is larger than allowed.
    #[error("a report may have {limit} bytes")]
    TooLarge {
        /// How many bytes it may have.
        limit: usize,
    },
    /// The sender stopped in the middle.
    #[error("the report did not arrive whole")]
    Cut,
    /// It cannot be written.
    #[error("cannot keep the report")]
    Io(#[from] io::Error),
}

/// All reports.
#[derive(Debug)]
pub struct Reports {
    root: PathBuf,
    /// Two uploads of one report must not write the same file.
    uploads: AtomicU64,
}

impl Reports {
    /// Those below `data`.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Reports { root: data.join("reports"), uploads: AtomicU64::new(0) }
    }

    /// Keeps a report; it replaces an earlier one of the same instance. Returns its size.
    ///
    /// # Errors
    /// See [`ReportError`]; an earlier report is still there then.
    pub async fn store<E>(
        &self,
        run: RunId,
        instance: &InstanceId,
        limit: usize,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<u64, ReportError> {
        let path = self.path(run, instance);
        fs::create_dir_all(self.folder(run)).await?;
        let upload = self.uploads.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_file_name(format!(".{instance}-{upload}"));
        let written = write(&unfinished, limit, body).await;
        if written.is_ok() {
            fs::rename(&unfinished, &path).await?;
            File::open(self.folder(run)).await?.sync_all().await?;
        } else {
            let _ = fs::remove_file(&unfinished).await;
        }
        written
    }

    /// The size of a report in bytes, if there is one.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub async fn size(&self, run: RunId, instance: &InstanceId) -> io::Result<Option<u64>> {
        Ok(self.open(run, instance).await?.map(|(_, size)| size))
    }

    /// A report to read, with its size, if there is one.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(&self, run: RunId, instance: &InstanceId) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(run, instance)).await {
            Ok(file) => {
                let size = file.metadata().await?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The reports of a run.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn list(&self, run: RunId) -> io::Result<Vec<ReportInfo>> {
        let mut found = Vec::new();
        let mut entries = match fs::read_dir(self.folder(run)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let instance = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            if let Some(instance) = instance {
                found.push(ReportInfo { instance, size: entry.metadata().await?.len() });
            }
        }
        found.sort_by(|a, b| a.instance.cmp(&b.instance));
        Ok(found)
    }

    fn folder(&self, run: RunId) -> PathBuf {
        self.root.join(run.to_string())
    }

    fn path(&self, run: RunId, instance: &InstanceId) -> PathBuf {
        self.folder(run).join(format!("{instance}{SUFFIX}"))
    }
}

async fn write<E>(
    path: &Path,
    limit: usize,
    body: impl Stream<Item = Result<Bytes, E>> + Send,
) -> Result<u64, ReportError> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).await?;
    let mut body = std::pin::pin!(body);
    let mut size = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| ReportError::Cut)?;
        size += chunk.len();
        if size > limit {
            return Err(ReportError::TooLarge { limit });
        }
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    file.sync_all().await?;
    Ok(size as u64)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_report_is_there_whole_or_not_at_all() {
        let data = tempfile::tempdir().expect("a folder");
        let reports = Reports::new(data.path());
        let run: RunId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a run");
        let web: InstanceId = "web.1".parse().expect("an instance");
        assert_eq!(reports.size(run, &web).await.expect("readable"), None);

        let whole = || stream::iter([Ok::<_, ()>(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"de"))]);
        assert_eq!(reports.store(run, &web, 5, whole()).await.expect("kept"), 5);
        let cut = stream::iter([Ok(Bytes::from_static(b"x")), Err(())]);
        assert!(matches!(reports.store(run, &web, 5, cut).await, Err(ReportError::Cut)));
        let error = reports.store(run, &web, 4, whole()).await.expect_err("too large");
        assert_eq!(error.to_string(), "a report may have 4 bytes");

        assert_eq!(reports.list(run).await.expect("readable"), [ReportInfo { instance: web.clone(), size: 5 }]);
        let folder = reports.folder(run);
        assert_eq!(std::fs::read_dir(folder).expect("readable").count(), 1, "nothing unfinished is left");
    }
}
