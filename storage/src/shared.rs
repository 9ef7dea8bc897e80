//! What the handles and the threads of a store share.

use std::path::PathBuf;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::cell::Cells;
use crate::chunk_files::ChunkNumbers;
use crate::counters::Counters;
use crate::flow::Flow;
use crate::generations::Generations;
use crate::inventory::Inventory;
use crate::options::Options;
use crate::queue::Queue;
use crate::retire::Retire;
use crate::space::Space;
use crate::sync::Sync;
use crate::synced::Begun;
use crate::watch::Watch;

/// The parts of an open store.
pub(crate) struct Shared {
    pub options: Options,
    pub queue: Queue,
    pub sync: Sync,
    pub retire: Retire,
    pub flow: Flow,
    pub watch: Watch,
    pub space: Space,
    pub activity: Activity,
    pub cells: Cells,
    pub generations: Mutex<Generations>,
    pub counters: Counters,
    pub chunk_numbers: ChunkNumbers,
    pub inventory: Mutex<Inventory>,
    /// The newest write-ahead log.
    pub begun: Mutex<Begun>,
    /// A group was found to have a damaged entry.
    pub corruption: Notify,
    pub dir: PathBuf,
}
