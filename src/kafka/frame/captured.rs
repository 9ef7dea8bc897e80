//! A request by itself: decoded as the server decodes it, served by nobody.
//!
//! Fuzzing and tools that look at captured traffic come in here. What they get can be written again, so that
//! one can see whether anything was lost or made up.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::EncodeError;

use super::{HEAD_BYTES, Head, open};
use crate::kafka::codec::{Body, FrameError, LENGTH_BYTES};
use crate::kafka::description::Api;
use crate::kafka::table;

/// Largest frame looked at; the server's bound is a setting.
const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// A request that was decoded.
pub struct Captured {
    pub api: &'static Api,
    pub version: i16,
    /// The bytes of the frame that say something, its length field included. What follows them is ignored,
    /// as Kafka does.
    pub read: Bytes,
    /// Where the body begins in `read`.
    body_at: usize,
    /// None for an ApiVersions of a version that does not exist yet.
    body: Option<Box<dyn Body>>,
}

impl Captured {
    /// Writes the request again: head and header as they came, the body from what was understood.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut frame = BytesMut::from(&self.read[..self.body_at]);
        if let Some(body) = &self.body {
            body.encode(&mut frame, self.version)?;
        }
        let length = frame.len() - LENGTH_BYTES;
        let claimed =
            i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge { bytes: length })?;
        frame[..LENGTH_BYTES].copy_from_slice(&claimed.to_be_bytes());
        Ok(frame.freeze())
    }

    /// Returns whether its version has tagged fields and varints, so that there are several ways to write it.
    pub fn is_flexible(&self) -> bool {
        self.api.is_flexible(self.version)
    }
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} v{}, {} bytes", self.api.name, self.version, self.read.len())
    }
}

/// Decodes one request frame (with its length field).
pub fn decode_request(bytes: &[u8]) -> Result<Captured, FrameError> {
    let head = Head::read(bytes, FRAME_BYTES_MAX)?;
    let whole = bytes.len().min(LENGTH_BYTES + head.length);
    let frame = Bytes::copy_from_slice(&bytes[..whole]);
    let (call, mut decoder) = open(&head, frame.slice(LENGTH_BYTES..), &std::sync::Arc::default())?;
    let (api, version) = (call.api, call.version);
    if !api.serves(version) {
        let read = frame.slice(..LENGTH_BYTES + HEAD_BYTES);
        return Ok(Captured { api, version, body_at: read.len(), read, body: None });
    }
    let body_at = LENGTH_BYTES + decoder.offset();
    let row = table::find(api.key).ok_or(FrameError::UnknownApi { key: api.key })?;
    let body = (row.decode)(&mut decoder, version)?;
    let read = frame.slice(..LENGTH_BYTES + decoder.offset());
    Ok(Captured { api, version, read, body_at, body: Some(body) })
}

/// Returns the most memory, in bytes, that the request which `bytes` begin can take when decoded.
pub fn request_memory_max(bytes: &[u8]) -> Result<usize, FrameError> {
    Ok(Head::read(bytes, FRAME_BYTES_MAX)?.memory_max())
}
