//! The members of one group, each a task that joins, says that it is alive, and takes the parts that it is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::board::Board;
use crate::client::{Client, ClientConfig, ClientError, GroupMember, MemberProtocol};
use crate::config::HostPort;
use crate::terminal::Failure;

/// What all groups have in common.
#[derive(Clone)]
pub(super) struct Place {
    /// For questions that anybody may ask.
    pub(super) client: Client,
    pub(super) protocol: MemberProtocol,
    pub(super) topic: String,
    pub(super) partitions: usize,
}

/// See the file's header.
pub(super) struct Party {
    place: Place,
    group: String,
    coordinator: HostPort,
    board: Arc<Board>,
    members: Vec<Running>,
    /// The generation in which it was stable last.
    generation: i32,
    entered: u64,
}

struct Running {
    number: u64,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<GroupMember, ClientError>>,
}

impl Party {
    /// A group without members yet.
    pub(super) async fn new(place: &Place, group: String) -> Result<Self, Failure> {
        Ok(Self {
            coordinator: place.client.coordinator(&group).await?,
            place: place.clone(),
            group,
            board: Arc::new(Board::new()),
            members: Vec::new(),
            generation: 0,
            entered: 0,
        })
    }

    /// One more member sets out to join.
    pub(super) fn enter(&mut self, heartbeat: Duration) {
        self.entered += 1;
        let servers = self.place.client.config().servers.clone();
        let partitions = i32::try_from(self.place.partitions).unwrap_or(i32::MAX);
        let member = GroupMember::new(
            Client::new(ClientConfig::new(servers)),
            self.coordinator.clone(),
            self.place.protocol,
            &self.group,
            (&self.place.topic, partitions),
        );
        let (stop, stopped) = oneshot::channel();
        let number = self.entered;
        let task = tokio::spawn(live(member, number, Arc::clone(&self.board), heartbeat, stopped));
        self.members.push(Running { number, stop, task });
    }

    /// Waits until all members have their parts of a new generation.
    pub(super) async fn stable(&mut self) -> Result<(), Failure> {
        let (members, partitions) = (self.members.len(), self.place.partitions);
        match self.board.stable(members, partitions, self.generation).await {
            Ok(generation) => self.generation = generation,
            Err(failure) => {
                // What happened to a member says more than that the group is not complete.
                if let Some(at) = self.members.iter().position(|it| it.task.is_finished()) {
                    self.members.swap_remove(at).stop().await?;
                }
                return Err(Failure::error(format!("group {}: {failure}", self.group)));
            }
        }
        Ok(())
    }

    /// The member that came last leaves.
    pub(super) async fn let_go(&mut self) -> Result<(), Failure> {
        let Some(last) = self.members.pop() else { return Ok(()) };
        let number = last.number;
        let member = last.stop().await?;
        self.board.remove(number);
        Ok(member.leave().await?)
    }

    /// Returns the members, who say nothing any more from now on.
    pub(super) async fn end(self) -> Result<Vec<GroupMember>, Failure> {
        let mut members = Vec::new();
        for running in self.members {
            members.push(running.stop().await?);
        }
        Ok(members)
    }
}

impl Running {
    async fn stop(self) -> Result<GroupMember, Failure> {
        // Who ended by itself says why.
        let _ = self.stop.send(());
        Ok(self.task.await.map_err(|error| Failure::error(error.to_string()))??)
    }
}

async fn live(
    mut member: GroupMember,
    number: u64,
    board: Arc<Board>,
    heartbeat: Duration,
    mut stopped: oneshot::Receiver<()>,
) -> Result<GroupMember, ClientError> {
    member.join().await?;
    let mut is_new = true;
    loop {
        if is_new {
            board.tell(number, member.generation(), member.part());
        }
        let now = Instant::now();
        let next = if member.has_to_tell() { now } else { now + heartbeat };
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(member),
            () = sleep_until(next) => {}
        }
        is_new = member.heartbeat().await?;
    }
}
