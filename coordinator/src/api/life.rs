//! What concerns the life of a run as a whole: why it hangs, how long it lives, giving it up.

use axum::{Extension, Json, extract::State};
use slipstream_shared::{
    api::{LeaseRequest, RunDetail, Why},
    event::Author,
    id::RunId,
};

use super::{
    error::{ApiError, Code},
    extract::JsonBody,
};
use crate::{access::User, app::Shared, drive::RunHandle, seam::Millis};

/// `GET /api/v1/runs/{run}/why`
pub(super) async fn why(Extension(run): Extension<RunHandle>) -> Result<Json<Why>, ApiError> {
    Ok(Json(run.why().await?))
}

/// `PUT /api/v1/runs/{run}/lease`
pub(super) async fn set_lease(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunHandle>,
    JsonBody(request): JsonBody<LeaseRequest>,
) -> Result<Json<RunDetail>, ApiError> {
    let seconds = seconds(&request, app.seam.now())?;
    run.set_lease(Author::User(user.name), seconds).await?;
    Ok(Json(run.detail().await?))
}

/// From now to the end that is asked for; none: there is to be no end.
fn seconds(request: &LeaseRequest, now: Millis) -> Result<Option<u64>, ApiError> {
    let invalid = |detail: String| Err(ApiError::new(Code::InvalidRequest, detail));
    match (request.seconds, request.end, request.never) {
        (None, None, true) => Ok(None),
        (Some(seconds), None, false) => Ok(Some(seconds)),
        (None, Some(end), false) => match u64::try_from(end.as_millisecond()).unwrap_or(0).checked_sub(now) {
            Some(left) => Ok(Some(left.div_ceil(1000))),
            None => invalid(format!("a lease cannot end in the past ({end}); to end the run now: `seconds` 0")),
        },
        _ => invalid("say one of `seconds`, `end` and `never`".to_owned()),
    }
}

/// `POST /api/v1/runs/{run}/abandon`
pub(super) async fn abandon(
    State(app): State<Shared>,
    Extension(user): Extension<User>,
    Extension(run): Extension<RunId>,
) -> Result<Json<RunDetail>, ApiError> {
    Ok(Json(app.runs.abandon(run, Author::User(user.name)).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_asked_for_in_one_way_and_never_in_the_past() {
        let now = 1_700_000_000_000;
        let request = |json| serde_json::from_value::<LeaseRequest>(json).expect("of the form");
        let good = |json| seconds(&request(json), now).expect("accepted");
        assert_eq!(good(serde_json::json!({ "seconds": 60 })), Some(60));
        assert_eq!(good(serde_json::json!({ "end": "2023-11-14T22:14:20Z" })), Some(60));
        assert_eq!(good(serde_json::json!({ "never": true })), None);
        let bad = |json| seconds(&request(json), now).expect_err("refused").detail;
        let past = bad(serde_json::json!({ "end": "2023-11-14T22:13:19Z" }));
        assert!(past.starts_with("a lease cannot end in the past (2023-11-14T22:13:19Z)"), "{past}");
        for json in [serde_json::json!({}), serde_json::json!({ "seconds": 1, "never": true })] {
            assert_eq!(bad(json), "say one of `seconds`, `end` and `never`");
        }
    }
}
