//! Backups: one file with the store and the secrets beside it, made while the coordinator runs or not.
//!
//! The store of a coordinator that runs is locked by it, so it is asked for a copy, over its API. Keys and the
//! administrator's token never go over the network: whoever makes the backup reads them from the data folder. What
//! is bulk (output of steps, reports) is in files of its own, which only grow, and is not part of a backup.
//!
//! An export is the same file without the secrets: what the store holds, to fill the empty store of another
//! coordinator, or of this one after its store was damaged.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Seek as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use hyper::{
    HeaderMap, Method,
    header::{self, HeaderValue},
};
use slipstream_shared::http::{Http, Limits, Request};

use crate::{
    files::{self, SECRET},
    store::{
        Backend, SledBackend, StoreError,
        dump::{self, DumpError, Item, Reader, Writer, load},
        layout,
    },
};

/// Where the API of the coordinator that uses a data folder is.
pub const ADDRESS: &str = "api-address";

/// The largest file beside the store that is taken along. Keys are smaller.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Copies a store that may be in use into a file without a name.
///
/// # Errors
/// The store cannot be copied, or there is no room for the file.
pub async fn copy_store(store: Arc<dyn Backend>) -> Result<File, DumpError> {
    let runtime = tokio::runtime::Handle::current();
    let copied = tokio::task::spawn_blocking(move || {
        let mut writer = Writer::new(BufWriter::new(tempfile()?))?;
        runtime.block_on(writer.add_store(&*store))?;
        let (file, _) = writer.finish()?;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    });
    copied.await.map_err(|_| io::Error::other("copying was cut short"))?
}

/// A file that is gone when it is closed.
fn tempfile() -> io::Result<File> {
    let mut random = [0; 8];
    crate::seam::Seam::real().fill(&mut random);
    let path = std::env::temp_dir().join(format!("slipstream-backup-{}", crate::pki::hex(&random)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(SECRET).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Writes a backup of the coordinator with this data folder; gives the number of entries and files.
///
/// # Errors
/// The file is there already, or something cannot be read or written. There is then no file.
pub async fn backup(data: &Path, into: &Path) -> anyhow::Result<u64> {
    let copy = copy_of(data, into).await?;
    let beside = beside(data)?;
    write(into, |writer| fill_from(copy, writer, beside))
}

/// The same without the files beside the store.
///
/// # Errors
/// As of [`backup`].
pub async fn export(data: &Path, into: &Path) -> anyhow::Result<u64> {
    let copy = copy_of(data, into).await?;
    write(into, |writer| fill_from(copy, writer, Vec::new()))
}

/// Exports what can be read of a damaged store; gives the number of entries, and says what cannot be read.
///
/// # Errors
/// As of [`backup`]; or nothing can be read.
pub async fn export_damaged(data: &Path, into: &Path) -> anyhow::Result<(u64, Vec<String>)> {
    may_copy(data, into)?;
    let (path, into) = (data.join("store"), into.to_owned());
    let exported = tokio::task::spawn_blocking(move || {
        let mut lost = Vec::new();
        let count = write(&into, |writer| {
            let mut keys = std::collections::HashSet::new();
            lost = SledBackend::salvage(&path, &mut |key, value| {
                if key == layout::FORMAT
                    || !keys.insert(ring::digest::digest(&ring::digest::SHA256, key).as_ref().to_vec())
                {
                    return Ok(());
                }
                writer.add(&Item::Entry(key.to_vec(), Some(value.to_vec()))).map_err(io::Error::other)
            })?;
            Ok(())
        })?;
        Ok((count, lost))
    });
    exported.await?
}

fn may_copy(data: &Path, into: &Path) -> anyhow::Result<()> {
    ensure!(!into.exists(), "{} is there already; nothing was written", into.display());
    ensure!(data.join("store").is_dir(), "{} is not the data folder of a coordinator: it has no store", data.display());
    Ok(())
}

/// A copy of the store, which may be in use.
async fn copy_of(data: &Path, into: &Path) -> anyhow::Result<File> {
    may_copy(data, into)?;
    let path = data.join("store");
    let opened = tokio::task::spawn_blocking(move || SledBackend::open(&path)).await?;
    let mut copy = match opened {
        Ok(store) => {
            let store: Arc<dyn Backend> = Arc::new(store);
            let copy = copy_store(Arc::clone(&store)).await?;
            store.close().await?;
            copy
        }
        Err(StoreError::InUse { .. }) => ask(data).await?,
        Err(error) => return Err(error.into()),
    };
    copy.rewind()?;
    Ok(copy)
}

/// Writes a file whole, or not at all; gives the number of its items.
fn write(into: &Path, fill: impl FnOnce(&mut Writer<BufWriter<File>>) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let mut name = into.file_name().context("the backup needs a name")?.to_owned();
    name.push(".part");
    let part = into.with_file_name(name);
    let write = || {
        let cannot = || format!("cannot write {}", part.display());
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(SECRET).open(&part).with_context(cannot)?;
        let mut writer = Writer::new(BufWriter::new(file)).with_context(cannot)?;
        fill(&mut writer)?;
        let (file, count) = writer.finish().with_context(cannot)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all().with_context(cannot)?;
        Ok::<_, anyhow::Error>(count)
    };
    let count = write().inspect_err(|_| drop(fs::remove_file(&part)))?;
    fs::rename(&part, into).with_context(|| format!("cannot write {}", into.display()))?;
    files::sync_folder(into)?;
    Ok(count)
}

fn fill_from(copy: File, writer: &mut Writer<BufWriter<File>>, beside: Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let mut reader = Reader::new(BufReader::new(copy))?;
    while let Some(item) = reader.next_item().context("the copy of the store")? {
        writer.add(&item).context("cannot write the backup")?;
    }
    for (name, content) in beside {
        writer.add(&Item::File(name, content)).context("cannot write the backup")?;
    }
    Ok(())
}

/// The files of a data folder that are needed to go on: keys, certificate, token.
fn beside(data: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let entry = entry?;
        let (name, metadata) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?);
        if metadata.is_file() && metadata.len() <= LARGEST_FILE && name != ADDRESS {
            let content = fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            found.push((name, content));
        }
    }
    found.sort();
    Ok(found)
}

/// Asks the coordinator that has the store open.
async fn ask(data: &Path) -> anyhow::Result<File> {
    let read = |name: &str| {
        let path = data.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let address: SocketAddr = read(ADDRESS)?.trim().parse().context("the address of the coordinator is none")?;
    let http = Http::new(&read("ca.pem")?, Limits::default())?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", read("admin-token")?.trim()))?;
    bearer.set_sensitive(true);
    let request = Request {
        method: Method::GET,
        url: format!("https://{}/api/v1/backup", reachable(address)).parse()?,
        headers: HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]),
        body: bytes::Bytes::new(),
        patience: Some(std::time::Duration::from_secs(600)),
    };
    let mut answer = http.send(request).await?;
    if !answer.status.is_success() {
        let body = answer.body.bytes().await.unwrap_or_default();
        bail!("the coordinator does not give a copy (status {}): {}", answer.status, String::from_utf8_lossy(&body));
    }
    let mut file = tempfile()?;
    while let Some(chunk) = answer.body.chunk().await? {
        io::Write::write_all(&mut file, &chunk)?;
    }
    Ok(file)
}

