//! One request under way, as far as its header tells.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::description::Api;
use super::error::ErrorCode;
use super::pipeline::Pipeline;
use crate::telemetry::{ApiError, metrics};

/// One request as far as its header tells.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) api: &'static Api,
    /// The version to decode the body and encode the answer with.
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    pub(crate) client: Option<Arc<str>>,
    /// Where the client is.
    pub(crate) host: Option<IpAddr>,
    /// When its last byte arrived.
    pub(crate) received: Instant,
    /// The connection's memory of its producers.
    pub(crate) pipeline: Arc<Pipeline>,
}

impl ErrorCode {
    /// Returns the number to put into an answer, and counts it when it is an error.
    pub(crate) fn count(self, call: &Call) -> i16 {
        let code = self as i16;
        if self != ErrorCode::None {
            let label = ApiError { api: call.api.name, error: i32::from(code) };
            metrics().kafka_request_errors.get_or_create(&label).inc();
        }
        code
    }
}
