//! Whether guests of this host run on its processor (KVM) or are translated (TCG).
//!
//! That /dev/kvm opens says little: inside some other virtual machines a guest then hangs, or QEMU
//! aborts. So a kernel is booted once, and the answer kept until this host or its QEMU changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::OnceCell,
};

use super::image::Image;
use crate::cloud::{
    CloudError,
    local::{find_program, write_atomic},
};

/// How long a kernel may take to come to its end.
const PROBE: Duration = Duration::from_secs(8);

/// How it is found out, and what was.
#[derive(Debug)]
pub(super) struct Accel {
    setting: Setting,
    cache: PathBuf,
    chosen: OnceCell<Chosen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Auto,
    Kvm,
    Tcg,
}

/// What `auto` has come to.
#[derive(Debug)]
struct Chosen {
    accel: &'static str,
    remark: Option<String>,
}

/// An earlier answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    /// This boot of this host, and this QEMU.
    of: String,
    works: bool,
    why: String,
}

impl Accel {
    pub(super) fn new(setting: &str, cloud: &str, data: &Path) -> Result<Self, CloudError> {
        let setting = match setting {
            "auto" => Setting::Auto,
            "kvm" => Setting::Kvm,
            "tcg" => Setting::Tcg,
            other => {
                return Err(CloudError::Invalid {
                    what: format!("`accel` of cloud `{cloud}` is `{other}`"),
                    remedy: "it is auto, kvm or tcg".to_owned(),
                });
            }
        };
        Ok(Accel { setting, cache: data.join("accel.json"), chosen: OnceCell::new() })
    }

    /// An error if KVM is wanted and not there.
    pub(super) fn check(&self) -> Result<(), CloudError> {
        match (self.setting, device()) {
            (Setting::Kvm, Err(why)) => Err(CloudError::Invalid {
                what: format!("KVM does not work here: {why}"),
                remedy: "set accel = \"tcg\", or \"auto\"".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// What to give to `-accel`.
    pub(super) async fn choose(&self, qemu: &Path, image: &Image) -> Result<&'static str, CloudError> {
        match self.setting {
            Setting::Kvm => Ok("kvm"),
            Setting::Tcg => Ok(TCG),
            Setting::Auto => {
                self.chosen.get_or_try_init(|| self.find_out(qemu, image)).await.map(|chosen| chosen.accel)
            }
        }
    }

    /// Why guests are slow, once that is known.
    pub(super) fn remark(&self) -> Option<String> {
        self.chosen.get().and_then(|chosen| chosen.remark.clone())
    }

    async fn find_out(&self, qemu: &Path, image: &Image) -> Result<Chosen, CloudError> {
        let of = identity(qemu);
        let earlier = fs::read(&self.cache).ok().and_then(|json| serde_json::from_slice::<Answer>(&json).ok());
        let answer = match earlier.filter(|answer| answer.of == of) {
            Some(answer) => answer,
            None => self.ask(qemu, image, of).await,
        };
        tracing::info!(kvm = answer.works, why = answer.why, "virtual machines on this host");
        let slow = || format!("no KVM here, so machines are emulated (TCG), several times slower: {}", answer.why);
        Ok(Chosen { accel: if answer.works { "kvm" } else { TCG }, remark: (!answer.works).then(slow) })
    }

    async fn ask(&self, qemu: &Path, image: &Image, of: String) -> Answer {
        let result = match device() {
            Ok(()) => tokio::time::timeout(PROBE, boot(qemu, image))
                .await
                .unwrap_or_else(|_| Err(format!("a kernel did not boot within {} s", PROBE.as_secs()))),
            Err(why) => Err(why),
        };
        let answer = match result {
            Ok(()) => Answer { of, works: true, why: "a kernel booted".to_owned() },
            Err(why) => Answer { of, works: false, why },
        };
        // Without the file the same question is asked once more after a restart, no worse.
        if let Ok(json) = serde_json::to_vec(&answer) {
            drop(write_atomic(&self.cache, &json));
        }
        answer
    }
}

/// Its buffer for translated code is by default far larger than the guests here need.
const TCG: &str = "tcg,tb-size=128";

fn device() -> Result<(), String> {
    let open = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    open.map(|_| ()).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no /dev/kvm".to_owned(),
        std::io::ErrorKind::PermissionDenied => "/dev/kvm may not be used (add the user to the group kvm)".to_owned(),
        _ => format!("/dev/kvm cannot be opened: {e}"),
    })
}

/// Boots a kernel that has nothing to run: when it panics, it has come all the way.
async fn boot(qemu: &Path, image: &Image) -> Result<(), String> {
    let mut child = Command::new(qemu)
        .args(["-machine", "pc", "-accel", "kvm", "-cpu", "max", "-m", "128", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-append", "console=ttyS0 panic=-1"])
        .args([Path::new("-kernel"), &image.kernel])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    let booted = panicked(&mut child).await;
    // Ended or of no use any more; the runtime reaps it.
    drop(child.start_kill());
    if booted { Ok(()) } else { Err(format!("QEMU ends: {}", last_error(&mut child).await)) }
}

async fn panicked(child: &mut Child) -> bool {
    let Some(output) = child.stdout.take() else { return false };
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if String::from_utf8_lossy(&line).contains("Kernel panic - not syncing") {
            return true;
        }
    }
    false
}

async fn last_error(child: &mut Child) -> String {
    let Some(output) = child.stderr.take() else { return String::new() };
    let mut lines = BufReader::new(output).lines();
    let mut last = "without a word".to_owned();
    while let Ok(Some(line)) = lines.next_line().await {
        last = line;
    }
    last
}

/// Changes when this host starts anew or gets another QEMU.
fn identity(qemu: &Path) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let changed = find_program(qemu).and_then(|file| file.metadata().ok()?.modified().ok());
    format!("{} {} {changed:?}", boot.trim(), qemu.display())
}
