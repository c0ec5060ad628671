//! How entries lie in sled's tree.
//!
//! sled keeps up to about twenty neighbours in one page, rewrites the page after ten changes, and moves
//! a page larger than a quarter of a segment to a file of its own, which it never syncs. So large values
//! are cut: the head of an entry is small, and the rest lies apart, where small neighbours do not pay
//! for it.
//!
//! | key in the tree | value |
//! |---|---|
//! | `h` key | 0 and the value, or 1 and the length of a value that lies in chunks |
//! | `c` length of key (u16) key number of chunk (u16) | a chunk |
//! | `g` | number of the last group of batches ([`super::writer`]) |

use std::{collections::HashMap, ops::Bound};

use sled::{IVec, Tree};

use crate::store::MAX_VALUE;

/// The longest value kept beside its key.
const MAX_INLINE: usize = 4 * 1024;
/// What a chunk holds; only the last one of a value is shorter.
const CHUNK: usize = 32 * 1024;
const GROUP: &[u8] = b"g";

/// A value as its head has it.
enum Head<'a> {
    Inline(&'a [u8]),
    Chunks(usize),
}

impl<'a> Head<'a> {
    fn parse(head: &'a [u8]) -> sled::Result<Self> {
        match head {
            [0, value @ ..] => Ok(Head::Inline(value)),
            [1, a, b, c, d] => Ok(Head::Chunks(u32::from_be_bytes([*a, *b, *c, *d]) as usize)),
            _ => Err(incomplete()),
        }
    }

    fn value(&self, tree: &Tree, key: &[u8]) -> sled::Result<Vec<u8>> {
        match *self {
            Head::Inline(value) => Ok(value.to_vec()),
            Head::Chunks(size) => {
                let mut value = Vec::with_capacity(size);
                for number in 0..self.chunks() {
                    value.extend_from_slice(&tree.get(chunk_key(key, number))?.ok_or_else(incomplete)?);
                }
                if value.len() == size { Ok(value) } else { Err(incomplete()) }
            }
        }
    }

    fn chunks(&self) -> usize {
        if let Head::Chunks(size) = self { size.div_ceil(CHUNK) } else { 0 }
    }

    fn size(&self) -> usize {
        match *self {
            Head::Inline(value) => value.len(),
            Head::Chunks(size) => size,
        }
    }
}

/// The value of a key.
pub(super) fn get(tree: &Tree, key: &[u8]) -> sled::Result<Option<Vec<u8>>> {
    let head = tree.get(head_key(key))?;
    head.map(|head| Head::parse(&head)?.value(tree, key)).transpose()
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
        let value = Head::parse(&head)?.value(tree, &key)?;
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

/// The number of the last group in the tree.
pub(super) fn group(tree: &Tree) -> sled::Result<u64> {
    let number = tree.get(GROUP)?;
    number.map_or(Ok(0), |number| number.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| incomplete()))
}

/// What sled has to change for these writes to become group number `group`.
pub(super) fn stage(tree: &Tree, writes: &HashMap<Vec<u8>, Option<Vec<u8>>>, group: u64) -> sled::Result<sled::Batch> {
    let mut batch = sled::Batch::default();
    for (key, value) in writes {
        let head = head_key(key);
        let before = tree.get(&head)?.map_or(Ok(0), |head| Head::parse(&head).map(|head| head.chunks()))?;
        let chunks =
            value.as_deref().filter(|value| value.len() > MAX_INLINE).map_or(0, |value| value.len().div_ceil(CHUNK));
        for number in chunks..before {
            batch.remove(chunk_key(key, number));
        }
        match value {
            None => batch.remove(head),
            Some(value) if chunks == 0 => batch.insert(head, [&[0], &value[..]].concat()),
            Some(value) => {
                let size = u32::try_from(value.len()).expect("a value is at most MAX_VALUE");
                batch.insert(head, [&[1], &size.to_be_bytes()[..]].concat());
                for (number, chunk) in value.chunks(CHUNK).enumerate() {
                    batch.insert(chunk_key(key, number), chunk);
                }
            }
        }
    }
    batch.insert(GROUP, &group.to_be_bytes());
    Ok(batch)
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
