//! Images: folders with a kernel, an initrd, perhaps a disk, and a `manifest.json` that names them.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use slipstream_shared::plan::Size;

use crate::cloud::{CloudError, local::failed};

const MANIFEST: &str = "manifest.json";
/// The version of the manifest this code reads.
const FORMAT: u32 = 1;
const MIB: u64 = 1024 * 1024;

/// A bootable image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub name: String,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub disk: Option<PathBuf>,
    pub append: String,
    pub digest: String,
    min_ram_mib: u64,
}

#[derive(Deserialize)]
struct Manifest {
    format: u32,
    name: String,
    kernel: PathBuf,
    initrd: PathBuf,
    disk: Option<PathBuf>,
    append: String,
    min_ram_mib: u64,
    input_digest: String,
}

impl Image {
    /// The image whose folder, or else manifest, has that name.
    pub(super) fn find(images: &Path, name: &str) -> Result<Image, CloudError> {
        let missing = || CloudError::Invalid {
            what: format!("there is no image `{name}` in {}", images.display()),
            remedy: remedy(images),
        };
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(missing());
        }
        if let Some(image) = read(&images.join(name))? {
            return Ok(image);
        }
        let by_manifest = folders(images)?.iter().find_map(|dir| read(dir).ok().flatten().filter(|i| i.name == name));
        by_manifest.ok_or_else(missing)
    }

    /// An error when there is no image at all.
    pub(super) fn any(images: &Path) -> Result<(), CloudError> {
        if folders(images)?.iter().any(|dir| dir.join(MANIFEST).exists()) {
            return Ok(());
        }
        Err(CloudError::Invalid {
            what: format!("there are no images in {}", images.display()),
            remedy: remedy(images),
        })
    }

    /// How much memory a machine gets, in MiB: twice what the image needs at least, unless asked otherwise.
    pub(super) fn memory(&self, size: &Size) -> Result<u64, CloudError> {
        let asked = size.ram.map_or(self.min_ram_mib * 2, |bytes| bytes.div_ceil(MIB));
        if asked < self.min_ram_mib {
            return Err(CloudError::Invalid {
                what: format!("image `{}` does not boot with {asked} MiB of memory", self.name),
                remedy: format!("give it {} MiB or more", self.min_ram_mib),
            });
        }
        Ok(asked)
    }
}

fn remedy(images: &Path) -> String {
    let found: Vec<String> = folders(images)
        .unwrap_or_default()
        .iter()
        .filter(|dir| dir.join(MANIFEST).exists())
        .filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let make = "`make image` makes the reference images; the setting `images` says where they are";
    if found.is_empty() { make.to_owned() } else { format!("there are: {}; {make}", found.join(", ")) }
}

fn folders(images: &Path) -> Result<Vec<PathBuf>, CloudError> {
    let entries = match fs::read_dir(images) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| failed("read", images, &e))?,
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    Ok(folders)
}

fn read(dir: &Path) -> Result<Option<Image>, CloudError> {
    let file = dir.join(MANIFEST);
    let json = match fs::read(&file) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        json => json.map_err(|e| failed("read", &file, &e))?,
    };
    let damaged = |why: String| CloudError::Invalid {
        what: format!("{} cannot be used: {why}", file.display()),
        remedy: "make the image again: make image".to_owned(),
    };
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(damaged(format!("its format is {}, this coordinator reads {FORMAT}", manifest.format)));
    }
    let whole = |part: PathBuf| {
        let path = dir.join(part);
        if path.is_file() { Ok(path) } else { Err(damaged(format!("{} is not there", path.display()))) }
    };
    Ok(Some(Image {
        name: manifest.name,
        kernel: whole(manifest.kernel)?,
        initrd: whole(manifest.initrd)?,
        disk: manifest.disk.map(whole).transpose()?,
        append: manifest.append,
        digest: manifest.input_digest,
        min_ram_mib: manifest.min_ram_mib,
    }))
}

/// The format of a disk, and its size as a machine sees it, in bytes.
pub(super) fn disk(path: &Path) -> io::Result<(&'static str, u64)> {
    let mut file = fs::File::open(path)?;
    let mut head = [0; 32];
    let is_qcow = file.read_exact(&mut head).is_ok() && head.starts_with(b"QFI\xfb");
    let size = u64::from_be_bytes(head[24..].try_into().expect("eight bytes"));
    Ok(if is_qcow { ("qcow2", size) } else { ("raw", file.metadata()?.len()) })
}
