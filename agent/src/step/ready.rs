//! The ready check: tried until it passes or its time is over.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::Uri;
use slipstream_shared::{
    link::{AgentPlan, Change, Reply, Up},
    plan::{ReadyCheck, ReadyPlan},
    template::Template,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::{env, make};
use crate::{
    agent::{Agent, Stage},
    connect, system,
    trouble::say,
};

/// The most one try may take.
const ONE_TRY: Duration = Duration::from_secs(10);

/// Tries the check and tells the coordinator. Once passed, not again before the next boot.
pub(super) async fn check(agent: &Arc<Agent>, plan: &AgentPlan) {
    let marker = agent.folder.file("ready");
    let boot = agent.system.boot_id();
    if !boot.is_empty() && std::fs::read_to_string(&marker).is_ok_and(|passed| passed == boot) {
        return agent.stage(Stage::Ready, "");
    }
    agent.stage(Stage::Checking, "");
    let outcome = match &plan.ready {
        None => Ok(()),
        Some(ready) => tokio::select! {
            outcome = until_it_passes(agent, plan, ready) => outcome,
            reason = agent.link.aborted() => Err(format!("the run was aborted: {reason}")),
        },
    };
    match outcome {
        Ok(()) => {
            say("ready");
            make(agent, Change::Ready);
            if let Err(e) = crate::durable::write_atomic(&marker, boot.as_bytes(), 0o600) {
                say(format_args!("cannot keep that the ready check has passed: {e}"));
            }
            agent.stage(Stage::Ready, "");
        }
        Err(reason) => {
            say(format_args!("not ready: {reason}"));
            make(agent, Change::NotReady { reason: reason.clone() });
            agent.stage(Stage::Failed, &format!("not ready: {reason}"));
        }
    }
}

/// Tries the check once more, whatever has passed before.
pub(super) async fn check_again(agent: &Arc<Agent>, plan: &AgentPlan) {
    if let Err(e) = std::fs::remove_file(agent.folder.file("ready"))
        && e.kind() != std::io::ErrorKind::NotFound
    {
        say(format_args!("cannot forget that the ready check has passed: {e}"));
    }
    check(agent, plan).await;
}

async fn until_it_passes(agent: &Agent, plan: &AgentPlan, ready: &ReadyPlan) -> Result<(), String> {
    let target = match &ready.check {
        ReadyCheck::Tcp(template) | ReadyCheck::Http(template) => resolve(agent, plan, template).await?,
        ReadyCheck::Exec(script) => script.clone(),
    };
    let deadline = Instant::now() + Duration::from_secs(ready.within);
    loop {
        let limit = deadline.min(Instant::now() + ONE_TRY);
        let tried = async {
            match &ready.check {
                ReadyCheck::Tcp(_) => tcp(&target).await,
                ReadyCheck::Http(_) => http(&target).await,
                ReadyCheck::Exec(_) => exec(agent, plan, &target).await,
            }
        };
        let why = match timeout_at(limit, tried).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + Duration::from_secs(ready.every) >= deadline {
            return Err(format!("after {} s: {why}", ready.within));
        }
        sleep(Duration::from_secs(ready.every)).await;
    }
}

/// The port or URL. References are resolved by the coordinator, with the last deployment step.
async fn resolve(agent: &Agent, plan: &AgentPlan, template: &Template) -> Result<String, String> {
    if let Some(literal) = template.as_literal() {
        return Ok(literal.to_owned());
    }
    let index = plan.deploy.checked_sub(1).ok_or("it has references, but there is no step to resolve them with")?;
    match agent.link.ask(|id| Up::Env { id, index }).await {
        Reply::Env { mut env } => env.remove("SLIPSTREAM_READY").ok_or("its references were not resolved".to_owned()),
        Reply::Refused(refused) => Err(refused.message),
        Reply::Value { .. } | Reply::Met { .. } | Reply::Lead { .. } => {
            Err("the coordinator answered with a value".to_owned())
        }
    }
}

/// `port`, tried on all addresses of this machine, or `host:port`.
async fn tcp(target: &str) -> Result<(), String> {
    let target = target.trim();
    let mut places = Vec::new();
    if let Ok(port) = target.parse::<u16>() {
        let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        places.extend(own.into_iter().chain(system::addresses()).map(|ip| SocketAddr::new(ip, port)));
    } else {
        let parsed = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, port) = parsed.ok_or_else(|| format!("`{target}` is neither a port nor host:port"))?;
        let found = connect::addresses(host).await.map_err(|e| e.to_string())?;
        places.extend(found.into_iter().map(|ip| SocketAddr::new(ip, port)));
    }
    let mut first = None;
    for place in places {
        match TcpStream::connect(place).await {
            Ok(_) => return Ok(()),
            Err(e) => first = first.or_else(|| Some(format!("{place}: {e}"))),
        }
    }
    Err(first.unwrap_or_else(|| "there is no address to try".to_owned()))
}

/// A status below 400 is an answer.
async fn http(url: &str) -> Result<(), String> {
    let uri: Uri = url.trim().parse().map_err(|_| format!("`{url}` is no URL"))?;
    let host = uri.host().ok_or_else(|| format!("`{url}` names no host"))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("`{url}` is no http or https URL")),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |a| a.as_str());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: slipstream-agent\r\nConnection: close\r\n\r\n"
    );
    let (mut stream, place) = connect::connect(host, port).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    if secure {
        let mut stream = crate::tls::unverified(host, stream).await.map_err(|e| format!("{place}: {e}"))?;
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let _ = stream.take(64).read_to_end(&mut answer).await;
    } else {
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let _ = stream.take(64).read_to_end(&mut answer).await;
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok()) {
        Some(status) if status < 400 => Ok(()),
        Some(status) => Err(format!("{url} answers with status {status}")),
        None => Err(format!("{url} does not speak HTTP")),
    }
}

/// A script that ends with 0, in the environment of a step.
async fn exec(agent: &Agent, plan: &AgentPlan, script: &str) -> Result<(), String> {
    let output = tokio::process::Command::new("/bin/sh")
        .args(["-e", "-c", script])
        .env_clear()
        .envs(env::of_step(agent, plan, &std::collections::BTreeMap::new()))
        .current_dir(agent.folder.base())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = agent.scrub.clean_all(&output.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| output.status.to_string(), |last| format!("{}: {last}", output.status)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn targets_of_all_forms_are_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        tcp(&open.to_string()).await.unwrap();
        tcp(&format!("127.0.0.1:{open}")).await.unwrap();
        drop(listener);
        assert!(tcp(&open.to_string()).await.unwrap_err().contains("refused"));
        assert!(tcp("web").await.unwrap_err().contains("neither a port nor host:port"));
    }

    #[tokio::test]
    async fn an_http_status_below_400_is_ready() {
        let answers = [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.0 302 Found\r\n\r\n", true)];
        let failures = [("HTTP/1.1 503 Busy\r\n\r\n", false), ("SSH-2.0\r\n", false)];
        for (answer, passes) in answers.into_iter().chain(failures) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/x?y", listener.local_addr().unwrap());
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let size = stream.read(&mut request).await.unwrap();
                assert!(request[..size].starts_with(b"GET /x?y HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (result, ()) = tokio::join!(http(&url), serve);
            assert_eq!(result.is_ok(), passes, "{answer}: {result:?}");
        }
        assert!(http("ftp://x/").await.is_err());
    }
}
