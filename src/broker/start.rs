//! Putting a broker together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use quorate_raft::{FailureConfig, Node, NodeConfig, StallConfig, TransportLimits};
use quorate_storage::{Db, DiskSpace, EXIT_STORAGE, Options};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::descriptors::{Descriptors, TooFewDescriptors};
use super::group_levels::GroupLevels;
use super::register::Registration;
use super::sockets::{Addresses, Sockets};
use super::{Broker, join, level, space};
use crate::config::Config;
use crate::context::identity::{self, IdentityError};
use crate::context::{Context, Identity, Readiness};
use crate::controller::{
    AskEnds, BrokerClock, Calls, Clocks, Controller, FencedStatus, Gossip, InternalGroups, Members,
    Peer, Progress, Reassignments, Rebalance, Reconciler, follow_peers,
};
use crate::coordinator::{CoordinatorSettings, Coordinators, Rematcher, Sweeper};
use crate::metadata::{AdminError, EXIT_REFUSED, Image, METADATA_GROUP, Metadata};
use crate::partition::{
    Compactor, CompactorControl, CompactorSettings, CurrentSettings, Partitions, RetentionPace,
};
use crate::replica::{AnyKind, OpenError, Replicas};
use crate::transaction::{TransactionSettings, Transactions};
use crate::wall_clock::Clock;
use crate::{http, kafka};

/// How long the metadata may take to be current before nothing is deleted.
const CURRENT_WAIT: Duration = Duration::from_secs(5);

/// The part of the data directory that holds the database.
const DB_DIR: &str = "db";
/// More than twice the largest batch a topic may allow (48 MiB): a proposal may fill half a frame.
const FRAME_BYTES: usize = 128 << 20;

/// Why a broker does not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] quorate_storage::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot listen on {address} ({setting})")]
    Bind { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(
        "{section}.listen is {bound}, which nobody can connect to: set {section}.advertised to the address \
         others should use"
    )]
    NotAdvertised { section: &'static str, bound: SocketAddr },
    #[error(
        "the data directory belongs to broker {remembered}, but broker.id is {configured}: give that id, none, \
         or another directory"
    )]
    OtherBroker { configured: u64, remembered: u64 },
    /// The cluster answered, and no is its last word.
    #[error("the cluster refuses this broker: {0}")]
    Refused(#[source] AdminError),
    #[error(
        "no member of the cluster let this broker in within {seconds} s; the last answer: {last}"
    )]
    NotLetIn { seconds: u64, last: String },
    #[error(transparent)]
    Raft(#[from] quorate_raft::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// Every part of the broker holds on to the metadata group, so it is not opened again beneath them.
    #[error("the broker has to be started again: the metadata group failed here, {0}")]
    MetadataFailed(String),
}

impl StartError {
    /// Returns the code the process should exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAdvertised { .. } | Self::OtherBroker { .. } | Self::Descriptors(_) => 2,
            Self::Refused(_) => EXIT_REFUSED,
            Self::Storage(quorate_storage::Error::Damaged(_))
            | Self::Identity(IdentityError::Unreadable(_)) => {
                u8::try_from(EXIT_STORAGE).unwrap_or(1)
            }
            _ => 1,
        }
    }
}

