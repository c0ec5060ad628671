//! `barrier` and `lead`: instances wait for each other.

use super::{complain, end_of, print};
use crate::{
    exit::End,
    socket::{Answer, Request, client},
};

pub(super) fn barrier(
    name: String,
    count: Option<u32>,
    of: Vec<String>,
    timeout: Option<u64>,
    ignore_abort: bool,
) -> End {
    end_of(client::call(&Request::Barrier { name, count, of, timeout, ignore_abort }))
}

pub(super) fn lead(name: String, wait: bool, timeout: Option<u64>, ignore_abort: bool) -> End {
    match client::call(&Request::Lead { name, wait, timeout, ignore_abort }) {
        Answer::Lead { number: Some(number), .. } => print(&number.to_string()),
        Answer::Lead { number: None, leader: Some(leader) } => complain(End::NotSet, &format!("{leader} leads")),
        Answer::Lead { number: None, leader: None } => complain(End::NotSet, "another instance is about to lead"),
        other => end_of(other),
    }
}

pub(super) fn resign(name: String) -> End {
    end_of(client::call(&Request::Resign { name }))
}
