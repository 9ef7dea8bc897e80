//! What a kind of group has to bring.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_raft::{Group, GroupOptions, Machine};
use quorate_storage::GroupId;

use super::{OpenError, Replicas};
use crate::metadata::{GroupKind, Image};

/// A kind of group on this broker: which machine it has, and what is done with a replica that is open.
///
/// The calls about one group never overlap: opened, changed any number of times, closing.
pub trait Kind: Send + Sync + 'static {
    /// Which groups these are.
    const KIND: GroupKind;
    /// Their state machine; by default one of a group in which nothing has happened.
    type Machine: Machine + Default;
    /// What the image says of one of them besides who keeps it.
    type Spec: Send + 'static;

    /// Returns what is particular to the groups in Raft; the order of preference is filled in.
    fn options() -> GroupOptions {
        GroupOptions::default()
    }

    /// Returns what an operator calls the group.
    fn name(spec: &Self::Spec) -> String;

    /// Returns what `image` says of a group of this kind.
    fn spec(image: &Image, group: GroupId) -> Option<Self::Spec>;

    /// Takes a replica into use; its state is restored.
    fn opened(&self, group: Group<Self::Machine>, spec: Self::Spec);

    /// Takes what a newer image says of a replica in use; nothing by default, for kinds of which nothing changes.
    fn changed(&self, _group: GroupId, _spec: Self::Spec) {}

    /// Gives a replica up, before it is closed or deleted.
    fn closing(&self, group: GroupId);

    /// Runs what looks after all groups of the kind, until it is dropped.
    fn beside(self: Arc<Self>) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }
}

/// A [`Kind`] without its types, for a table of several.
pub trait AnyKind: Send + Sync + 'static {
    fn kind(&self) -> GroupKind;

    /// See [`Replicas::open`]; `None` when the image says nothing of the group.
    fn open(
        self: Arc<Self>,
        replicas: Arc<Replicas>,
        image: &Image,
        group: GroupId,
        preferred: Vec<u64>,
    ) -> Option<BoxFuture<'static, Result<(), OpenError>>>;

    fn changed(&self, image: &Image, group: GroupId);

    fn closing(&self, group: GroupId);

    fn beside(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

impl<K: Kind> AnyKind for K {
    fn kind(&self) -> GroupKind {
        K::KIND
    }

    fn open(
        self: Arc<Self>,
        replicas: Arc<Replicas>,
        image: &Image,
        group: GroupId,
        preferred: Vec<u64>,
    ) -> Option<BoxFuture<'static, Result<(), OpenError>>> {
        let spec = K::spec(image, group)?;
        let open = async move { replicas.open(&self, group, preferred, spec).await.map(drop) };
        Some(open.boxed())
    }

    fn changed(&self, image: &Image, group: GroupId) {
        if let Some(spec) = K::spec(image, group) {
            Kind::changed(self, group, spec);
        }
    }

    fn closing(&self, group: GroupId) {
        Kind::closing(self, group);
    }

    fn beside(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Kind::beside(self)
    }
}
