//! `slipstream run events`.

use serde_json::Value;
use slipstream_shared::{
    client::{Client, Update},
    event::{Event, Record},
};

use crate::{
    context::Context,
    exit::Exit,
    output::{Screen, Tone, one_line},
};

pub(super) async fn run(
    context: &Context,
    client: &Client,
    run: &str,
    follow: bool,
    after: u64,
) -> anyhow::Result<Exit> {
    let detail = client.run(run).await?;
    let id = detail.summary.id;
    context.come_back_with(format!("slipstream run events {} -f", id.short()));
    let mut ended = detail.summary.state.is_final();
    let mut events = client.events(&id.to_string(), after);
    while events.position() < detail.seq || (follow && !ended) {
        match events.next().await? {
            Update::Record(record) => {
                show(&context.screen, &record)?;
                ended |= matches!(record.event, Event::StateChanged { state } if state.is_final());
            }
            Update::Lost { why } => {
                context.screen.message(&format!("No connection to the coordinator ({why}); trying again."));
            }
        }
    }
    Ok(Exit::Done)
}

fn show(screen: &Screen, record: &Record) -> anyhow::Result<()> {
    let json = serde_json::to_value(record)?;
    if screen.is_json() {
        screen.line(&json.to_string())?;
        return Ok(());
    }
    let time = screen.out.tone(Tone::Dim, &format!("{:.3}", record.at));
    let kind = json["kind"].as_str().unwrap_or_default();
    let line = format!("{:>5}  {time}  {:<14}  {kind:<18}  {}", record.seq, record.by.to_string(), fields(&json));
    screen.line(line.trim_end())?;
    Ok(())
}

/// What an event says beside its head, as `name=value`.
fn fields(record: &Value) -> String {
    let head = ["seq", "at", "by", "op", "kind"];
    let Value::Object(fields) = record else { return String::new() };
    let mut out = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| !head.contains(&name.as_str())) {
        match value {
            Value::String(text) => out.push(format!("{name}={}", one_line(text))),
            // A plan is the whole module.
            Value::Object(_) if name == "plan" => out.push(format!("plan={}", one_line(&value["module"].to_string()))),
            other => out.push(format!("{name}={other}")),
        }
    }
    out.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_fits_a_line() {
        let record: Value = serde_json::from_str(
            r#"{"seq":7,"at":"2026-11-20T12:00:00Z","by":"web.1","kind":"parameter_set","key":"web.1:port","value":"a\nb"}"#,
        )
        .expect("valid");
        assert_eq!(fields(&record), "key=web.1:port  value=a b");
    }
}
