//! `status`: how far the daemon has come.

use crate::{
    agent::{Stage, Status},
    exit::End,
    socket::{Answer, Request, client},
};

pub(super) fn run(json: bool, wait: bool) -> End {
    let status = match client::call(&Request::Status { wait }) {
        Answer::Status(status) => *status,
        other => return super::end_of(other),
    };
    let text = if json { serde_json::to_string_pretty(&status).expect("plain data serializes") } else { show(&status) };
    match super::print(&text) {
        End::Ok if wait && status.stage != Stage::Ready => End::Failed,
        end => end,
    }
}

fn show(status: &Status) -> String {
    let stage = serde_json::to_value(status.stage).expect("plain data serializes");
    let mut lines = vec![("stage", stage.as_str().unwrap_or_default().to_owned())];
    if !status.detail.is_empty() {
        lines.push(("detail", status.detail.clone()));
    }
    let optional =
        [("run", &status.run), ("instance", &status.instance), ("link", &status.link), ("abort", &status.abort)];
    lines.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    lines.iter().map(|(name, value)| format!("{name:<9} {value}")).collect::<Vec<_>>().join("\n")
}