/// Where an address that is listened on can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Makes a data folder from a backup; gives the number of entries and files.
///
/// # Errors
/// There is such a folder already, the backup is not whole, or something cannot be written. There is then no folder.
pub async fn restore(from: &Path, data: &Path) -> anyhow::Result<u64> {
    let empty = fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none());
    ensure!(empty, "{} is not empty; move it away first, nothing was changed", data.display());
    let open = || File::open(from).map(BufReader::new).with_context(|| format!("cannot read {}", from.display()));
    let (count, names) = dump::check(open()?)?;
    names.iter().try_for_each(|name| plain(name))?;
    let mut name = data.file_name().context("the data folder needs a name")?.to_owned();
    name.push(".restoring");
    let unfinished = data.with_file_name(name);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let filled = fill(open()?, &unfinished, true).await;
    filled.inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))?;
    fs::rename(&unfinished, data).with_context(|| format!("cannot make {}", data.display()))?;
    files::sync_folder(data)?;
    Ok(count)
}

/// Fills the empty store of a data folder, which may be new, from an export or a backup, of which it takes the
/// entries alone; gives the number of entries and files that were read.
///
/// # Errors
/// The store is not empty or in use, the file is not whole, or something cannot be written. The store is then as it was.
pub async fn import(from: &Path, data: &Path) -> anyhow::Result<u64> {
    let open = || File::open(from).map(BufReader::new).with_context(|| format!("cannot read {}", from.display()));
    let (count, _) = dump::check(open()?)?;
    let store = data.join("store");
    if store.exists() {
        let path = store.clone();
        let opened = tokio::task::spawn_blocking(move || SledBackend::open(&path)).await??;
        let entries = opened.scan(b"", None, 2).await?;
        opened.close().await?;
        let empty = entries.iter().all(|(key, _)| key == layout::FORMAT);
        ensure!(empty, "{} is not empty; move it away first, nothing was changed", store.display());
        fs::remove_dir_all(&store).with_context(|| format!("cannot replace {}", store.display()))?;
    }
    let unfinished = data.join("store.importing");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    files::private_folder(data).with_context(|| format!("cannot make {}", data.display()))?;
    let filled = fill(open()?, &unfinished, false).await;
    filled.inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))?;
    fs::rename(unfinished.join("store"), &store).with_context(|| format!("cannot make {}", store.display()))?;
    fs::remove_dir(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    files::sync_folder(&store)?;
    Ok(count)
}

async fn fill(from: BufReader<File>, folder: &Path, beside: bool) -> anyhow::Result<()> {
    files::private_folder(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path: PathBuf = folder.join("store");
    let store = tokio::task::spawn_blocking(move || SledBackend::open(&path)).await??;
    let files = load(&mut Reader::new(from)?, &store).await?;
    store.close().await?;
    for (name, content) in files.into_iter().filter(|_| beside) {
        plain(&name)?;
        files::write_atomic(&folder.join(&name), &content, SECRET).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// A name that leads nowhere but into the folder.
fn plain(name: &str) -> anyhow::Result<()> {
    let mut parts = Path::new(name).components();
    let plain =
        matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None)) && name != "store";
    ensure!(plain, "the backup has a file with the name {name:?}; nothing was restored");
    Ok(())
}

#[cfg(test)]
mod tests;
