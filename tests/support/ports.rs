//! Ports for brokers: below the range from which the kernel takes client ports, so that no
//! connection of a test can sit on the port of a broker that is just restarting.

use std::net::TcpListener;
use std::sync::Mutex;

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// The first of `count` consecutive ports nobody listens on, not given out before by this run.
pub fn block(count: u16) -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap();
    // Two runs on one machine start at different places.
    let mut from = next.unwrap_or(FIRST + (std::process::id() % 1000) as u16 * 11);
    for _ in FIRST..LAST {
        if from + count >= LAST {
            from = FIRST;
        }
        if (from..from + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            *next = Some(from + count);
            return from;
        }
        from += 1;
    }
    panic!("no {count} consecutive free ports between {FIRST} and {LAST}");
}
