//! Operations in words.

use slipstream_shared::{id::InstanceId, module::units::in_words, operation::Asked};

/// What an operation does, in a few words.
pub(crate) fn words(asked: &Asked, add: &[InstanceId], remove: &[InstanceId], touch: &[InstanceId]) -> String {
    let names = |ids: &[InstanceId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut parts = Vec::new();
    if !add.is_empty() {
        parts.push(format!("add {}", names(add)));
    }
    if !remove.is_empty() {
        parts.push(format!("remove {}", names(remove)));
    }
    match asked {
        Asked::Scale { .. } if parts.is_empty() => "change nothing: there are as many already".to_owned(),
        Asked::Scale { .. } => parts.join(", "),
        Asked::Stop { .. } | Asked::Start { .. } | Asked::Reboot { .. } if touch.is_empty() => {
            "change nothing: the machines are so already".to_owned()
        }
        Asked::Update { module, .. } => {
            if !touch.is_empty() {
                parts.push(format!("run steps again on {}", names(touch)));
            }
            let what = if parts.is_empty() { "no machine is touched".to_owned() } else { parts.join(", ") };
            format!("update to {module}: {what}")
        }
        Asked::Resize { size, .. } => format!("resize {} to {size}", names(touch)),
        Asked::AddDisk { spec, .. } => {
            let folder = spec.mount.as_ref().map(|folder| format!(", mounted on {folder},")).unwrap_or_default();
            format!("add a disk of {}{folder} to {}", in_words(spec.size), names(touch))
        }
        Asked::RemoveDisk { instance, disk } => format!("remove {disk} of {instance} with all that is on it"),
        Asked::Stop { .. } => format!("stop {}", names(touch)),
        Asked::Start { .. } => format!("start {}", names(touch)),
        Asked::Reboot { .. } => format!("reboot {}", names(touch)),
        Asked::Retry { instance, from, script: None } => format!("run {from} and what follows again on {instance}"),
        Asked::Retry { instance, from, .. } => format!("run an edited {from} and what follows on {instance}"),
    }
}
