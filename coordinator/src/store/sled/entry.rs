//! How entries lie in sled's tree.
//!
//! sled keeps up to about twenty neighbours in one page, rewrites the page after ten changes, and moves
//! a page larger than a quarter of a segment to a file of its own, which it never syncs. So large values
//! are cut: the head of an entry is small, and the rest lies apart, where small neighbours do not pay
//! for it.
//!
//! | key in the tree | value |
//! |---|---|
//! | `h` key | 2, checksum (u32) and the value, or 3, checksum and the length (u32) of a value that lies in chunks |
//! | `c` length of key (u16) key number of chunk (u16) | a chunk |
//! | `g` | [`Total`]: number of the last group of batches ([`super::writer`]), entries, sum of their checksums |
//!
//! Format 1 had 0 in place of 2 and 1 in place of 3, without checksums, and the number alone in `g`.
//!
//! sled drops what it cannot read when it is opened, and goes on with the version before. The checksums show what
//! is not as it was written, their sum what is missing ([`super::check`]).

use std::{collections::HashMap, ops::Bound};

use sled::{IVec, Tree};

use crate::{
    planted::Bug,
    store::{DAMAGED, MAX_VALUE, layout},
};

/// The longest value kept beside its key.
const MAX_INLINE: usize = 4 * 1024;
/// What a chunk holds; only the last one of a value is shorter.
const CHUNK: usize = 32 * 1024;
const GROUP: &[u8] = b"g";

/// The head of an entry.
struct Head<'a> {
    /// The checksum of key and value. None: it was written by format 1, which had none.
    sum: Option<u32>,
    body: Body<'a>,
}

enum Body<'a> {
    Inline(&'a [u8]),
    Chunks(usize),
}

impl<'a> Head<'a> {
    fn parse(head: &'a [u8]) -> sled::Result<Self> {
        let size = |size: &[u8; 4]| Body::Chunks(u32::from_be_bytes(*size) as usize);
        let (sum, body) = match head {
            [0, value @ ..] => (None, Body::Inline(value)),
            [1, rest @ ..] => (None, size(rest.try_into().map_err(|_| incomplete())?)),
            [2, a, b, c, d, value @ ..] => (Some([*a, *b, *c, *d]), Body::Inline(value)),
            [3, a, b, c, d, rest @ ..] => (Some([*a, *b, *c, *d]), size(rest.try_into().map_err(|_| incomplete())?)),
            _ => return Err(incomplete()),
        };
        Ok(Head { sum: sum.map(u32::from_be_bytes), body })
    }

    /// The value; none if it is not as it was written.
    fn value(&self, tree: &Tree, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
        let value = match self.body {
            Body::Inline(value) => value.to_vec(),
            Body::Chunks(size) => {
                let mut value = Vec::with_capacity(size.min(MAX_VALUE));
                for number in 0..self.chunks() {
                    let Some(chunk) = tree.get(chunk_key(key, number))? else { return Ok(None) };
                    value.extend_from_slice(&chunk);
                }
                if value.len() != size {
                    return Ok(None);
                }
                value
            }
        };
        Ok(self.sum.is_none_or(|sum| sum == checksum(key, &value)).then_some(value))
    }

    fn chunks(&self) -> usize {
        if let Body::Chunks(size) = self.body { size.div_ceil(CHUNK) } else { 0 }
    }

    fn size(&self) -> usize {
        match self.body {
            Body::Inline(value) => value.len(),
            Body::Chunks(size) => size,
        }
    }
}

/// What all entries come to, kept with each group: an entry that is gone or old shows by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Total {
    /// The number of the last group.
    pub(super) group: u64,
    /// How many entries have a checksum.
    pub(super) entries: u64,
    /// The sum of their checksums.
    pub(super) sum: u64,
}

impl Total {
    pub(super) fn add(&mut self, sum: u32) {
        self.entries += 1;
        self.sum = self.sum.wrapping_add(u64::from(sum));
    }

    fn take(&mut self, sum: u32) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(u64::from(sum));
    }

    fn bytes(self) -> Vec<u8> {
        [self.group, self.entries, self.sum].iter().flat_map(|number| number.to_be_bytes()).collect()
    }
}

/// The total as the last group has it. A store of format 1 has the number alone.
pub(super) fn total(tree: &Tree) -> sled::Result<Total> {
    let Some(bytes) = tree.get(GROUP)? else { return Ok(Total::default()) };
    let mut numbers = bytes.chunks(8).map(|number| number.try_into().map(u64::from_be_bytes));
    let mut next = || numbers.next().transpose().map_err(|_| incomplete());
    let group = next()?.ok_or_else(incomplete)?;
    Ok(Total { group, entries: next()?.unwrap_or(0), sum: next()?.unwrap_or(0) })
}

/// An entry as it lies in the tree.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    /// None: it was written by format 1.
    pub(super) sum: Option<u32>,
    /// None: it is not as it was written.
    pub(super) value: Option<Vec<u8>>,
}

