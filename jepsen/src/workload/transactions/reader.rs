//! Who reads all partitions all the time: one process what is committed, another one everything, as chance has it, and now and
//! then where the group is.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng;

use super::transformer::ask_offsets;
use super::{GROUP, Layout};
use crate::client::{Isolation, OffsetsSeen};
use crate::workload::home::Home;
use crate::workload::session::Session;

const POLL: Duration = Duration::from_millis(20);
/// Mean time after which a process is ended deliberately.
const CRASH: Duration = Duration::from_secs(8);
/// One operation in so many asks for the group's offsets, and one begins to read from the beginning.
const OFFSETS: u32 = 20;
const ANEW: u32 = 60;

/// One process that reads.
pub struct Reader {
    layout: Layout,
    crash: Instant,
    group: Home,
}

impl Reader {
    pub fn new(session: &mut Session, layout: Layout) -> Reader {
        if session.random.random_ratio(1, 3) {
            session.isolation = Isolation::Uncommitted;
        }
        let lives = CRASH.mul_f64(session.random.random_range(0.5..1.5));
        Reader { layout, crash: Instant::now() + lives, group: Home::of_group(GROUP) }
    }

    pub fn step(&mut self, session: &mut Session) -> Result<()> {
        if Instant::now() >= self.crash {
            return session.crash();
        }
        if session.random.random_ratio(1, OFFSETS) {
            let stable = session.random.random();
            let seen = if stable { OffsetsSeen::Stable } else { OffsetsSeen::Any };
            return ask_offsets(session, &mut self.group, seen, false).map(drop);
        }
        if session.positions.is_empty() || session.random.random_ratio(1, ANEW) {
            let all: Vec<i64> = (0..self.layout.all()).collect();
            session.assign(&[], false)?;
            return session.assign(&all, true);
        }
        let max_bytes = [2 << 10, 16 << 10, 128 << 10][session.random.random_range(0..3)];
        session.poll(POLL, max_bytes).map(drop)
    }
}