impl Broker {
    /// Starts a broker on its data directory.
    ///
    /// Returns when its interfaces are bound and it takes part in elections; it lets Kafka clients in by itself
    /// once its image is current, which takes a majority of the metadata voters.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Vec::new()).await
    }

    /// [`Broker::start`] with more kinds of groups than this release has.
    pub(super) async fn start_with(
        mut config: Config,
        mut kinds: Vec<Arc<dyn AnyKind>>,
    ) -> Result<Self, StartError> {
        let descriptors = Descriptors::claim(&mut config)?;
        let config = Arc::new(config);
        let sockets = Sockets::bind(&config).await?;
        level::check(identity::level(&config.broker.data_dir)?)?;
        let (db, layout) = open_db(&config, &descriptors).await?;
        let (identity, peers) = identify(&db, &config, &sockets.addresses).await?;
        let node = start_node(&config, &sockets, identity, &db, &layout, &descriptors).await?;
        for peer in peers.iter().filter(|peer| peer.id != identity.node_id) {
            node.set_peer(peer.id, &peer.address, peer.directory_id);
        }
        let metadata = Metadata::new(Image::default());
        let clock = BrokerClock::new();
        let interval = Duration::from_millis(config.topics.retention_check_ms);
        let compactor = compactor(&config, &metadata, identity.node_id);
        let pace = RetentionPace { interval };
        let partitions = Partitions::new(Arc::clone(&clock) as Clock, pace, compactor);
        let coordinators = Coordinators::new(coordinator_settings(&config), Arc::clone(&metadata));
        let transactions = Transactions::new(
            transaction_settings(&config),
            Arc::clone(&metadata),
            Arc::clone(&partitions),
            Arc::clone(&coordinators),
            Arc::clone(&clock) as Clock,
        );
        kinds.extend([
            Arc::clone(&metadata) as _,
            Arc::clone(&partitions) as _,
            Arc::clone(&coordinators) as _,
            Arc::clone(&transactions) as Arc<dyn AnyKind>,
        ]);
        let replicas = Replicas::new(Arc::clone(&node), kinds);
        let group = replicas.open(&metadata, METADATA_GROUP, Vec::new(), ()).await?;
        let controller = Controller::new(
            Arc::clone(&node),
            group,
            Arc::clone(&metadata),
            Arc::clone(&replicas),
            config.topics.clone(),
            clock,
        );
        partitions.ask_before_deleting(current_settings(&controller));
        controller.ask_for_ends(ends(&partitions));
        transactions.reach_by(&controller);
        let handlers = transactions.handlers();
        node.serve_calls(Calls::new(Arc::clone(&controller), rand::random(), handlers));
        if identity.forms_cluster {
            replicas.bootstrap(METADATA_GROUP, &[identity.node_id]).await?;
        }
        let progress = Arc::new(Progress::default());
        let readiness = Readiness::new(Arc::clone(&progress));
        let context = Context {
            config,
            identity,
            metadata,
            controller,
            partitions,
            coordinators,
            transactions,
            node,
            db,
            readiness,
        };
        Ok(run(context, sockets, progress))
    }
}

