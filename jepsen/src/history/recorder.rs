//! Writes a history while it happens.
//!
//! One lock and one monotonic clock give every event its place. An invocation is on file before the
//! bytes of its request leave, so that a tester that dies leaves evidence of what it had begun.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;

use super::{Body, Edn, Kind, Op, Process};

/// Keeps the operations in memory as well: the checkers run in the same process.
pub struct Recorder {
    started: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    ops: Vec<Op>,
    file: BufWriter<File>,
}

/// An invocation that has no completion yet.
#[derive(Debug)]
#[must_use = "an operation that began has to end, if only as indeterminate"]
pub struct Pending {
    pub process: Process,
    pub body: Body,
}

impl Recorder {
    pub fn create(path: &Path) -> io::Result<Recorder> {
        let file = BufWriter::new(File::create_new(path)?);
        let inner = Mutex::new(Inner { ops: Vec::new(), file });
        Ok(Recorder { started: Instant::now(), inner })
    }

    /// Nanoseconds since the history began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Records that an operation begins. Call it before anything of it reaches the network.
    pub fn invoke(
        &self,
        process: Process,
        body: Body,
        extra: BTreeMap<String, Edn>,
    ) -> io::Result<Pending> {
        self.write(process, Kind::Invoke, body.clone(), extra)?;
        Ok(Pending { process, body })
    }

    /// Records how an operation ended; `body` is its invocation's with what was learnt filled in.
    pub fn complete(
        &self,
        pending: Pending,
        kind: Kind,
        body: Body,
        extra: BTreeMap<String, Edn>,
    ) -> io::Result<()> {
        self.write(pending.process, kind, body, extra)
    }

    /// Records something the nemesis did.
    pub fn nemesis(&self, f: &str, value: Edn) -> io::Result<()> {
        self.write(Process::Nemesis, Kind::Info, Body::Other(f.to_owned(), value), BTreeMap::new())
    }

    /// Everything recorded so far.
    pub fn ops(&self) -> Vec<Op> {
        self.inner.lock().ops.clone()
    }

    fn write(
        &self,
        process: Process,
        kind: Kind,
        body: Body,
        extra: BTreeMap<String, Edn>,
    ) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let index = inner.ops.len() as u64;
        let op = Op { index, time: self.now(), process, kind, body, extra };
        writeln!(inner.file, "{}", op.to_edn())?;
        inner.file.flush()?;
        inner.ops.push(op);
        Ok(())
    }
}
