//! A store as one file, for backups and to move it to another backend.
//!
//! ```text
//! file  = "slipstream-backup 1\n" item* end
//! item  = 1 length-of-key length-of-value key value     an entry, or its new value
//!       | 2 length-of-key key                           an entry that is gone again
//!       | 3 length-of-name length-of-content name content   a file of the data folder
//! end   = 0 count-of-items(8 bytes) SHA-256 of all before
//! ```
//!
//! Numbers are big-endian, lengths have four bytes. Items count in the order in which they are: a copy of a store
//! that is written to meanwhile has the entries as they were found, and all changes since it began.

use std::io::{self, Read, Write};

use ring::digest::{Context, SHA256};

use super::{Backend, Batch, StoreError, layout};

const MAGIC: &[u8] = b"slipstream-backup 1\n";

/// Entries that are read of the store at a time.
const PAGE: usize = 64;

/// The bytes that are written to the store at a time, and then the last item.
const AT_ONCE: usize = 256 * 1024;

/// The longest part of an item that is believed.
const MOST: usize = 64 * 1024 * 1024;

/// Why a store cannot be copied into a file, or out of it.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file does not.
    #[error("cannot read or write the backup")]
    File(#[from] io::Error),
    /// The backend cannot be copied while it is open.
    #[error("this kind of store cannot be copied while it is in use")]
    Unsupported,
    /// It was written by a newer coordinator.
    #[error(
        "the backup has format {found}, this coordinator reads up to {}; use a newer one (nothing was restored)",
        layout::VERSION
    )]
    Format {
        /// Its format.
        found: String,
    },
    /// The store that it was to go into is in use for something else.
    #[error("the store is not empty; nothing was changed")]
    NotEmpty,
    /// It is not a backup, or not all of one.
    #[error("not a whole backup: {0}; nothing was restored")]
    Damaged(String),
}

/// One item of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A key and its value, or that it has none any more.
    Entry(Vec<u8>, Option<Vec<u8>>),
    /// A file beside the store.
    File(String, Vec<u8>),
}

/// Writes a file.
pub struct Writer<W> {
    to: W,
    sum: Context,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(to: W) -> Result<Self, DumpError> {
        let mut writer = Writer { to, sum: Context::new(&SHA256), count: 0 };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Adds an item.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, item: &Item) -> Result<(), DumpError> {
        match item {
            Item::Entry(key, Some(value)) => self.parts(1, &[key, value]),
            Item::Entry(key, None) => self.parts(2, &[key]),
            Item::File(name, content) => self.parts(3, &[name.as_bytes(), content]),
        }
    }

    /// Adds all of a store, as it is at the moment when this returns or shortly before.
    ///
    /// # Errors
    /// The store cannot be read or copied, or the file cannot be written.
    pub async fn add_store(&mut self, store: &dyn Backend) -> Result<(), DumpError> {
        let mut changes = store.follow().ok_or(DumpError::Unsupported)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(b"", after.as_deref(), PAGE).await?;
            let end = page.is_empty();
            for (key, value) in page {
                after = Some(key.clone());
                self.add(&Item::Entry(key, Some(value)))?;
            }
            while let Ok(group) = changes.try_recv() {
                for (key, value) in group.iter() {
                    self.add(&Item::Entry(key.clone(), value.clone()))?;
                }
            }
            if end {
                return Ok(());
            }
        }
    }

    /// Writes the end; gives back where it was written to, and how many items there are.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<(W, u64), DumpError> {
        self.put(&[&[0], &self.count.to_be_bytes()[..]].concat())?;
        let sum = self.sum.clone().finish();
        self.to.write_all(sum.as_ref())?;
        self.to.flush()?;
        Ok((self.to, self.count))
    }

    /// What was written to so far, to be emptied.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }

    fn parts(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), DumpError> {
        self.put(&[kind])?;
        for part in parts {
            let length = u32::try_from(part.len()).map_err(|_| io::Error::other("an item is too large"))?;
            self.put(&length.to_be_bytes())?;
        }
        for part in parts {
            self.put(part)?;
        }
        self.count += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.sum.update(bytes);
        Ok(self.to.write_all(bytes)?)
    }
}

/// Reads a file, item by item.
pub struct Reader<R> {
    from: R,
    sum: Context,
    count: u64,
}