/// Starts everything that runs by itself.
fn run(context: Context, sockets: Sockets, progress: Arc<Progress>) -> Broker {
    let kafka_address = sockets.kafka.address().unwrap_or(context.config.kafka.listen);
    let http_address = sockets.http.local_addr().unwrap_or(context.config.http.listen);
    let (stopping, stopped) = watch::channel(false);
    let (refuse, refused) = mpsc::channel(1);
    let mut drivers = JoinSet::new();
    let Context { controller, metadata, node, config, .. } = context.clone();
    let registration = Registration {
        controller: Arc::clone(&controller),
        progress: Arc::clone(&progress),
        config: Arc::clone(&config),
        identity: context.identity,
        addresses: sockets.addresses.clone(),
    };
    drivers.spawn(end_with_the_metadata(Arc::clone(&node), refuse.clone()));
    drivers.spawn(async move {
        if let Err(error) = registration.run().await {
            let _ = refuse.send(error).await;
        }
    });
    drivers.spawn(Arc::clone(&metadata).follow(controller.group().clone()));
    drivers.spawn(follow_peers(Arc::clone(&node), Arc::clone(&metadata)));
    let fenced_status = FencedStatus::new(Arc::clone(&node));
    drivers.spawn(Arc::clone(&fenced_status).run(metadata.watch()));
    drivers.spawn(level::note(config.broker.data_dir.clone(), Arc::clone(&metadata)));
    drivers.spawn(Gossip { node, metadata, fenced_status }.run());
    drivers.spawn(Reassignments::new(Arc::clone(&controller)).run());
    drivers.spawn(
        GroupLevels {
            metadata: Arc::clone(&context.metadata),
            partitions: Arc::clone(&context.partitions),
            coordinators: Arc::clone(&context.coordinators),
            transactions: Arc::clone(&context.transactions),
        }
        .run(),
    );
    let coordinators = Arc::clone(&context.coordinators);
    let image = context.metadata.watch();
    drivers.spawn(Rematcher { coordinators: Arc::clone(&coordinators), image }.run());
    drivers.spawn(Sweeper { coordinators, controller: Arc::clone(&controller) }.run());
    drivers.spawn(Rebalance { controller: Arc::clone(&controller) }.run());
    drivers.spawn(InternalGroups { controller: Arc::clone(&controller) }.run());
    let clock = Arc::clone(controller.clock());
    drivers.spawn(Clocks { controller: Arc::clone(&controller), clock }.run());
    let fence_after = Duration::from_millis(config.raft.fence_after_ms);
    drivers.spawn(Members { controller: Arc::clone(&controller), fence_after }.run());
    drivers.spawn(Arc::clone(controller.replicas()).run_beside());

    let mut graceful = JoinSet::new();
    let reconciler = Reconciler::new(controller, &context.db, Arc::clone(&progress));
    graceful.spawn(reconciler.run(stopped.clone()));
    graceful.spawn(serve_http(context.clone(), sockets.http, stopped.clone()));
    graceful.spawn(serve_kafka(context.clone(), sockets.kafka, progress, stopped));
    tracing::info!(
        broker = context.identity.node_id,
        kafka = %sockets.addresses.kafka,
        http = %sockets.addresses.http,
        peer = %sockets.addresses.peer,
        "broker started"
    );
    Broker { context, kafka_address, http_address, stopping, graceful, drivers, refused }
}

/// What partitions have to obey, asked of the metadata's leader.
fn current_settings(controller: &Arc<Controller>) -> CurrentSettings {
    let controller = Arc::clone(controller);
    Arc::new(move |group| {
        let controller = Arc::clone(&controller);
        let asked = async move {
            controller.catch_up(Instant::now() + CURRENT_WAIT).await.ok()?;
            Partitions::settings_of(&controller.metadata().image(), group)
        };
        asked.boxed()
    })
}

/// Where the logs of partitions begin and end here.
fn ends(partitions: &Arc<Partitions>) -> AskEnds {
    let partitions = Arc::clone(partitions);
    Arc::new(move |group| partitions.get(group)?.ends_if_ready())
}

/// Without the metadata group this broker would serve an image that grows old, so it stops in order.
async fn end_with_the_metadata(node: Arc<Node>, end: mpsc::Sender<StartError>) {
    let mut failed = node.failed_groups();
    let reason = loop {
        let reason = failed.borrow_and_update().get(&METADATA_GROUP).cloned();
        match reason {
            Some(reason) => break reason,
            None if failed.changed().await.is_err() => return,
            None => {}
        }
    };
    let _ = end.send(StartError::MetadataFailed(reason)).await;
}

async fn serve_http(
    context: Context,
    listener: tokio::net::TcpListener,
    mut stopped: watch::Receiver<bool>,
) {
    let settings = context.config.http.clone();
    let stop = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    http::serve(listener, http::routers(context), settings, stop).await;
}

/// Before the image is current, this broker would deny topics that exist.
async fn serve_kafka(
    context: Context,
    listener: kafka::Listener,
    progress: Arc<Progress>,
    mut stopped: watch::Receiver<bool>,
) {
    tokio::select! {
        () = progress.until_current() => {}
        _ = stopped.wait_for(|stopped| *stopped) => return,
    }
    tracing::info!("kafka clients are let in");
    listener.run(context, stopped).await;
}

