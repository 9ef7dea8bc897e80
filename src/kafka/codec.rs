//! Requests from bytes and answers to bytes, with a bound on everything that a peer can claim.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::{
    KafkaMessage, KafkaRequest, KafkaResponse, ProduceRequest, response_header_version,
};
use kafka_wire_core::{ApiVersion, DecodeError, DecodeLimits, Decoder, EncodeError};

use super::call::Call;

mod rows;

/// Bytes of the length in front of every frame.
pub(super) const LENGTH_BYTES: usize = 4;
/// No string of the protocol that this broker uses is longer: names are below 250, client ids are free text.
const STRING_BYTES_MAX: usize = 64 * 1024;
const ARRAY_ELEMENTS_MAX: usize = 200_000;
const TAGGED_FIELDS_MAX: usize = 64;

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

/// A request's body, whatever its API.
pub(in crate::kafka) trait Body {
    fn encode(&self, into: &mut BytesMut, version: i16) -> Result<usize, EncodeError>;
}

impl<Q: KafkaRequest> Body for Q {
    fn encode(&self, into: &mut BytesMut, version: i16) -> Result<usize, EncodeError> {
        self.encode_into(into, ApiVersion::new(version))
    }
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

pub(super) fn decode_limits(frame_bytes: usize) -> DecodeLimits {
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
