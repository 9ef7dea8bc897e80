//! Who may hold a connection to this node.
//!
//! Anybody can connect and say nothing. So whoever has not shown to be a member has one of few places, and when they
//! are taken the one that is there longest gives way: a member says who it is at once, and is a stranger for a
//! moment only, however many others knock. Members have the other places.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Of the connections accepted, one in so many may be a stranger's.
const STRANGERS: usize = 4;

/// All connections accepted.
pub(super) struct Places {
    strangers_max: usize,
    members_max: usize,
    held: Mutex<Occupancy>,
}

#[derive(Default)]
struct Occupancy {
    next: u64,
    /// Longest there first. Dropping the sender ends the connection.
    strangers: VecDeque<(u64, oneshot::Sender<()>)>,
    members: usize,
}

/// A connection's place, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    /// A member's: what would end the connection, kept so that it does not.
    kept: Option<oneshot::Sender<()>>,
}

impl Places {
    /// Returns places for `connections`, which is at least 2.
    pub fn new(connections: usize) -> Self {
        let strangers_max = (connections / STRANGERS).max(1);
        let members_max = connections.saturating_sub(strangers_max).max(1);
        Self { strangers_max, members_max, held: Mutex::default() }
    }

    /// Returns a stranger's place, and what resolves when it has to give way.
    pub fn take(places: &Arc<Self>) -> (Place, oneshot::Receiver<()>) {
        let (end, gives_way) = oneshot::channel();
        let mut held = places.held.lock();
        while held.strangers.len() >= places.strangers_max {
            held.strangers.pop_front();
        }
        held.next += 1;
        let number = held.next;
        held.strangers.push_back((number, end));
        (Place { places: Arc::clone(places), number, kept: None }, gives_way)
    }
}

impl Place {
    /// Makes it a member's, or says why not.
    pub fn keep(&mut self) -> Result<(), String> {
        let mut held = self.places.held.lock();
        if held.members >= self.places.members_max {
            return Err(format!("{} members are connected, there is no room", held.members));
        }
        let stranger = held.strangers.iter().position(|(number, _)| *number == self.number);
        let stranger = stranger.and_then(|at| held.strangers.remove(at));
        let (_, end) = stranger.ok_or("there were too many strangers")?;
        held.members += 1;
        self.kept = Some(end);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        match self.kept {
            Some(_) => held.members -= 1,
            None => held.strangers.retain(|(number, _)| *number != self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stranger_gives_way_and_a_member_never() {
        let places = Arc::new(Places::new(8));
        let (mut member, mut member_ends) = Places::take(&places);
        member.keep().unwrap();
        let (_first, mut first_ends) = Places::take(&places);
        let (second, mut second_ends) = Places::take(&places);
        assert!(first_ends.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Empty));
        let (_third, _ends) = Places::take(&places);
        let closed = |ends: &mut oneshot::Receiver<()>| {
            ends.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        assert!(closed(&mut first_ends) && !closed(&mut second_ends));
        drop(second);
        assert!(!closed(&mut member_ends));
        assert_eq!(places.held.lock().strangers.len(), 1);
    }

    #[test]
    fn members_have_a_bound_of_their_own() {
        let places = Arc::new(Places::new(8));
        let mut members = Vec::new();
        for _ in 0..6 {
            let (mut member, ends) = Places::take(&places);
            member.keep().unwrap();
            members.push((member, ends));
        }
        let (mut one_more, _ends) = Places::take(&places);
        one_more.keep().unwrap_err();
        members.pop();
        one_more.keep().unwrap();
    }
}
