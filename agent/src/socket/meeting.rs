//! Barriers and leads, asked for by scripts of this machine.

use slipstream_shared::{
    link::{Change, Up},
    meeting::{MeetingName, Parties},
};

use super::{
    Answer,
    server::{aborted, answer_within, asked, change, failed},
};
use crate::{agent::Agent, exit::End};

/// Arrives at a barrier and waits until it opens.
pub(super) async fn barrier(
    agent: &Agent,
    name: &str,
    parties: Result<Parties, String>,
    seconds: Option<u64>,
    ignore_abort: bool,
) -> Answer {
    let (name, parties) = match (name.parse::<MeetingName>(), parties) {
        (Ok(name), Ok(parties)) => (name, parties),
        (Err(e), _) => return failed(End::Refused, &e.to_string()),
        (_, Err(e)) => return failed(End::Refused, &e),
    };
    let what = || format!("barrier {name} did not open");
    let ask = |id| Up::Barrier { id, name: name.clone(), parties: parties.clone(), ignore_abort };
    let opened = async {
        tokio::select! {
            biased;
            answer = aborted(agent, ignore_abort) => answer,
            answer = asked(agent, true, ask) => answer,
        }
    };
    answer_within(seconds, what, opened).await
}

/// Whose arrivals open a barrier, as a script has said it.
pub(super) fn parties(agent: &Agent, count: Option<u32>, of: &[String]) -> Result<Parties, String> {
    match (count, of) {
        (Some(_), [_, ..]) => Err("a barrier is either for a count or for all of some nodes".to_owned()),
        (Some(count), []) => Ok(Parties::Count(count)),
        (None, []) => Ok(Parties::Nodes([agent.context.instance.node.clone()].into())),
        (None, nodes) => nodes
            .iter()
            .map(|node| node.trim().parse())
            .collect::<Result<_, slipstream_shared::id::InvalidId>>()
            .map(Parties::Nodes)
            .map_err(|e| e.to_string()),
    }
}

/// Asks for a lead.
pub(super) async fn lead(agent: &Agent, name: &str, wait: bool, seconds: Option<u64>, ignore_abort: bool) -> Answer {
    let name: MeetingName = match name.parse() {
        Ok(name) => name,
        Err(e) => return failed(End::Refused, &e.to_string()),
    };
    let what = || format!("{} did not become the leader of {name}", agent.context.instance);
    let leads = async {
        tokio::select! {
            biased;
            answer = aborted(agent, ignore_abort) => answer,
            answer = asked(agent, true, |id| Up::Lead { id, name: name.clone(), wait, ignore_abort }) => answer,
        }
    };
    answer_within(seconds, what, leads).await
}

/// Gives a lead up.
pub(super) async fn resign(agent: &Agent, name: &str) -> Answer {
    match name.parse::<MeetingName>() {
        Ok(lead) => change(agent, Change::Resign { lead }).await,
        Err(e) => failed(End::Refused, &e.to_string()),
    }
}