impl<R: Read> Reader<R> {
    /// Begins.
    ///
    /// # Errors
    /// It is no backup, or one of another version.
    pub fn new(from: R) -> Result<Self, DumpError> {
        let mut reader = Reader { from, sum: Context::new(&SHA256), count: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.get(&mut magic)?;
        if magic == MAGIC { Ok(reader) } else { Err(damaged("its first line is not that of this version")) }
    }

    /// The next item. None: this was the last one, and all of them are as they were written.
    ///
    /// # Errors
    /// It is cut off or damaged.
    pub fn next_item(&mut self) -> Result<Option<Item>, DumpError> {
        let mut kind = [0];
        self.get(&mut kind)?;
        let item = match kind[0] {
            0 => return self.end().map(|()| None),
            1 => {
                let [key, value] = self.parts()?;
                Item::Entry(key, Some(value))
            }
            2 => {
                let [key] = self.parts()?;
                Item::Entry(key, None)
            }
            3 => {
                let [name, content] = self.parts()?;
                let name = String::from_utf8(name).map_err(|_| damaged("the name of a file is none"))?;
                Item::File(name, content)
            }
            _ => return Err(damaged(&format!("item {} is of no known kind", self.count + 1))),
        };
        self.count += 1;
        Ok(Some(item))
    }

    fn end(&mut self) -> Result<(), DumpError> {
        let mut count = [0; 8];
        self.get(&mut count)?;
        let sum = self.sum.clone().finish();
        let mut written = [0; 32];
        self.from.read_exact(&mut written).map_err(cut_off)?;
        if u64::from_be_bytes(count) != self.count || written != sum.as_ref() {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(())
    }

    fn parts<const N: usize>(&mut self) -> Result<[Vec<u8>; N], DumpError> {
        let mut parts = [const { Vec::new() }; N];
        for part in &mut parts {
            let mut length = [0; 4];
            self.get(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > MOST {
                return Err(damaged(&format!("item {} is too large", self.count + 1)));
            }
            part.resize(length, 0);
        }
        for part in &mut parts {
            self.get(part)?;
        }
        Ok(parts)
    }

    fn get(&mut self, into: &mut [u8]) -> Result<(), DumpError> {
        self.from.read_exact(into).map_err(cut_off)?;
        self.sum.update(into);
        Ok(())
    }
}

/// Reads a file to its end, to know that it is whole and that this coordinator can read it; gives the number of
/// its items, and the names of the files in it.
///
/// # Errors
/// It cannot be read, is not whole, or was written by a newer coordinator.
pub fn check<R: Read>(from: R) -> Result<(u64, Vec<String>), DumpError> {
    let (mut reader, mut names) = (Reader::new(from)?, Vec::new());
    let mut format = Some(Vec::new());
    while let Some(item) = reader.next_item()? {
        match item {
            Item::File(name, _) => names.push(name),
            Item::Entry(key, value) if key == layout::FORMAT => format = value,
            Item::Entry(..) => {}
        }
    }
    // What is left of a damaged store may lack it.
    if format.as_ref().is_none_or(|format| !format.is_empty()) {
        layout::readable(format.as_deref()).map_err(|found| DumpError::Format { found })?;
    }
    Ok((reader.count, names))
}

/// Puts the entries of a file into a store, which has to be a new one; gives the files beside it. The file has to
/// be checked before ([`check`]). The format of the store stays its own: what differs between formats is how the
/// backends keep entries.
///
/// # Errors
/// The store is not empty, the file cannot be read, or the store cannot be written.
pub async fn load<R: Read + Send>(
    reader: &mut Reader<R>,
    store: &dyn Backend,
) -> Result<Vec<(String, Vec<u8>)>, DumpError> {
    if store.scan(b"", None, 2).await?.iter().any(|(key, _)| key != layout::FORMAT) {
        return Err(DumpError::NotEmpty);
    }
    let (mut files, mut batch, mut size) = (Vec::new(), Batch::default(), 0);
    while let Some(item) = reader.next_item()? {
        match item {
            Item::File(name, content) => files.push((name, content)),
            Item::Entry(key, _) if key == layout::FORMAT => {}
            Item::Entry(key, value) => {
                size += key.len() + value.as_ref().map_or(0, Vec::len);
                batch.writes.push((key, value));
            }
        }
        if size > AT_ONCE {
            size = 0;
            store.append(std::mem::take(&mut batch)).await?;
        }
    }
    store.append(batch).await?;
    Ok(files)
}

fn cut_off(error: io::Error) -> DumpError {
    if error.kind() == io::ErrorKind::UnexpectedEof { damaged("it is cut off") } else { error.into() }
}

fn damaged(reason: &str) -> DumpError {
    DumpError::Damaged(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{MemoryBackend, SledBackend};

    async fn set(store: &dyn Backend, key: &str, value: Option<String>) {
        let writes = vec![(key.as_bytes().to_vec(), value.map(String::into_bytes))];
        store.append(Batch { expect: vec![], writes }).await.expect("written");
    }

    async fn all(store: &dyn Backend) -> Vec<(Vec<u8>, Vec<u8>)> {
        store.scan(b"", None, usize::MAX).await.expect("read")
    }

    async fn copy(store: &dyn Backend) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).expect("memory");
        writer.add_store(store).await.expect("copied");
        writer.add(&Item::File("ca.pem".to_owned(), b"PEM".to_vec())).expect("memory");
        writer.finish().expect("memory").0
    }

    #[tokio::test]
    async fn a_store_goes_from_one_backend_to_another_and_back() {
        let memory = MemoryBackend::new();
        for n in 0..500 {
            set(&memory, &format!("key/{n}"), Some("x".repeat(n * 10))).await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let sled = SledBackend::open(&folder.path().join("store")).expect("opens");
        let files = load(&mut Reader::new(&copy(&memory).await[..]).expect("ours"), &sled).await.expect("loaded");
        assert_eq!(files, [("ca.pem".to_owned(), b"PEM".to_vec())]);
        assert_eq!(all(&sled).await, all(&memory).await);
        let back = MemoryBackend::new();
        load(&mut Reader::new(&copy(&sled).await[..]).expect("ours"), &back).await.expect("loaded");
        assert_eq!(all(&back).await, all(&memory).await);
    }

    #[tokio::test]
    async fn a_copy_made_while_others_write_is_the_store_at_a_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(SledBackend::open(&folder.path().join("store")).expect("opens"));
        for n in 0..1000 {
            set(&*store, &format!("old/{n:04}"), Some("x".repeat(100))).await;
        }
        // Each step sets the first key, removes one in between, and then sets the last key.
        let writer = Arc::clone(&store);
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            for n in 0..400 {
                set(&*writer, "a", Some(n.to_string())).await;
                set(&*writer, &format!("old/{n:04}"), None).await;
                set(&*writer, "z", Some(n.to_string())).await;
            }
        });
        let mut copies = Vec::new();
        while writing.try_join_next().is_none() {
            copies.push(copy(&*store).await);
        }
        assert!(copies.len() > 1, "the store was written to meanwhile");
        for copy in copies {
            let restored = MemoryBackend::new();
            load(&mut Reader::new(&copy[..]).expect("ours"), &restored).await.expect("loaded");
            let number = async |key: &[u8]| -> i64 {
                let value = restored.get(key).await.expect("read");
                value.map_or(-1, |value| String::from_utf8_lossy(&value).parse().expect("a number"))
            };
            let (first, last) = (number(b"a").await, number(b"z").await);
            let gone =
                1000 - i64::try_from(restored.scan(b"old/", None, 2000).await.expect("read").len()).expect("few");
            assert!(last <= first && first <= last + 1, "first {first}, last {last}");
            assert!(last < gone && gone <= first + 1, "first {first}, last {last}, {gone} gone");
        }
    }

