//! Connections that nobody uses: silent, or stopped in the middle of a request.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For each connection, and how many in a row may fail before a port counts as full.
const PATIENCE: Duration = Duration::from_millis(500);
const FAILURES_MAX: usize = 3;
/// Fewer bytes than any request has: a length of Kafka's, a first line of HTTP's.
const BEGUN: [&[u8]; 3] = [b"", b"\0\0\0\x40", b"GET /livez HTTP/1.1\r\nhost:"];

/// Closed when dropped.
pub struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens so many connections to each address, or as many as it lets in.
    pub fn open(addresses: &[SocketAddr], count: usize) -> Idle {
        let mut streams = Vec::new();
        for address in addresses {
            let mut failures = 0;
            for number in 0..count {
                let Ok(mut stream) = TcpStream::connect_timeout(address, PATIENCE) else {
                    failures += 1;
                    if failures == FAILURES_MAX {
                        break;
                    }
                    continue;
                };
                failures = 0;
                // One that was refused meanwhile shows when it is counted.
                let _ = stream.write_all(BEGUN[number % BEGUN.len()]);
                streams.push(stream);
            }
        }
        Idle { streams }
    }

    /// How many connections were made.
    pub fn opened(&self) -> usize {
        self.streams.len()
    }

    /// How many of them nobody has closed, as far as is known here.
    pub fn held(&self) -> usize {
        let open = |stream: &&TcpStream| {
            let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
            matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
        };
        self.streams.iter().filter(open).count()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn those_that_were_closed_do_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let idle = Idle::open(&[listener.local_addr().unwrap()], 3);
        assert_eq!((idle.opened(), idle.held()), (3, 3));
        drop(listener.accept().unwrap());
        assert!(
            crate::admin::wait(Duration::from_secs(20), || (idle.held() == 2).then_some(()))
                .is_some()
        );
    }
}
