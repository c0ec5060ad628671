//! Who guesses passwords has to wait, longer each time: for each name and for each address.
//!
//! A try counts as failed from its beginning, so that many at once gain nothing. Names that do not exist are
//! counted as those that do. What is counted is forgotten an hour after the last failure, and when the coordinator
//! restarts. Tokens and sessions go on working: nobody can keep somebody out who is in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use crate::seam::{Millis, Seam};

/// Failures of a name, and of an address, before anybody has to wait. Several people may share an address.
const FREE: [u32; 2] = [5, 20];

/// The longest wait.
const LONGEST: Millis = 15 * 60 * 1000;

/// After this long without a failure all is forgotten.
const FORGET: Millis = 60 * 60 * 1000;

/// How many names and addresses are counted; beyond, those whose last failure is longest ago are forgotten.
const MOST: usize = 10_000;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    failures: Mutex<HashMap<Who, Failures>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Millis,
}

impl Lockout {
    /// Lets a try begin, and counts it as failed. Otherwise: how many seconds to wait.
    pub(super) fn begin(&self, seam: &Seam, name: &str, address: IpAddr) -> Result<(), u64> {
        let now = seam.steady();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let both = who(name, address);
        let until = both.iter().zip(FREE).filter_map(|(who, free)| {
            let found = failures.get(who).filter(|found| now - found.last < FORGET)?;
            let beyond = found.count.checked_sub(free)?;
            Some(found.last + (1000_u64 << beyond.min(20)).min(LONGEST))
        });
        if let Some(until) = until.max().filter(|until| *until > now) {
            return Err((until - now).div_ceil(1000));
        }
        for who in both {
            let found = failures.entry(who).or_insert(Failures { count: 0, last: now });
            if now - found.last >= FORGET {
                found.count = 0;
            }
            *found = Failures { count: found.count + 1, last: now };
        }
        if failures.len() > MOST {
            let mut last: Vec<Millis> = failures.values().map(|found| found.last).collect();
            last.sort_unstable();
            let oldest = last[last.len() / 2];
            failures.retain(|_, found| found.last > oldest);
        }
        Ok(())
    }

    /// The try has succeeded: the name is clean, and the address has one failure less.
    pub(super) fn succeeded(&self, name: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let [name, address] = who(name, address);
        failures.remove(&name);
        if let Some(found) = failures.get_mut(&address) {
            found.count = found.count.saturating_sub(1);
        }
    }
}

/// One customer has a whole /64 of IPv6.
fn who(name: &str, address: IpAddr) -> [Who; 2] {
    let address = match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    };
    // No name is as long; what is sent instead of one is not kept.
    let name = name.chars().take(64).collect();
    [Who::Name(name), Who::Address(address)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_and_success_ends_them() {
        let (seam, lockout) = (Seam::seeded(1), Lockout::default());
        let here: IpAddr = "192.0.2.1".parse().expect("an address");
        for _ in 0..5 {
            lockout.begin(&seam, "ann", here).expect("free");
        }
        for wait in [1, 2, 4, 8] {
            assert_eq!(lockout.begin(&seam, "ann", here), Err(wait));
            lockout.begin(&seam, "bob", "192.0.2.9".parse().expect("an address")).expect("another name and address");
            lockout.succeeded("bob", "192.0.2.9".parse().expect("an address"));
            tokio::time::advance(Duration::from_secs(wait)).await;
            assert_eq!(lockout.begin(&seam, "ann", here), Ok(()));
        }
        lockout.succeeded("ann", here);
        assert_eq!(lockout.begin(&seam, "ann", here), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_tries_many_names_waits_as_well() {
        let (seam, lockout) = (Seam::seeded(1), Lockout::default());
        for n in 0..20_u16 {
            let one_of_a_network = format!("2001:db8::{n}").parse().expect("an address");
            lockout.begin(&seam, &format!("user{n}"), one_of_a_network).expect("free");
        }
        assert_eq!(lockout.begin(&seam, "fresh", "2001:db8::ffff".parse().expect("an address")), Err(1));
        assert_eq!(lockout.begin(&seam, "fresh", "2001:db8:0:1::1".parse().expect("an address")), Ok(()));
        tokio::time::advance(Duration::from_millis(FORGET)).await;
        assert_eq!(lockout.begin(&seam, "fresh", "2001:db8::ffff".parse().expect("an address")), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_counted_is_bounded() {
        let (seam, lockout) = (Seam::seeded(1), Lockout::default());
        for n in 0..30_000_u32 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let _ = lockout.begin(&seam, &n.to_string(), std::net::Ipv4Addr::from(n).into());
        }
        assert!(lockout.failures.lock().expect("whole").len() <= MOST);
    }
}
