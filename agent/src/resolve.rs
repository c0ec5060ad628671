//! Finds the addresses of a name: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
//!
//! Written out because the C library's resolver does not work in a static binary and `hickory-resolver`
//! is a sixth of the size the agent may have. A stub is enough: the name server does the work, and
//! what it says is not trusted: the coordinator is known by its key.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use crate::trouble::random_u32;

/// How long one name server may take for one question.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How often all name servers are asked.
const ROUNDS: u32 = 2;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It can be no name.
    #[error("it is no host name")]
    Invalid,
    /// Name servers know no such name.
    #[error("there is no such name")]
    Unknown,
    /// None of them has answered.
    #[error("no name server answers ({0})")]
    Silent(String),
}

/// Where the system says how names are found.
#[derive(Debug)]
pub struct Resolver {
    hosts: PathBuf,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    /// Reads the configuration. Made anew for each use: at boot it may appear later than the agent.
    #[must_use]
    pub fn system() -> Self {
        Resolver::of(Path::new("/etc/hosts"), &fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn of(hosts: &Path, resolv_conf: &str) -> Self {
        let mut resolver = Resolver { hosts: hosts.to_owned(), servers: vec![], search: vec![], ndots: 1 };
        for line in resolv_conf.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`%eth0`) belongs to link-local servers, which are left out.
                    let ip = words.next().and_then(|ip| ip.parse::<IpAddr>().ok());
                    resolver.servers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        resolver
    }

    /// The addresses of a host, IPv4 first. An address is its own.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![ip]);
        }
        let known = self.in_hosts(host.trim_end_matches('.'));
        if !known.is_empty() {
            return Ok(known);
        }
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let mut silent = None;
        for name in self.candidates(host) {
            match self.ask_all(&name).await {
                Ok(found) => return Ok(found),
                Err(ResolveError::Unknown) => {}
                Err(e @ ResolveError::Invalid) => return Err(e),
                Err(e) => silent = Some(e),
            }
        }
        Err(silent.unwrap_or(ResolveError::Unknown))
    }

    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let text = fs::read_to_string(&self.hosts).unwrap_or_default();
        let mut found: Vec<IpAddr> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split('#').next()?.split_ascii_whitespace();
                let ip = words.next()?.parse().ok()?;
                words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
            })
            .collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found
    }

    /// The full names to try, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(full) = host.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let mut names: Vec<_> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let as_is = if host.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(as_is, host.to_owned());
        names
    }

    async fn ask_all(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut last = ResolveError::Unknown;
        for _ in 0..ROUNDS {
            for server in &self.servers {
                let both = async { tokio::join!(ask(*server, name, TYPE_A), ask(*server, name, TYPE_AAAA)) };
                let (v4, v6) = both.await;
                let found: Vec<_> = [&v4, &v6].into_iter().flatten().flatten().copied().collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                // A name without addresses is as good as none.
                match v4.and(v6) {
                    Err(e @ ResolveError::Silent(_)) => last = e,
                    Err(e) => return Err(e),
                    Ok(_) => return Err(ResolveError::Unknown),
                }
            }
        }
        Err(last)
    }
}

/// Asks one server one question.
async fn ask(server: SocketAddr, name: &str, kind: u16) -> Result<Vec<IpAddr>, ResolveError> {
    let id = (random_u32() & 0xffff) as u16;
    let question = question(id, name, kind).ok_or(ResolveError::Invalid)?;
    let failed = |why: String| ResolveError::Silent(format!("{}: {why}", server.ip()));
    let exchange = async {
        let own = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut answer = [0; 4096];
        loop {
            let size = socket.recv(&mut answer).await?;
            // Something else on this port is not the answer.
            if answer[..size].starts_with(&id.to_be_bytes()) {
                return io::Result::Ok(answer[..size].to_vec());
            }
        }
    };
    match timeout(ANSWER_WITHIN, exchange).await {
        Ok(Ok(answer)) => match addresses(&answer, kind) {
            Some(Ok(found)) => Ok(found),
            Some(Err(3)) => Err(ResolveError::Unknown),
            Some(Err(code)) => Err(failed(format!("error {code}"))),
            None => Err(failed("its answer is damaged".to_owned())),
        },
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed("no answer".to_owned())),
    }
}

