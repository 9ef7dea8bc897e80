//! The metadata group as one kind of several.
//!
//! It is opened by hand, before there is an image that could place it, and every broker keeps a replica of it; so its
//! learners stay when its voters change. It is small, and everything else waits for it, so who lacks it is sent it first.

use quorate_raft::{Group, GroupOptions};
use quorate_storage::GroupId;

use super::Kind;
use crate::metadata::{GroupKind, Image, Metadata, MetadataMachine};

impl Kind for Metadata {
    const KIND: GroupKind = GroupKind::Metadata;
    type Machine = MetadataMachine;
    type Spec = ();

    fn options() -> GroupOptions {
        GroupOptions { keep_learners: true, catch_up_first: true, ..GroupOptions::default() }
    }

    fn name((): &()) -> String {
        "of the cluster".to_owned()
    }

    fn spec(_: &Image, _: GroupId) -> Option<()> {
        None
    }

    /// Shows the image that was restored.
    fn opened(&self, group: Group<MetadataMachine>, (): ()) {
        self.publish(group.machine().image());
        self.leaders().watch_local(group.id(), group.leadership());
    }

    fn closing(&self, group: GroupId) {
        self.leaders().forget_local(group);
    }
}
