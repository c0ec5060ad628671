//! `detect`: what each source of contextualization data says, and how long it took.

use std::path::PathBuf;

use crate::{context, exit::End, system::System};

pub(super) fn run(json: bool, root: PathBuf) -> End {
    let probes = context::detect(&System::new(root));
    let text = if json {
        serde_json::to_string_pretty(&probes).expect("plain data serializes")
    } else {
        let rows = probes.iter().map(|probe| {
            let detail = probe.detail.as_deref().unwrap_or_default();
            format!("{:<11} {:<8} {:>8.2} ms  {detail}", probe.source, probe.found, probe.millis)
        });
        rows.map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    };
    match super::print(&text) {
        End::Ok if probes.iter().any(|probe| probe.found == "context") => End::Ok,
        End::Ok => End::NotSet,
        end => end,
    }
}
