//! Frames: what stands between the socket and a typed request or answer. No I/O happens here.
//!
//! A frame is a 32-bit length, a header, and a body whose form depends on the API and its version
//! (kafka-wire decodes it, with a bound on everything a peer can claim). The first eight bytes after the
//! length name API, version and correlation id, so a frame is judged before memory is taken for it.
//!
//! Invariant: no bytes make anything in this file panic; see `frame/captured.rs`, the fuzzing entry.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use kafka_wire::{RequestHeader, request_header_version};
use kafka_wire_core::{ApiVersion, Decoder, KafkaDecode};

use super::call::Call;
use super::codec::{FrameError, decode_limits};
use super::description::Api;
use super::pipeline::Pipeline;
use super::table;

mod captured;

pub use captured::{Captured, decode_request, request_memory_max};

/// API key, version and correlation id: the part of a request that has one form for ever.
pub(super) const HEAD_BYTES: usize = 8;
/// Largest request other than Produce; a fetch of 60,000 partitions fits.
const CONTROL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Decoded, such requests take up to this many times their size: a topic without a name, with one unknown tagged
/// field, is four bytes and becomes a structure of 72, in an array with twice the room, and one of 160. Found and held by
/// fuzzing (`tests/fuzz`). What a request really takes is known as soon as it is decoded.
const CONTROL_GROWTH: usize = 80;
/// The same of Produce, see `frame/rows.rs`; mostly it is records, which are not copied and grow by nothing.
const PRODUCE_GROWTH: usize = 12;

/// What the first bytes of a frame say about the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) api: &'static Api,
    pub(super) version: i16,
    pub(super) correlation: i32,
    /// Bytes after the length field, these eight included.
    pub(super) length: usize,
}

impl Head {
    /// Reads the head of a frame: its length field and the eight bytes behind it.
    pub(super) fn read(mut bytes: &[u8], request_bytes_max: usize) -> Result<Head, FrameError> {
        let claimed = bytes.try_get_i32().unwrap_or(0);
        let short = FrameError::TooShort { length: claimed };
        let Ok(length) = usize::try_from(claimed) else { return Err(short) };
        if length < HEAD_BYTES || bytes.len() < HEAD_BYTES {
            return Err(short);
        }
        let (key, version, correlation) = (bytes.get_i16(), bytes.get_i16(), bytes.get_i32());
        let api = &table::find(key).ok_or(FrameError::UnknownApi { key })?.api;
        let max =
            if api.overlaps { request_bytes_max } else { request_bytes_max.min(CONTROL_BYTES_MAX) };
        if length > max {
            return Err(FrameError::TooLarge { api: api.name, length, max });
        }
        if !api.serves(version) && api.key != table::API_VERSIONS {
            return Err(FrameError::Version { api: api.name, version });
        }
        Ok(Head { api, version, correlation, length })
    }

    /// Returns the memory to set aside before the request is read and decoded, in bytes.
    pub(super) fn cost(&self) -> usize {
        if self.api.overlaps { self.length } else { self.memory_max() }
    }

    /// Returns the most memory that the decoded request can take, in bytes.
    fn memory_max(&self) -> usize {
        if self.api.overlaps {
            self.length.saturating_mul(PRODUCE_GROWTH)
        } else {
            self.length.saturating_mul(CONTROL_GROWTH)
        }
    }
}

/// Decodes the header of a frame (without its length field) and leaves the decoder at the body.
pub(super) fn open(
    head: &Head,
    frame: Bytes,
    pipeline: &Arc<Pipeline>,
) -> Result<(Call, Decoder), FrameError> {
    let mut decoder = Decoder::new(frame, decode_limits(head.length))?;
    let mut call = Call {
        api: head.api,
        version: head.version,
        correlation: head.correlation,
        client: None,
        host: None,
        received: Instant::now(),
        pipeline: Arc::clone(pipeline),
    };
    // An ApiVersions of a version from the future has a header we cannot know; its answer needs none of it.
    if head.api.serves(head.version) {
        let version = request_header_version(head.api.is_flexible(head.version));
        let header = RequestHeader::decode(&mut decoder, ApiVersion::new(version))?;
        call.client = header.client_id.map(|client| Arc::from(client.as_str()));
    }
    Ok((call, decoder))
}

#[cfg(test)]
mod tests;