/// All entries of a prefix behind `after`, in order.
pub(super) fn all<'a>(
    tree: &'a Tree,
    prefix: &[u8],
    after: Option<&[u8]>,
) -> impl DoubleEndedIterator<Item = sled::Result<Found>> + 'a {
    let start = match after {
        Some(after) => Bound::Excluded(head_key(after)),
        None => Bound::Included(head_key(prefix)),
    };
    // It never gets empty: a head begins with `h`.
    let mut end = head_key(prefix);
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    end.last_mut().into_iter().for_each(|last| *last += 1);
    tree.range((start, Bound::Excluded(end))).map(|item| {
        let (key, head) = item?;
        let head = Head::parse(&head)?;
        let key = key[1..].to_vec();
        Ok(Found { sum: head.sum, value: head.value(tree, &key)?, key })
    })
}

/// The value of a key; [`DAMAGED`] if it is not as it was written.
pub(super) fn get(tree: &Tree, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
    let head = tree.get(head_key(key))?;
    head.map(|head| Ok(Head::parse(&head)?.value(tree, key)?.unwrap_or_else(|| DAMAGED.to_vec()))).transpose()
}

/// Up to `limit` entries with this prefix, those after `after` if given.
pub(super) fn scan(
    tree: &Tree,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> sled::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let entry = |(key, head): (IVec, IVec)| {
        let key = key[1..].to_vec();
        let value = Head::parse(&head)?.value(tree, &key)?.unwrap_or_else(|| DAMAGED.to_vec());
        Ok((key, value))
    };
    heads(tree, prefix, after).take(limit).map(|item| entry(item?)).collect()
}

/// Up to `limit` keys with this prefix, those after `after` if given; fewer when their values are large,
/// since deleting those takes as much of a group as writing them.
pub(super) fn keys(tree: &Tree, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> sled::Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    let mut size = 0;
    for item in heads(tree, prefix, after).take(limit) {
        let (key, head) = item?;
        size += Head::parse(&head)?.size();
        if size > MAX_VALUE && !keys.is_empty() {
            break;
        }
        keys.push(key[1..].to_vec());
    }
    Ok(keys)
}

/// Entries of format 1 behind `after`, until they have so many bytes.
pub(super) fn unchecked(tree: &Tree, after: Option<&[u8]>, limit: usize) -> sled::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (mut page, mut size) = (Vec::new(), 0);
    for found in all(tree, b"", after) {
        let found = found?;
        // One that lacks a part stays as it is: it shows as damaged.
        if let (None, Some(value)) = (found.sum, found.value)
            && found.key != layout::FORMAT
        {
            size += found.key.len() + value.len();
            page.push((found.key, value));
        }
        if size > limit {
            break;
        }
    }
    Ok(page)
}

/// What sled has to change for these writes to become group number `group`.
pub(super) fn stage(tree: &Tree, writes: &HashMap<Vec<u8>, Option<Vec<u8>>>, group: u64) -> sled::Result<sled::Batch> {
    let mut batch = sled::Batch::default();
    let mut total = Total { group, ..total(tree)? };
    for (key, value) in writes {
        let head = head_key(key);
        let old = tree.get(&head)?;
        let before = old.as_deref().map(Head::parse).transpose()?;
        let chunks = value.as_deref().filter(|value| is_cut(value)).map_or(0, |value| value.len().div_ceil(CHUNK));
        for number in chunks..before.as_ref().map_or(0, Head::chunks) {
            batch.remove(chunk_key(key, number));
        }
        if let Some(sum) = before.and_then(|before| before.sum) {
            total.take(sum);
        }
        let Some(value) = value else {
            batch.remove(head);
            continue;
        };
        let sum = checksum(key, value);
        total.add(sum);
        if chunks == 0 {
            batch.insert(head, [&[2], &sum.to_be_bytes()[..], value].concat());
            continue;
        }
        let size = u32::try_from(value.len()).expect("a value is at most MAX_VALUE");
        batch.insert(head, [&[3], &sum.to_be_bytes()[..], &size.to_be_bytes()].concat());
        for (number, chunk) in value.chunks(CHUNK).enumerate() {
            batch.insert(chunk_key(key, number), chunk);
        }
    }
    batch.insert(GROUP, total.bytes());
    Ok(batch)
}

/// CRC-32 of key and value, so that neither one of another key nor an old chunk is taken for it.
fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&(key.len() as u64).to_be_bytes());
    sum.update(key);
    sum.update(value);
    sum.finalize()
}

fn heads(tree: &Tree, prefix: &[u8], after: Option<&[u8]>) -> impl Iterator<Item = sled::Result<(IVec, IVec)>> {
    let prefix = head_key(prefix);
    let start = match after.map(head_key) {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix.clone()),
    };
    let range = tree.range::<Vec<u8>, _>((start, Bound::Unbounded));
    range.take_while(move |item| item.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
}

fn is_cut(value: &[u8]) -> bool {
    value.len() > MAX_INLINE && !Bug::WholeValues.is_planted()
}

fn head_key(key: &[u8]) -> Vec<u8> {
    [b"h", key].concat()
}

fn chunk_key(key: &[u8], number: usize) -> Vec<u8> {
    let length = u16::try_from(key.len()).expect("a key is at most MAX_KEY");
    let number = u16::try_from(number).expect("a value is at most MAX_VALUE");
    [b"c", &length.to_be_bytes()[..], key, &number.to_be_bytes()[..]].concat()
}

fn incomplete() -> sled::Error {
    sled::Error::Unsupported("an entry is incomplete".to_owned())
}
