//! `slipstream run launch`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser as _};
use slipstream_shared::{
    api::{LaunchRequest, RunDetail},
    client::{Client, ClientError},
    plan::KeepRunning,
};

use super::show;
use crate::{
    args::{assignment, duration, from_file},
    context::Context,
    exit::Exit,
    keys::KeyOptions,
    watch::{Until, Watch},
};

/// How to launch, beside what.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LaunchOptions {
    /// Value of an input: name=value for the run, node:name=value for a node
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, help_heading = "Launch")]
    set: Vec<(String, String)>,
    /// The same with the value in a file, as it is; - is standard input. For secrets: others can see arguments
    #[arg(long, value_name = "NAME=FILE", value_parser = assignment, help_heading = "Launch")]
    set_file: Vec<(String, String)>,
    /// Cloud of a node, or of all nodes not named otherwise
    #[arg(long, value_name = "[NODE=]CLOUD", help_heading = "Launch")]
    cloud: Vec<String>,
    /// Number of instances of a node
    #[arg(long, value_name = "NODE=N", value_parser = count, help_heading = "Launch")]
    count: Vec<(String, u32)>,
    /// What stays when the run is Ready or has failed; else as the module says
    #[arg(long, value_name = "WHEN", value_parser = keep_running(), help_heading = "Launch")]
    keep_running: Option<KeepRunning>,
    /// Word to find the run by
    #[arg(long, help_heading = "Launch")]
    tag: Vec<String>,
    /// From launch to Ready, as in 20m; then the run is aborted
    #[arg(long, value_parser = duration, help_heading = "Launch")]
    timeout: Option<Duration>,
    /// How long the run lives, as in 8h; then it is terminated
    #[arg(long, value_parser = duration, help_heading = "Launch")]
    lease: Option<Duration>,
    #[command(flatten)]
    pub(crate) keys: KeyOptions,
}

fn count(text: &str) -> Result<(String, u32), String> {
    let (node, number) = assignment(text)?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number of instances"))?;
    Ok((node, number))
}

fn keep_running() -> impl clap::builder::TypedValueParser<Value = KeepRunning> {
    PossibleValuesParser::new(["always", "on-success", "on-error", "never"])
        .try_map(|word| serde_json::from_value::<KeepRunning>(word.into()))
}

impl LaunchOptions {
    /// The request they mean.
    ///
    /// # Errors
    /// A file with a value cannot be read.
    pub(crate) fn request(&self, module: &str, ssh_keys: Vec<String>) -> anyhow::Result<LaunchRequest> {
        let mut set: BTreeMap<String, String> = self.set.iter().cloned().collect();
        for (name, path) in &self.set_file {
            set.insert(name.clone(), from_file(Path::new(path))?);
        }
        let cloud = |text: &String| match text.split_once('=') {
            Some((node, cloud)) => (node.to_owned(), cloud.to_owned()),
            None => ("*".to_owned(), text.clone()),
        };
        Ok(LaunchRequest {
            module: module.to_owned(),
            set,
            cloud: self.cloud.iter().map(cloud).collect(),
            count: self.count.iter().cloned().collect::<BTreeMap<_, _>>(),
            keep_running: self.keep_running,
            timeout: self.timeout.map(|t| t.as_secs()),
            lease: self.lease.map(|t| t.as_secs()),
            tags: self.tag.clone(),
            ssh_keys,
        })
    }
}

/// Starts a run, once, also when the answer is lost on its way and the request is repeated.
pub(crate) async fn launch(client: &Client, request: &LaunchRequest) -> Result<RunDetail, ClientError> {
    let key = uuid::Uuid::now_v7().to_string();
    let mut tries = 0;
    loop {
        match client.launch(request, &key).await {
            Err(error @ ClientError::Http(_)) if tries < 2 && error.is_passing() => tries += 1,
            result => return result,
        }
    }
}

pub(super) async fn run(
    context: &Context,
    client: Client,
    module: &str,
    options: &LaunchOptions,
    wait: bool,
) -> anyhow::Result<Exit> {
    let screen = &context.screen;
    let ssh_keys = options.keys.read(context, &client).await?;
    let run = launch(&client, &options.request(module, ssh_keys)?).await?;
    let short = run.summary.id.short();
    if !wait {
        screen.message(&format!("Launched {}; look with: slipstream run wait {short}", run.summary.module));
        if screen.is_json() {
            screen.json(&run)?
        } else {
            screen.line(&short)?
        }
        return Ok(Exit::Done);
    }
    context.come_back_with(format!("slipstream run wait {short}"));
    screen.message(&format!("Run {short} of {}", run.summary.module));
    let mut watch = Watch::new(context, client.clone(), &run);
    let exit = watch.until(Until::Ready).await?;
    show::results(context, &client, &short, &watch.progress).await?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        options: LaunchOptions,
    }

    #[test]
    fn options_become_a_request() {
        let line = "x --set a=b=c --set web:port= --cloud geneva --cloud db=local --count web=3 --keep-running on-error \
                    --tag t --timeout 20m";
        let options = Options::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string()).expect("valid");
        let request = options.options.request("apps/lamp@4", vec!["key".into()]).expect("no files");
        let json = serde_json::to_value(&request).expect("serializes");
        assert_eq!(
            json,
            serde_json::json!({
                "module": "apps/lamp@4", "set": {"a": "b=c", "web:port": ""}, "cloud": {"*": "geneva", "db": "local"},
                "count": {"web": 3}, "keep_running": "on-error", "timeout": 1200, "tags": ["t"], "ssh_keys": ["key"]
            })
        );
    }
}
