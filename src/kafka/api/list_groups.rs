//! ListGroups (key 16), versions 0–5: the groups that this broker coordinates.
//!
//! Tools ask every broker. One that is about to coordinate answers that it is, never a part of its groups.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | flexible (KIP-482) |
//! | 4 | states, and a filter for them (KIP-518) |
//! | 5 | types, and a filter for them (KIP-848) |

use std::sync::Arc;

use futures::future::try_join_all;
use kafka_wire::list_groups_response::ListedGroup;
use kafka_wire::{ListGroupsRequest, ListGroupsResponse};
use kafka_wire_core::StrBytes;

use crate::coordinator::{GroupError, Listing};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let mut answer = ListGroupsResponse::default();
    let passes = |filter: &[StrBytes], word: &str| {
        filter.is_empty() || filter.iter().any(|it| it.eq_ignore_ascii_case(word))
    };
    match listed(&server).await {
        Ok(groups) => {
            let wanted = groups.into_iter().filter(|group| {
                passes(&request.states_filter, group.state.name())
                    && passes(&request.types_filter, group.protocol.name())
            });
            answer.groups = wanted.map(row).collect();
        }
        Err(error) => answer.error_code = ErrorCode::from(&error).count(&call),
    }
    answer
}

async fn listed(server: &KafkaServer) -> Result<Vec<Listing>, GroupError> {
    let me = server.context.node.id();
    let mut led = server.context.coordinators.all();
    led.retain(|it| it.group().leadership().borrow().leader == Some(me));
    let listed = try_join_all(led.iter().map(|coordinator| coordinator.list())).await;
    let mut groups: Vec<Listing> =
        listed.map_err(|_| GroupError::NotAvailable)?.into_iter().flatten().collect();
    groups.sort_by(|one, other| one.group.cmp(&other.group));
    Ok(groups)
}

fn row(group: Listing) -> ListedGroup {
    let mut row = ListedGroup::default();
    row.group_id = group.group.into();
    row.protocol_type = group.protocol_type.into();
    row.group_state = group.state.name().into();
    row.group_type = group.protocol.name().into();
    row
}
