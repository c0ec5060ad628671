//! Barriers and leads.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::{Client, ClientError, json, of};
use crate::{
    api::{BarrierInfo, BarrierRequest, LeadInfo, LeadRequest},
    meeting::MeetingName,
};

impl Client {
    /// The barriers of a run.
    pub async fn barriers(&self, run: &str) -> Result<Vec<BarrierInfo>, ClientError> {
        self.all(&of(run, "/barriers")).await
    }

    /// Waits until a barrier opens; with `count`, arrives there first, as one of so many. The problem
    /// `wait_timeout` says that it has not opened yet.
    pub async fn meet(
        &self,
        run: &str,
        name: &MeetingName,
        count: Option<u32>,
        ignore_abort: bool,
        within: Duration,
    ) -> Result<BarrierInfo, ClientError> {
        let ask = |timeout| {
            let request = BarrierRequest { count, timeout, ignore_abort };
            (of(run, &format!("/barriers/{name}")), json(&request))
        };
        self.held(within, Method::POST, &ask).await
    }

    /// What instances of a run lead.
    pub async fn leads(&self, run: &str) -> Result<Vec<LeadInfo>, ClientError> {
        self.all(&of(run, "/leads")).await
    }

    /// Waits until a program of this client's user leads, or keeps its lead, for so many seconds. The problem
    /// `wait_timeout` says that it does not lead yet.
    pub async fn lead(
        &self,
        run: &str,
        name: &MeetingName,
        program: &MeetingName,
        seconds: u64,
        ignore_abort: bool,
        within: Duration,
    ) -> Result<LeadInfo, ClientError> {
        let ask = |timeout| {
            let request = LeadRequest { program: program.clone(), seconds, timeout, ignore_abort };
            (of(run, &format!("/leads/{name}")), json(&request))
        };
        self.held(within, Method::POST, &ask).await
    }

    /// Takes a lead away from whoever has it.
    pub async fn end_lead(&self, run: &str, name: &MeetingName) -> Result<(), ClientError> {
        self.done(Method::DELETE, &of(run, &format!("/leads/{name}")), Bytes::new()).await
    }
}
