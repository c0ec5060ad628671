//! The events of a run: a stream that can be resumed, or pages.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use slipstream_shared::{
    api::Page,
    event::{self, Record},
};

use super::{
    error::{ApiError, Code},
    extract::{QueryOf, header_text},
};
use crate::{
    app::Shared,
    drive::{EventFeed, RunHandle},
    seam::Seam,
};

/// A quiet stream says this often that it lives, so that proxies and clients do not give it up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The most events of a page.
const PAGE: usize = 1000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Only events after this number
    after: Option<u64>,
}

/// `GET /api/v1/runs/{run}/events`
pub(super) async fn stream(
    State(app): State<Shared>,
    Extension(run): Extension<RunHandle>,
    QueryOf(query): QueryOf<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // A browser that reconnects repeats the URL it began with; the header tells how far it has come.
    let after = last_event_id(&headers)?.or(query.after).unwrap_or(0);
    if !wants_page(&headers) {
        // Whoever comes back after the last event of all is not to wait for another.
        let detail = run.detail().await?;
        let over = detail.summary.state.is_final() && after >= detail.seq;
        let feed = if over { None } else { Some(run.events(after).await?) };
        let events = feed_events(feed, app.seam.clone());
        return Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let until = run.detail().await?.seq;
    let mut feed = run.events(after).await?;
    let mut items: Vec<Record> = Vec::new();
    while items.len() < PAGE && items.last().map_or(after, |record| record.seq) < until {
        let Some(record) = feed.next().await else { break };
        items.push(record);
    }
    let next = items.last().map(|record| record.seq).filter(|last| *last < until).map(|last| last.to_string());
    Ok(Json(Page { items, next }).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let invalid = |_| ApiError::new(Code::InvalidRequest, "the header `last-event-id` is not a number");
    header_text(headers, "last-event-id")?.map(|text| text.trim().parse().map_err(invalid)).transpose()
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/event-stream")
}

/// Ends with an event `end` if the run has ended; without one, a client comes back for the rest. There
/// is no feed where the run has ended and all of it was told.
fn feed_events(feed: Option<EventFeed>, seam: Seam) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((feed, seam)), async |state| {
        let (feed, seam) = state?;
        let Some(mut feed) = feed else {
            return Some((Ok(Event::default().event("end").data("the run has ended")), None));
        };
        let record = tokio::select! {
            biased;
            () = seam.stopping().cancelled() => return None,
            record = feed.next() => record?,
        };
        let over = matches!(&record.event, event::Event::StateChanged { state } if state.is_final());
        let data = serde_json::to_string(&record).unwrap_or_default();
        let event = Event::default().id(record.seq.to_string()).data(data);
        Some((Ok(event), Some(((!over).then_some(feed), seam))))
    })
}