    #[tokio::test]
    async fn only_an_empty_store_is_filled_and_only_from_a_format_that_is_known() {
        let memory = MemoryBackend::new();
        set(&memory, "key", Some("value".to_owned())).await;
        let good = copy(&memory).await;
        assert_eq!(check(&good[..]).expect("whole"), (3, vec!["ca.pem".to_owned()]));
        let error = load(&mut Reader::new(&good[..]).expect("ours"), &memory).await.expect_err("is in use");
        assert!(matches!(error, DumpError::NotEmpty), "{error:?}");
        assert_eq!(all(&memory).await.len(), 2);

        let mut newer = Writer::new(Vec::new()).expect("memory");
        newer.add(&Item::Entry(layout::FORMAT.to_vec(), Some(b"3".to_vec()))).expect("memory");
        let error = check(&newer.finish().expect("memory").0[..]).expect_err("of the future").to_string();
        let expected =
            "the backup has format 3, this coordinator reads up to 2; use a newer one (nothing was restored)";
        assert_eq!(error, expected);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_refused_wherever_it_is_damaged() {
        let memory = MemoryBackend::new();
        set(&memory, "key", Some("value".to_owned())).await;
        let good = copy(&memory).await;
        let read = |bytes: &[u8]| -> Result<(), DumpError> {
            let mut reader = Reader::new(bytes)?;
            while reader.next_item()?.is_some() {}
            Ok(())
        };
        read(&good).expect("whole");
        for cut in 0..good.len() {
            let said = read(&good[..cut]).expect_err("cut off").to_string();
            assert!(said.starts_with("not a whole backup: "), "{said}");
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 8);
            assert!(matches!(read(&bad), Err(DumpError::Damaged(_))), "byte {place}");
        }
    }
}
