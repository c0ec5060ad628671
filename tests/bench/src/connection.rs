//! One HTTP/2 connection of the load generator, the same for both sides but for TLS.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A request that is under way.
pub(crate) type Pending = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

/// Open as long as this value is kept.
pub(crate) struct Connection {
    send: SendRequest<Body>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> anyhow::Result<Self> {
        let (send, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(driver.await) });
        Ok(Connection { send, _driver: tasks })
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        Ok(self.send(request).await?.await?)
    }

    /// Puts a request on its way; its answer is for later.
    pub(crate) async fn send(&self, request: Request<Body>) -> anyhow::Result<Pending> {
        let mut send = self.send.clone();
        send.ready().await?;
        Ok(Box::pin(send.send_request(request)))
    }
}

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body of pieces that are sent as they come; its end is the end of the channel.
pub(crate) fn pieces() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    (sender, Pieces(receiver).boxed())
}

struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(task).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