/// A question for one type of record.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    // Recursion desired, one question.
    let mut message = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).ok().filter(|size| (1..64).contains(size))?);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    (name.len() <= 253).then_some(message)
}

/// The addresses in an answer, or its error code. None: it is no answer.
fn addresses(message: &[u8], kind: u16) -> Option<Result<Vec<IpAddr>, u8>> {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = number(2)?;
    if flags & 0x8000 == 0 {
        return None;
    }
    if flags & 0xf != 0 {
        return Some(Err((flags & 0xf) as u8));
    }
    let mut at = 12;
    for _ in 0..number(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(message, at)?;
        let (record, size) = (number(at)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + size)?;
        match record {
            TYPE_A if kind == TYPE_A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
            TYPE_AAAA if kind == TYPE_AAAA => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            _ => {}
        }
        at += 10 + size;
    }
    Some(Ok(found))
}

/// The place after a name: labels up to an empty one, or up to a reference to elsewhere.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            size if size & 0xc0 == 0xc0 => return Some(at + 2),
            size => at += 1 + usize::from(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(hosts: &str, resolv_conf: &str) -> (tempfile::NamedTempFile, Resolver) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), hosts).unwrap();
        let resolver = Resolver::of(file.path(), resolv_conf);
        (file, resolver)
    }

    #[tokio::test]
    async fn addresses_and_names_of_the_hosts_file_need_no_server() {
        let (_file, resolver) = resolver("::9 db\n10.0.0.7 db db.lan # old\n# 10.0.0.8 db\n", "");
        let found = |host: &'static str| {
            let resolver = &resolver;
            async move { resolver.lookup(host).await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>() }
        };
        assert_eq!(found("DB").await, ["10.0.0.7", "::9"]);
        assert_eq!(found("db.lan.").await, ["10.0.0.7"]);
        assert_eq!(found("[fd00::1]").await, ["fd00::1"]);
        assert_eq!(found("localhost").await, ["127.0.0.1", "::1"]);
    }

    #[test]
    fn short_names_are_looked_for_in_the_search_list_first() {
        let (_file, resolver) =
            resolver("", "search a.example b.example\nnameserver 10.0.0.1\nnameserver fe80::1%e0\n");
        assert_eq!(resolver.candidates("db"), ["db.a.example", "db.b.example", "db"]);
        assert_eq!(resolver.candidates("db.x"), ["db.x", "db.x.a.example", "db.x.b.example"]);
        assert_eq!(resolver.candidates("db."), ["db"]);
        assert_eq!(resolver.servers, ["10.0.0.1:53".parse().unwrap()]);
    }

    /// Answers every question about `known.example` with an alias and an address, and knows no other.
    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 512];
        loop {
            let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = &buffer[..size];
            let mut answer = asked.to_vec();
            if asked[12..].starts_with(b"\x05known\x07example\0") {
                (answer[2], answer[3], answer[7]) = (0x81, 0x80, 2);
                answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
                match asked[size - 3] {
                    1 => answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]),
                    _ => answer[7] = 1,
                }
            } else {
                (answer[2], answer[3]) = (0x81, 0x83);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_server_is_asked_and_believed() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (_file, mut resolver) = resolver("", "search example\n");
        resolver.servers = vec![socket.local_addr().unwrap()];
        let questions = async {
            assert_eq!(resolver.lookup("known").await, Ok(vec!["10.1.2.3".parse().unwrap()]));
            assert_eq!(resolver.lookup("other").await, Err(ResolveError::Unknown));
            assert_eq!(resolver.lookup("a..b").await, Err(ResolveError::Invalid));
        };
        tokio::select! {
            () = serve(socket) => {}
            () = questions => {}
        }
    }

    #[test]
    fn no_damaged_answer_is_a_crash() {
        let mut whole = question(7, "known.example", TYPE_A).unwrap();
        (whole[2], whole[7]) = (0x80, 1);
        whole.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        assert_eq!(addresses(&whole, TYPE_A), Some(Ok(vec!["10.1.2.3".parse().unwrap()])));
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = broken[at].wrapping_add(100);
            let _ = addresses(&broken, TYPE_A);
            assert!(addresses(&whole[..at], TYPE_A).is_none_or(|found| found.is_err()));
        }
    }
}
