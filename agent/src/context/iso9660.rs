//! Reads one file from the root folder of an ISO9660 image: Joliet or Rock Ridge names, or plain ones.
//!
//! Plain ISO9660 has no `-` and at most 8 + 3 characters in a name, so `user-data` may appear there
//! as `USER_DAT.;1`.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{MAX_BYTES, disk::Content};

const SECTOR: u64 = 2048;
/// Where the descriptors of the volume begin, and how many are looked at.
const FIRST_DESCRIPTOR: u64 = 16;
const DESCRIPTORS: u64 = 16;
/// A root folder larger than this is not that of a disk made for us.
const MAX_FOLDER: u32 = 256 * 1024;

/// A piece of the image: first sector and size in bytes.
#[derive(Clone, Copy)]
struct Extent {
    sector: u32,
    size: u32,
}

/// The content of `name` if the device is an ISO9660 file system labelled `label`.
pub(super) fn read(device: &File, label: &str, name: &str) -> Content {
    let mut labelled = false;
    let mut roots = Vec::new();
    for n in 0..DESCRIPTORS {
        let mut descriptor = [0; SECTOR as usize];
        match device.read_exact_at(&mut descriptor, (FIRST_DESCRIPTOR + n) * SECTOR) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        if &descriptor[1..6] != b"CD001" {
            break;
        }
        let root = extent(&descriptor[156..190]);
        match descriptor[0] {
            1 => {
                labelled = String::from_utf8_lossy(&descriptor[40..72]).trim().eq_ignore_ascii_case(label);
                roots.push((root, false));
            }
            // Joliet announces itself by one of three escape sequences.
            2 if &descriptor[88..90] == b"%/" => roots.push((root, true)),
            255 => break,
            _ => {}
        }
    }
    if !labelled {
        return Ok(None);
    }
    for (root, joliet) in roots {
        let Some(root) = root.filter(|r| r.size <= MAX_FOLDER) else { continue };
        if let Some(file) = entry(&bytes(device, root)?, name, joliet) {
            return bytes(device, file).map(Some);
        }
    }
    Ok(None)
}

fn bytes(device: &File, extent: Extent) -> io::Result<Vec<u8>> {
    let size = u64::from(extent.size).min(MAX_BYTES);
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    device.read_exact_at(&mut content, u64::from(extent.sector) * SECTOR)?;
    Ok(content)
}

/// Where the content described by a folder record is.
fn extent(record: &[u8]) -> Option<Extent> {
    let number = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
    Some(Extent { sector: number(2)?, size: number(10)? })
}

/// Finds a file in a folder.
fn entry(folder: &[u8], name: &str, joliet: bool) -> Option<Extent> {
    let mut at = 0;
    while at < folder.len() {
        let length = usize::from(folder[at]);
        if length == 0 {
            // Records do not cross sectors; the rest of this one is empty.
            at = (at / SECTOR as usize + 1) * SECTOR as usize;
            continue;
        }
        let record = folder.get(at..at + length)?;
        at += length;
        let is_folder = record.get(25)? & 2 != 0;
        if !is_folder && names(record, joliet).iter().any(|n| same(n, name)) {
            return extent(record);
        }
    }
    None
}

/// The names a record has.
fn names(record: &[u8], joliet: bool) -> Vec<String> {
    let Some(length) = record.get(32).map(|l| usize::from(*l)) else { return vec![] };
    let Some(plain) = record.get(33..33 + length) else { return vec![] };
    if joliet {
        let units: Vec<u16> = plain.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
        return vec![String::from_utf16_lossy(&units)];
    }
    let mut found = vec![String::from_utf8_lossy(plain).into_owned()];
    // What follows the name, from an even offset, belongs to Rock Ridge: fields of tag, length, version.
    let mut rest = record.get(33 + length + usize::from(length % 2 == 0)..).unwrap_or_default();
    while let [a, b, size, _, ..] = rest {
        let size = usize::from(*size);
        let Some(field) = rest.get(..size).filter(|f| f.len() >= 4) else { break };
        if (*a, *b) == (b'N', b'M') && field.len() > 5 {
            found.push(String::from_utf8_lossy(&field[5..]).into_owned());
        }
        rest = &rest[size..];
    }
    found
}

