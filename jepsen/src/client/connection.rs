//! One TCP connection to a broker, used by one thread.
//!
//! Kafka answers in the order of requests, so sending and receiving are two steps and several requests may be under
//! way. After the first failure a connection is of no use any more: whoever gets one drops it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::Failure;

/// The largest answer that is read.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Room is made as bytes arrive, not as a length claims.
const READ_BYTES: usize = 64 << 10;
/// Shortest time limit that the system takes.
const TICK: Duration = Duration::from_millis(1);

/// A request and its version as they go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    pub version: i16,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    sent: i32,
    received: i32,
}

impl Connection {
    /// Connects, or has sent nothing.
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Connection, Failure> {
        let unsent = |error: std::io::Error| Failure::Unsent(format!("{address}: {error}"));
        let stream = TcpStream::connect_timeout(&address, patience).map_err(unsent)?;
        stream.set_nodelay(true).map_err(unsent)?;
        Ok(Connection { stream, sent: 0, received: 0 })
    }

    /// Whether it is idle and the broker has not closed it, as far as is known here.
    pub fn usable(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        let quiet = matches!(peek(), Err(error) if error.kind() == ErrorKind::WouldBlock);
        quiet && self.sent == self.received
    }

    /// Writes a request. An error leaves open whether the broker got it.
    pub fn send<Q: Encodable + HeaderVersion>(
        &mut self,
        api: Api,
        request: &Q,
        patience: Duration,
    ) -> Result<(), Failure> {
        let frame = encode(api, self.sent, request)
            .map_err(|error| Failure::Unsent(format!("{:?}: {error:#}", api.key)))?;
        let written = self
            .stream
            .set_write_timeout(Some(patience.max(TICK)))
            .and_then(|()| self.stream.write_all(&frame));
        written.map_err(|error| Failure::Unanswered(format!("{:?}: {error}", api.key)))?;
        self.sent += 1;
        Ok(())
    }

    /// Reads the answer to the oldest request that has none.
    pub fn receive<A: Decodable + HeaderVersion>(
        &mut self,
        api: Api,
        deadline: Instant,
    ) -> Result<A, Failure> {
        let none = |why: String| Failure::Unanswered(format!("{:?}: {why}", api.key));
        let frame = self.frame(deadline).map_err(|error| none(error.to_string()))?;
        let expected = self.received;
        self.received += 1;
        decode(api, expected, frame).map_err(|error| none(format!("{error:#}")))
    }

    fn frame(&mut self, deadline: Instant) -> std::io::Result<Bytes> {
        let head = self.exactly(4, deadline)?;
        let claimed = head.first_chunk().map_or(0, |head| i32::from_be_bytes(*head));
        match usize::try_from(claimed) {
            Ok(length) if length <= FRAME_BYTES_MAX => self.exactly(length, deadline),
            _ => Err(std::io::Error::other(format!("an answer of {claimed} bytes"))),
        }
    }

    fn exactly(&mut self, length: usize, deadline: Instant) -> std::io::Result<Bytes> {
        let mut bytes = BytesMut::new();
        while bytes.len() < length {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left.max(TICK)))?;
            let old = bytes.len();
            bytes.resize(old + (length - old).min(READ_BYTES), 0);
            let read = match self.stream.read(&mut bytes[old..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            };
            bytes.truncate(old + read);
        }
        Ok(bytes.freeze())
    }
}

fn encode<Q: Encodable + HeaderVersion>(
    api: Api,
    correlation: i32,
    request: &Q,
) -> anyhow::Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(api.key as i16)
        .with_request_api_version(api.version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("quorate-jepsen")));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, Q::header_version(api.version))?;
    request.encode(&mut frame, api.version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn decode<A: Decodable + HeaderVersion>(
    api: Api,
    correlation: i32,
    mut frame: Bytes,
) -> anyhow::Result<A> {
    let header = ResponseHeader::decode(&mut frame, A::header_version(api.version))?;
    let answered = header.correlation_id;
    anyhow::ensure!(answered == correlation, "answer to request {answered}, not {correlation}");
    let answer = A::decode(&mut frame, api.version)?;
    anyhow::ensure!(frame.is_empty(), "{} bytes too many", frame.len());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

    use super::*;

    const METADATA: Api = Api { key: ApiKey::Metadata, version: 12 };
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Answers the first request on a connection with these bytes, then closes it.
    fn answer(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(bytes).unwrap();
        });
        address
    }

    fn ask(bytes: &'static [u8]) -> Result<MetadataResponse, Failure> {
        let mut connection = Connection::open(answer(bytes), PATIENCE).unwrap();
        connection.send(METADATA, &MetadataRequest::default(), PATIENCE).unwrap();
        connection.receive(METADATA, Instant::now() + PATIENCE)
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_no_answer() {
        for bytes in
            [&b""[..], b"\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\x04\0\0\0\x07"]
        {
            assert!(matches!(ask(bytes), Err(Failure::Unanswered(_))), "{bytes:?}");
        }
    }

    #[test]
    fn a_connection_that_the_broker_closed_is_not_usable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::open(listener.local_addr().unwrap(), PATIENCE).unwrap();
        assert!(connection.usable());
        drop(listener.accept().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while connection.usable() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn where_nobody_listens_nothing_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(Connection::open(address, PATIENCE), Err(Failure::Unsent(_))));
    }
}
