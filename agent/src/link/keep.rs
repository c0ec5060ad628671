//! Keeps a connection up for as long as the run lasts.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use slipstream_shared::link::Boot;
use tokio::{sync::watch, time::sleep};

use super::{Link, Phase, session};
use crate::{
    connect::{Connection, Dialer},
    link::session::SessionError,
    trouble::{Trouble, say},
};

/// The connection in use, shared with whoever makes short calls.
pub type Current = watch::Sender<Option<Arc<Connection>>>;

/// Connects, and connects again when the connection ends. Returns when coming back is pointless, with
/// the reason.
pub async fn keep(
    link: &Link,
    dialer: &Dialer,
    config: impl Fn() -> Arc<ClientConfig>,
    boot: &Boot,
    current: &Current,
) -> String {
    let mut trouble = Trouble::new("keep the link", Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let cause = match dialer.open(config()).await {
            Err(e) => {
                link.disconnected(Phase::Away(e.to_string()));
                e.to_string()
            }
            Ok(connection) => {
                let connection = Arc::new(connection);
                current.send_replace(Some(Arc::clone(&connection)));
                let ended = {
                    let session = session::run(link, &connection, boot);
                    tokio::pin!(session);
                    tokio::select! {
                        ended = &mut session => ended,
                        () = link.up() => {
                            say(format_args!("connected to {} (try {})", connection.url, trouble.forget()));
                            session.await
                        }
                    }
                };
                current.send_replace(None);
                match ended {
                    SessionError::Goodbye { retry: false, reason } => return leave(link, reason),
                    SessionError::Refused(refusal) if !refusal.retry => return leave(link, refusal.message),
                    SessionError::Status(_) | SessionError::Protocol(_) | SessionError::Refused(_) => {
                        dialer.avoid_current();
                    }
                    _ => {}
                }
                ended.to_string()
            }
        };
        sleep(trouble.failed(&cause)).await;
    }
}

fn leave(link: &Link, reason: String) -> String {
    link.disconnected(Phase::Gone(reason.clone()));
    reason
}