/// Compares without case, version (`;1`) and the characters a plain name can not have.
fn same(found: &str, wanted: &str) -> bool {
    let found = found.split(';').next().unwrap_or_default().trim_end_matches('.');
    let plain = wanted.replace('-', "_");
    found.eq_ignore_ascii_case(wanted)
        || found.eq_ignore_ascii_case(&plain)
        || found.eq_ignore_ascii_case(plain.get(..8).unwrap_or(&plain))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub(in crate::context) enum Names {
        Plain,
        RockRidge,
        Joliet,
    }

    fn record(name: &[u8], sector: u32, size: u32, folder: bool, system_use: &[u8]) -> Vec<u8> {
        let mut r = vec![0; 33];
        r[2..6].copy_from_slice(&sector.to_le_bytes());
        r[10..14].copy_from_slice(&size.to_le_bytes());
        r[25] = if folder { 2 } else { 0 };
        r[32] = u8::try_from(name.len()).unwrap();
        r.extend(name);
        if name.len().is_multiple_of(2) {
            r.push(0);
        }
        r.extend(system_use);
        r[0] = u8::try_from(r.len()).unwrap();
        r
    }

    /// A minimal image: descriptors in sectors 16 to 18, root folder in 19, the file from 20.
    pub(in crate::context) fn image(label: &str, name: &str, content: &str, names: Names) -> Vec<u8> {
        let mut disk = vec![0; 20 * 2048];
        let root = record(&[0], 19, 2048, true, &[]);
        for (sector, kind) in [(16, 1), (17, if names == Names::Joliet { 2 } else { 0 }), (18, 255)] {
            let d = &mut disk[sector * 2048..(sector + 1) * 2048];
            d[0] = kind;
            d[1..6].copy_from_slice(b"CD001");
            d[40..72].fill(b' ');
            d[40..40 + label.len()].copy_from_slice(label.as_bytes());
            if kind == 2 {
                d[88..91].copy_from_slice(b"%/E");
            }
            // A Joliet image's plain folder is left empty, to see that the other one is used.
            if kind == 2 || (kind == 1 && names != Names::Joliet) {
                d[156..156 + root.len()].copy_from_slice(&root);
            }
        }
        let size = u32::try_from(content.len()).unwrap();
        let file = match names {
            Names::Plain => record(b"USER_DAT.;1", 20, size, false, &[]),
            Names::RockRidge => {
                let mut nm = vec![b'N', b'M', u8::try_from(5 + name.len()).unwrap(), 1, 0];
                nm.extend(name.bytes());
                record(b"USERDATA.;1", 20, size, false, &[&[b'P', b'X', 4, 1][..], &nm].concat())
            }
            Names::Joliet => {
                let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
                record(&wide, 20, size, false, &[])
            }
        };
        let folder = [record(&[0], 19, 2048, true, &[]), record(b"META.;1", 20, 1, false, &[]), file].concat();
        disk[19 * 2048..19 * 2048 + folder.len()].copy_from_slice(&folder);
        disk.extend(content.bytes());
        disk.resize(disk.len().next_multiple_of(2048), 0);
        disk
    }

    fn read_image(bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(&file, "cidata", "user-data")
    }

    #[test]
    fn all_kinds_of_names_are_read() {
        for names in [Names::Plain, Names::RockRidge, Names::Joliet] {
            let found = read_image(&image("CIDATA", "user-data", "hello", names)).unwrap();
            assert_eq!(found.as_deref(), Some(&b"hello"[..]), "{names:?}");
        }
        assert_eq!(read_image(&image("other", "user-data", "hello", Names::Joliet)).unwrap(), None);
    }

    #[test]
    fn no_damaged_image_is_a_crash() {
        let whole = image("cidata", "user-data", "hello", Names::RockRidge);
        for at in (16 * 2048..whole.len()).step_by(7) {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = read_image(&broken);
            let _ = read_image(&whole[..at]);
        }
    }

    #[test]
    fn an_image_of_the_usual_tool_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("user-data"), "hello").unwrap();
        std::fs::write(folder.path().join("meta-data"), "").unwrap();
        for flags in [&["-J", "-r"][..], &["-r"], &["-J"], &[]] {
            let image = folder.path().join("image.iso");
            let made = std::process::Command::new("genisoimage")
                .args(["-quiet", "-V", "cidata", "-o"])
                .arg(&image)
                .args(flags)
                .args(["user-data", "meta-data"])
                .current_dir(folder.path())
                .output();
            // Where the tool is missing the images above must do.
            let Ok(made) = made else { return };
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let found = read(&File::open(&image).unwrap(), "cidata", "user-data").unwrap();
            assert_eq!(found.as_deref(), Some(&b"hello"[..]), "{flags:?}");
        }
    }
}