/// What compacts, as the file and what was set for this broker since have it.
fn compactor(config: &Arc<Config>, metadata: &Arc<Metadata>, id: u64) -> Compactor {
    let settings = CompactorSettings {
        interval: Duration::from_millis(config.compaction.check_ms),
        map_bytes: config.compaction.key_memory_bytes,
        log_kept: Duration::from_millis(config.compaction.log_kept_ms),
    };
    let (config, metadata) = (Arc::clone(config), Arc::clone(metadata));
    let control = move || {
        let (enabled, bytes_per_second) = config.compaction.with(&metadata.image().configs, id);
        CompactorControl { enabled, bytes_per_second }
    };
    Compactor::new(settings, Arc::new(control))
}

fn coordinator_settings(config: &Config) -> CoordinatorSettings {
    let groups = &config.groups;
    CoordinatorSettings {
        initial_rebalance_delay: Duration::from_millis(groups.initial_rebalance_delay_ms),
        members_max: groups.members_max,
        consumer_session: Duration::from_millis(groups.consumer_session_timeout_ms),
        offsets_retention: Duration::from_millis(groups.offsets_retention_ms),
        offsets_check: Duration::from_millis(groups.offsets_check_ms),
    }
}

fn transaction_settings(config: &Config) -> TransactionSettings {
    let transactions = &config.transactions;
    TransactionSettings {
        timeout_max: Duration::from_millis(transactions.timeout_max_ms),
        id_expiration: Duration::from_millis(transactions.id_expiration_ms),
        id_check: Duration::from_millis(transactions.id_check_ms),
    }
}

async fn open_db(
    config: &Config,
    descriptors: &Descriptors,
) -> Result<(Arc<Db>, Options), StartError> {
    let dir = config.broker.data_dir.join(DB_DIR);
    let settings = config.storage.clone();
    let max_open_files = descriptors.tables();
    let open = move || {
        // A file system that does not tell its size is taken for a large one.
        let total = DiskSpace::of(&dir).map_or(u64::MAX, |disk| disk.total);
        let layout = Options { max_open_files, ..space::options(&settings, total) };
        Db::open(&dir, layout.clone()).map(|db| (db, layout))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(opened.expect("opening neither panics nor is cancelled")?)
}

/// Returns who this broker is, and, if it has just joined, whom it can talk to.
async fn identify(
    db: &Arc<Db>,
    config: &Config,
    addresses: &Addresses,
) -> Result<(Identity, Vec<Peer>), StartError> {
    let configured = config.broker.id;
    if let Some(known) = identity::load(db)? {
        return match configured.filter(|id| *id != known.node_id) {
            Some(configured) => {
                Err(StartError::OtherBroker { configured, remembered: known.node_id })
            }
            None => Ok((known, Vec::new())),
        };
    }
    if config.peer.join.is_empty() {
        return Ok((join::form(db, configured).await?, Vec::new()));
    }
    let (joined, answer) = join::join(db, config, addresses).await?;
    Ok((joined, answer.peers))
}

async fn start_node(
    config: &Config,
    sockets: &Sockets,
    identity: Identity,
    db: &Arc<Db>,
    layout: &Options,
    descriptors: &Descriptors,
) -> Result<Arc<Node>, StartError> {
    let node = NodeConfig {
        node_id: identity.node_id,
        cluster_id: identity.cluster_id,
        directory_id: identity.directory_id,
        listen: sockets.peer,
        advertised: sockets.addresses.peer.to_string(),
        failure: FailureConfig {
            ping_interval: Duration::from_millis(config.raft.ping_interval_ms),
            dead_after: Duration::from_millis(config.raft.dead_after_ms),
            compare_every: Duration::from_millis(config.raft.compare_ms),
        },
        stall: StallConfig {
            step_aside_after: Duration::from_millis(config.storage.stall_step_aside_ms),
            end_after: Duration::from_millis(config.storage.stall_end_ms),
            ..StallConfig::default()
        },
        limits: TransportLimits {
            frame_bytes: FRAME_BYTES,
            node_inflight_bytes: space::in_flight_bytes(layout),
            connections: descriptors.peer_connections,
            ..TransportLimits::default()
        },
    };
    Ok(Node::start(node, Arc::clone(db)).await?)
}
