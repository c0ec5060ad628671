//! What a script finds in its environment: nothing of the daemon's but what is named here.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use slipstream_shared::link::AgentPlan;

use crate::agent::Agent;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable by which the process connector finds what belongs to a machine.
const MACHINE: &str = "SLIPSTREAM_MACHINE";

/// The whole environment of a script of this instance, `own` being its step's variables.
pub(super) fn of_step(agent: &Agent, plan: &AgentPlan, own: &BTreeMap<String, String>) -> BTreeMap<String, OsString> {
    let mut env = BTreeMap::new();
    let mut put = |name: &str, value: OsString| env.insert(name.to_owned(), value);
    let inherited = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    put("HOME", inherited("HOME").unwrap_or_else(|| "/root".into()));
    put("LANG", inherited("LANG").unwrap_or_else(|| "C.UTF-8".into()));
    if let Some(machine) = inherited(MACHINE) {
        put(MACHINE, machine);
    }
    for (name, value) in plan.env.iter().chain(own) {
        put(name, value.into());
    }
    // A step may extend the path, but the commands stay where the agent is the one that answers.
    let path = own.get("PATH").or_else(|| plan.env.get("PATH")).map_or(PATH, String::as_str);
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    let mut commands = absolute(&agent.run_dir.join("bin"));
    commands.push(":");
    commands.push(path);
    put("PATH", commands);
    put("SLIPSTREAM_RUN", agent.context.run.to_string().into());
    put("SLIPSTREAM_INSTANCE", agent.context.instance.to_string().into());
    put("SLIPSTREAM_NODE", agent.context.instance.node.to_string().into());
    put("SLIPSTREAM_SOCKET", absolute(&agent.run_dir.join("agent.sock")));
    put("SLIPSTREAM_REPORT_DIR", absolute(&agent.folder.file("report")));
    env
}
