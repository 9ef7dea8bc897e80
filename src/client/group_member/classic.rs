//! The classic protocol as a member sees it: join, be told who else is there, deal the partitions out or be dealt one's
//! own, and join again when a heartbeat says so.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_wire::consumer_protocol_assignment::TopicPartition;
use kafka_wire::join_group_request::JoinGroupRequestProtocol;
use kafka_wire::join_group_response::JoinGroupResponseMember;
use kafka_wire::leave_group_request::MemberIdentity;
use kafka_wire::sync_group_request::SyncGroupRequestAssignment;
use kafka_wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, SyncGroupRequest, decode_consumer_protocol_assignment,
    encode_consumer_protocol_assignment, encode_consumer_protocol_subscription,
};
use kafka_wire_core::{ApiVersion, DecodeLimits};

use super::{
    GroupMember, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, REBALANCE_MS, SESSION_MS,
    UNKNOWN_MEMBER,
};
use crate::client::{ClientError, ErrorCode};

const JOIN_GROUP: i16 = 7;
const SYNC_GROUP: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE_GROUP: i16 = 4;
/// Of what members say to each other.
const SUBSCRIPTION: ApiVersion = ApiVersion::new(1);
const ASSIGNMENT: ApiVersion = ApiVersion::new(1);
const MEMBER_ID_REQUIRED: ErrorCode = ErrorCode(79);
const TYPE: &str = "consumer";
const ASSIGNOR: &str = "roundrobin";

impl GroupMember {
    /// Joins until it has its part of a generation.
    pub(super) async fn join_classic(&mut self) -> Result<(), ClientError> {
        loop {
            let request = self.join_request()?;
            let rebalance = Duration::from_millis(u64::from(REBALANCE_MS.unsigned_abs()));
            let answer = self.call(&request, JOIN_GROUP, rebalance).await?;
            match ErrorCode(answer.error_code) {
                ErrorCode(0) => {}
                MEMBER_ID_REQUIRED => {
                    self.id = answer.member_id.into_string();
                    continue;
                }
                UNKNOWN_MEMBER => {
                    self.id.clear();
                    continue;
                }
                REBALANCE_IN_PROGRESS => continue,
                code => return Err(ClientError::Broker { api: "join group", code }),
            }
            self.id = answer.member_id.into_string();
            self.generation = answer.generation_id;
            let leads = answer.leader.as_str() == self.id;
            let members = if leads { answer.members } else { Vec::new() };
            match self.sync(&members).await {
                Err(ClientError::Broker {
                    code: REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION | UNKNOWN_MEMBER,
                    ..
                }) => {}
                other => return other,
            }
        }
    }

    fn join_request(&self) -> Result<JoinGroupRequest, ClientError> {
        let subscription =
            message!(ConsumerProtocolSubscription { topics: vec![self.topic.as_str().into()] });
        let mut metadata = BytesMut::new();
        encode_consumer_protocol_subscription(&mut metadata, &subscription, SUBSCRIPTION)
            .map_err(|error| ClientError::Unencodable(error.to_string()))?;
        let protocol = message!(JoinGroupRequestProtocol {
            name: ASSIGNOR.into(),
            metadata: metadata.freeze()
        });
        Ok(message!(JoinGroupRequest {
            group_id: self.group.as_str().into(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: self.id.as_str().into(),
            protocol_type: TYPE.into(),
            protocols: vec![protocol]
        }))
    }

    /// Deals out, if it leads, and learns its part.
    async fn sync(&mut self, members: &[JoinGroupResponseMember]) -> Result<(), ClientError> {
        let count = i32::try_from(members.len()).unwrap_or(i32::MAX);
        let assignments = (0..count).zip(members).map(|(number, member)| {
            let dealt = (0..self.partitions).filter(|it| it % count == number);
            Ok(message!(SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: self.assignment(dealt.collect())?
            }))
        });
        let request = message!(SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.as_str().into(),
            protocol_type: Some(TYPE.into()),
            protocol_name: Some(ASSIGNOR.into()),
            assignments: assignments.collect::<Result<_, ClientError>>()?
        });
        let rebalance = Duration::from_millis(u64::from(REBALANCE_MS.unsigned_abs()));
        let answer = self.call(&request, SYNC_GROUP, rebalance).await?;
        ErrorCode::check(answer.error_code, "sync group")?;
        self.part = self.part_of(answer.assignment)?;
        Ok(())
    }

    fn assignment(&self, part: Vec<i32>) -> Result<Bytes, ClientError> {
        let of_topic =
            message!(TopicPartition { topic: self.topic.as_str().into(), partitions: part });
        let assigned = message!(ConsumerProtocolAssignment { assigned_partitions: vec![of_topic] });
        let mut bytes = BytesMut::new();
        encode_consumer_protocol_assignment(&mut bytes, &assigned, ASSIGNMENT)
            .map_err(|error| ClientError::Unencodable(error.to_string()))?;
        Ok(bytes.freeze())
    }

    fn part_of(&self, assignment: Bytes) -> Result<Vec<i32>, ClientError> {
        let decoded = decode_consumer_protocol_assignment(assignment, DecodeLimits::default());
        let (_, assigned) = decoded.map_err(|error| ClientError::Malformed {
            address: self.coordinator.clone(),
            reason: format!("an assignment: {error}"),
        })?;
        Ok(assigned.assigned_partitions.into_iter().flat_map(|it| it.partitions).collect())
    }

    /// Returns false: nothing is new where a heartbeat is answered without an error.
    pub(super) async fn classic_heartbeat(&self) -> Result<bool, ClientError> {
        let request = message!(HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.as_str().into()
        });
        let answer = self.call(&request, HEARTBEAT, Duration::ZERO).await?;
        ErrorCode::check(answer.error_code, "heartbeat").map(|()| false)
    }

    pub(super) async fn leave_classic(&self) -> Result<(), ClientError> {
        let request = message!(LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            members: vec![message!(MemberIdentity { member_id: self.id.as_str().into() })]
        });
        let answer = self.call(&request, LEAVE_GROUP, Duration::ZERO).await?;
        ErrorCode::check(answer.error_code, "leave group")?;
        let mut codes = answer.members.iter();
        codes.try_for_each(|it| ErrorCode::check(it.error_code, "leave group"))
    }
}
