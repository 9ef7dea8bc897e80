//! Frames: what stands between the socket and a typed request or answer. No I/O happens here.
//!
//! A frame is a 32-bit length, a header, and a body whose form depends on the API and its version
//! (kafka-wire decodes it, with a bound on everything a peer can claim). The first eight bytes after the
//! length name API, version and correlation id, so a frame is judged before memory is taken for it.
//!
//! Invariant: no bytes make anything in this file panic; see `frame/captured.rs`, the fuzzing entry.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_wire::{
    KafkaMessage, KafkaRequest, KafkaResponse, ProduceRequest, RequestHeader,
    request_header_version, response_header_version,
};
use kafka_wire_core::{ApiVersion, DecodeError, DecodeLimits, Decoder, EncodeError, KafkaDecode};

use super::pipeline::Pipeline;
use super::table::{self, Api};

mod captured;
mod rows;

pub(super) use captured::Body;
pub use captured::{Captured, decode_request, request_memory_max};

/// Bytes of the length in front of every frame.
pub(super) const LENGTH_BYTES: usize = 4;
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
/// No string of the protocol that this broker uses is longer: names are below 250, client ids are free text.
const STRING_BYTES_MAX: usize = 64 * 1024;
const ARRAY_ELEMENTS_MAX: usize = 200_000;
const TAGGED_FIELDS_MAX: usize = 64;

/// One request as far as its header tells.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) api: &'static Api,
    /// The version to decode the body and encode the answer with.
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) client: Option<Arc<str>>,
    /// When its last byte arrived.
    pub(crate) received: Instant,
    /// The connection's memory of its producers.
    pub(crate) pipeline: Arc<Pipeline>,
}

/// Why a frame cannot be served. None of these can be answered in a form the peer would understand, so the
/// connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes is too short for a request")]
    TooShort { length: i32 },
    #[error("a frame of {length} bytes is larger than the {max} allowed for {api}")]
    TooLarge { api: &'static str, length: usize, max: usize },
    #[error("api key {key} is not served")]
    UnknownApi { key: i16 },
    #[error("version {version} of {api} is not served")]
    Version { api: &'static str, version: i16 },
    #[error("the request cannot be decoded")]
    Malformed(#[from] DecodeError),
}

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
        let api = table::find(key).ok_or(FrameError::UnknownApi { key })?;
        let max = match api.overlaps {
            true => request_bytes_max,
            false => request_bytes_max.min(CONTROL_BYTES_MAX),
        };
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
        match self.api.overlaps {
            true => self.length,
            false => self.memory_max(),
        }
    }

    /// Returns the most memory that the decoded request can take, in bytes.
    fn memory_max(&self) -> usize {
        match self.api.overlaps {
            true => self.length.saturating_mul(PRODUCE_GROWTH),
            false => self.length.saturating_mul(CONTROL_GROWTH),
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

/// Decodes the body of a request; returns also how many bytes it takes now.
pub(super) fn decode<Q: KafkaRequest>(
    decoder: &mut Decoder,
    version: i16,
) -> Result<(Q, usize), DecodeError> {
    if Q::API_KEY == ProduceRequest::API_KEY {
        rows::check(
            decoder.clone(),
            version,
            ProduceRequest::is_flexible(ApiVersion::new(version)),
        )?;
    }
    let request = Q::decode(decoder, ApiVersion::new(version))?;
    let held = request.retained_size().heap_bytes();
    Ok((request, held))
}

/// Encodes an answer with its length and header.
pub(super) fn encode<R: KafkaResponse>(call: &Call, answer: &R) -> Result<Bytes, EncodeError> {
    let version = ApiVersion::new(call.version);
    let header =
        response_header_version(R::API_KEY, version, <R as KafkaMessage>::is_flexible(version));
    let tags = usize::from(header > 0);
    let body_bytes = answer.encoded_len(version)?;
    let length = body_bytes + tags + size_of::<i32>();
    let claimed =
        i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge { bytes: length })?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + length);
    frame.put_i32(claimed);
    frame.put_i32(call.correlation);
    if header > 0 {
        // No tagged fields in the header: an unsigned varint 0.
        frame.put_u8(0);
    }
    answer.encode_into(&mut frame, version)?;
    Ok(frame.freeze())
}

fn decode_limits(frame_bytes: usize) -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = frame_bytes;
    limits.max_bytes_bytes = frame_bytes;
    limits.max_string_bytes = STRING_BYTES_MAX;
    limits.max_array_elements = ARRAY_ELEMENTS_MAX;
    limits.max_tagged_fields = TAGGED_FIELDS_MAX;
    limits.max_tag_bytes = frame_bytes;
    limits.max_total_tag_bytes = frame_bytes;
    limits
}

#[cfg(test)]
mod tests;
