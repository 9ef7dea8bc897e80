//! Streams that end: some append to them upon one that is there, others delete or close them meanwhile, by every interface.
//!
//! A tombstone has its number in a header, except where the interface that deletes streams writes it: that can only be told
//! from others by its place. So of each key one worker alone deletes that way, and no more once it was left without an
//! answer.

use rand::Rng;

use super::answer::Answer;
use super::append::Via;
use super::known::Known;
use super::look::{How, newest, version};
use super::writers::{Writer, any_way, exactly};
use crate::checker::streams::{Content, EXISTS};
use crate::workload::session::Session;

impl Writer {
    /// Something about a stream that many append to, delete and close.
    pub fn mortal(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        let (key, is_own) = known.mortal(session.worker, &mut session.random);
        match session.random.random_range(0..20) {
            0 => version(session, known, &key).map(drop),
            1 => newest(session, known, &key, How::default()),
            2..=5 if is_own => self.delete(session, known, &key, Content::Tombstone),
            6 if is_own => self.delete(session, known, &key, Content::Close),
            // What deletes it may be followed by its next event in the same batch.
            2 | 3 => self.end(session, known, &key, &[Content::Tombstone]),
            4 | 5 => self.end(session, known, &key, &[Content::Tombstone, Content::Event]),
            6 => self.end(session, known, &key, &[Content::Close]),
            7 => self.end(session, known, &key, &[Content::Event, Content::Tombstone]),
            _ => self.end(session, known, &key, &[Content::Event]),
        }
    }

    /// Appends these, of which the first may expect something.
    fn end(
        &mut self,
        session: &mut Session,
        known: &Known,
        key: &str,
        contents: &[Content],
    ) -> anyhow::Result<()> {
        let expected = match session.random.random_range(0..8) {
            0..=2 => Some(EXISTS),
            3 | 4 => Some(-1),
            5 | 6 => exactly(known.version(key)),
            _ => None,
        };
        let mut rows = Vec::new();
        for (place, content) in contents.iter().enumerate() {
            let mut row = known.row(key, expected.filter(|_| place == 0));
            row.content = *content;
            rows.push(row);
        }
        // Over HTTP only who deletes a stream can close it.
        let is_close = contents.contains(&Content::Close);
        let via = if is_close { Via::Kafka } else { any_way(session) };
        self.append(session, known, via, known.batch(rows)).map(drop)
    }

    /// Deletes a stream by the interface for that, or closes it.
    fn delete(
        &mut self,
        session: &mut Session,
        known: &Known,
        key: &str,
        content: Content,
    ) -> anyhow::Result<()> {
        let expected = match (session.random.random_range(0..3), known.version(key)) {
            (0, version @ 1..) => Some(version),
            (1, _) if content == Content::Close => None,
            _ => Some(EXISTS),
        };
        let mut row = known.row(key, expected);
        row.content = content;
        let answer = self.append(session, known, Via::Delete, known.batch(vec![row]))?;
        if matches!(answer, Answer::Unknown(_)) {
            known.doubt(key);
        }
        Ok(())
    }
}
