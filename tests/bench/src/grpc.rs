//! As much of gRPC and of etcd's API as is measured: put and watch.
//!
//! A message is a byte 0 (not compressed), its length in four bytes, and protocol buffers. Numbers of fields are
//! those of etcd's API version 3.

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use prost::Message;

use crate::connection::{Body, Connection};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) create: Option<WatchCreate>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchCreate {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchResponse {
    #[prost(int64, tag = "2")]
    pub(crate) watch: i64,
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(bool, tag = "4")]
    pub(crate) canceled: bool,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<WatchEvent>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchEvent {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
}

/// A message with what goes before it.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).expect("messages here are small");
    [&[0][..], &length.to_be_bytes(), &body].concat().into()
}

/// Starts a call.
pub(crate) async fn call(connection: &Connection, method: &str, body: Body) -> anyhow::Result<Messages> {
    let request = Request::post(format!("http://etcd/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)?;
    let response = connection.call(request).await?;
    ensure!(response.status() == 200, "etcd answers with status {}", response.status());
    Ok(Messages { body: response.into_body(), buffer: BytesMut::new() })
}

/// What comes back.
pub(crate) struct Messages {
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    /// The next message.
    pub(crate) async fn next<T: Message + Default>(&mut self) -> anyhow::Result<T> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(T::decode(message)?);
            }
            let frame = self.body.frame().await.context("the call has ended")??;
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => bail!("the call has ended: {:?}", frame.trailers_ref()),
            }
        }
    }

    fn whole(&mut self) -> anyhow::Result<Option<Bytes>> {
        let Some(head) = self.buffer.get(..5) else { return Ok(None) };
        ensure!(head[0] == 0, "a message is compressed");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_what_etcd_reads() {
        let put = PutRequest { key: b"k".to_vec(), value: b"vv".to_vec() };
        assert_eq!(frame(&put), &b"\0\0\0\0\x07\x0a\x01k\x12\x02vv"[..]);
        let watch = WatchRequest { create: Some(WatchCreate { key: b"k".to_vec() }) };
        assert_eq!(frame(&watch), &b"\0\0\0\0\x05\x0a\x03\x0a\x01k"[..]);
    }
}
