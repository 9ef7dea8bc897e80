//! The RocksDB underneath: its options, each with its reason, and typed access to what we use.
//!
//! Nothing here sets `compression_per_level`: RocksDB moves files between levels without rewriting
//! them only when it is empty, and moving instead of rewriting is what the key layout is for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rocksdb::properties::{NUM_IMMUTABLE_MEM_TABLE, num_files_at_level};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBPinnableSlice, DBRawIterator, FlushOptions, IngestExternalFileOptions,
    LiveFile, Options as RocksOptions, ReadOptions, WriteBatch, WriteOptions,
};

use crate::{Error, Options, fatal, hold, keys};

/// Of entries and of chunks: about what an entry takes where single records are read, since a block is read as a whole.
/// What reads on has RocksDB read ahead.
const LOG_BLOCK_BYTES: usize = 4 << 10;
/// Of one part of an index or a filter that comes in parts.
const METADATA_BLOCK_BYTES: usize = 4 << 10;

pub(crate) struct Rocks {
    db: DB,
}

impl Rocks {
    /// Opens or creates the database; recovery replays the write-ahead log up to the first record
    /// that is incomplete, so what survives a power loss is a prefix of what was written.
    pub fn open(dir: &Path, options: &Options) -> Result<Rocks, Error> {
        let fail = |error: rocksdb::Error| open_error(dir, &error);
        let columns = columns(options).map_err(fail)?;
        let db_options = db_options(dir, options).map_err(fail)?;
        let db = DB::open_cf_descriptors(&db_options, dir, columns).map_err(fail)?;
        let rocks = Rocks { db };
        let refused = |reason| Error::Open { dir: dir.to_owned(), reason };
        hold::hold(&rocks.db).map_err(refused)?;
        Ok(rocks)
    }

    /// Deletes the files that no table, log or manifest in use needs. Blocks while it does.
    pub fn delete_unneeded_files(&self) -> Result<(), String> {
        hold::let_go(&self.db)
    }

    /// Begins to compact, which a database just opened does not do; see `inventory`. Chunks never are: they are dropped
    /// as the files they came as.
    pub fn start_compactions(&self) -> Result<(), rocksdb::Error> {
        for column in [self.log(), self.meta(), self.state()] {
            self.db.set_options_cf(column, &[("disable_auto_compactions", "false")])?;
        }
        Ok(())
    }

    pub fn log(&self) -> &ColumnFamily {
        self.column(keys::LOG)
    }

    pub fn meta(&self) -> &ColumnFamily {
        self.column(keys::META)
    }

    pub fn state(&self) -> &ColumnFamily {
        self.column(keys::STATE)
    }

    pub fn chunks(&self) -> &ColumnFamily {
        self.column(keys::CHUNKS)
    }

    fn column(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("open creates the four column families")
    }

    /// Writes without syncing.
    pub fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.db.write_opt(batch, &WriteOptions::default())
    }

    pub fn write_synced(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options)
    }

    /// Number of the newest write; numbers only grow, also across restarts.
    pub fn latest_write(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Makes everything written so far durable.
    pub fn sync_wal(&self) -> Result<(), rocksdb::Error> {
        self.db.flush_wal(true)
    }

    /// Switches the memtables of all column families, so that old write-ahead logs can go.
    pub fn flush(&self, wait: bool) -> Result<(), rocksdb::Error> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db.flush_cfs_opt(&[self.log(), self.meta(), self.state()], &options)
    }

    pub fn get(
        &self,
        column: &ColumnFamily,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf(column, key)
    }

    /// The value of an entry where it lies. Who wants one entry often wants it again, so unlike those of a scan its block
    /// stays in the cache.
    pub fn pinned(&self, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        self.db.get_pinned_cf(self.log(), key)
    }

    /// An iterator over `[lower, upper)`, reading ahead as it goes. Data blocks stay out of the
    /// cache: a scan of old entries would evict what is read again.
    pub fn scan(&self, column: &ColumnFamily, lower: &[u8], upper: &[u8]) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(lower);
        options.set_iterate_upper_bound(upper);
        options.set_auto_readahead_size(true);
        options.fill_cache(false);
        self.db.raw_iterator_cf_opt(column, options)
    }

    /// Like `scan`, for small values that are read again.
    pub fn lookup(&self, column: &ColumnFamily, lower: &[u8], upper: &[u8]) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(lower);
        options.set_iterate_upper_bound(upper);
        self.db.raw_iterator_cf_opt(column, options)
    }

    /// Table files of the log.
    pub fn log_files(&self) -> Result<Vec<LiveFile>, rocksdb::Error> {
        let mut files = self.db.live_files()?;
        files.retain(|file| file.column_family_name == keys::LOG);
        Ok(files)
    }

    /// Makes a file of its own of what was written as a chunk. It is durable when this returns; `path` is gone. Waits
    /// for the write that is under way, and the next one for it.
    pub fn take_chunk(&self, path: &Path) -> Result<(), rocksdb::Error> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // No other chunk has its keys and the memtable is empty: it goes to the last level as it is, or not at all.
        options.set_allow_global_seqno(false);
        options.set_allow_blocking_flush(false);
        self.db.ingest_external_file_cf_opts(self.chunks(), &options, vec![path])
    }

    /// Numbers of the chunks that have a file.
    pub fn chunk_files(&self) -> Result<BTreeSet<u64>, rocksdb::Error> {
        let files = self.db.live_files()?;
        let chunks = files.iter().filter(|file| file.column_family_name == keys::CHUNKS);
        let number = |file: &LiveFile| Some(keys::parse_record(file.start_key.as_deref()?)?.0);
        Ok(chunks.filter_map(number).collect())
    }

    /// Drops a chunk's file.
    pub fn drop_chunk(&self, number: u64) -> Result<(), rocksdb::Error> {
        let (low, high) = (keys::record(number, 0), keys::record(number, u64::MAX));
        self.db.delete_file_in_range_cf(self.chunks(), low, high)
    }

    /// Memtables of the log that wait to become tables.
    pub fn pending_memtables(&self) -> u64 {
        let count = self.db.property_int_value_cf(self.log(), NUM_IMMUTABLE_MEM_TABLE);
        count.ok().flatten().unwrap_or(0)
    }

    /// Tables of the log that were not moved down yet.
    pub fn level_zero_tables(&self) -> u64 {
        // Told as text only.
        let count = self.db.property_value_cf(self.log(), num_files_at_level(0));
        count.ok().flatten().and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// True while a memtable of the log waits to be flushed.
    pub fn log_flush_pending(&self) -> Result<bool, rocksdb::Error> {
        self.column_flush_pending(self.log())
    }

    /// True while any memtable waits to be flushed.
    pub fn flush_pending(&self) -> Result<bool, rocksdb::Error> {
        for column in [self.log(), self.meta(), self.state()] {
            if self.column_flush_pending(column)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn column_flush_pending(&self, column: &ColumnFamily) -> Result<bool, rocksdb::Error> {
        let count = self.db.property_int_value_cf(column, NUM_IMMUTABLE_MEM_TABLE)?;
        Ok(count.unwrap_or(0) > 0)
    }

    /// Deletes the log's files that lie wholly in these generations, except those in level 0.
    pub fn delete_generations(&self, first: u32, last: u32) -> Result<(), rocksdb::Error> {
        let (low, high) = keys::generations(first, last);
        self.db.delete_file_in_range_cf(self.log(), low, high)
    }

    /// Moves the log's files of these generations down from level 0.
    pub fn compact_generations(&self, first: u32, last: u32) {
        let (low, high) = keys::generations(first, last);
        self.db.compact_range_cf(self.log(), Some(low), Some(high));
    }
}

/// A checksum mismatch ends the process; anything else may be worth a retry.
pub(crate) fn read_error(error: &rocksdb::Error) -> Error {
    if error.kind() == rocksdb::ErrorKind::Corruption {
        fatal("checksum mismatch", error);
    }
    Error::Read(error.to_string())
}

/// The four column families and how each is set up.
fn columns(options: &Options) -> Result<[ColumnFamilyDescriptor; 4], rocksdb::Error> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes.max(1 << 20));
    let column = |name, mut options: RocksOptions| {
        // Until the manifest that opening writes is in the inventory, see `Rocks::start_compactions`.
        options.set_disable_auto_compactions(true);
        ColumnFamilyDescriptor::new(name, options)
    };
    Ok([
        column(keys::LOG, log_options(options, &cache)?),
        column(keys::META, meta_options(&cache)),
        column(keys::STATE, state_options(&cache)?),
        column(keys::CHUNKS, chunk_options(&cache)),
    ])
}

fn open_error(dir: &Path, error: &rocksdb::Error) -> Error {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => {
            Error::Damaged(format!("RocksDB cannot open it: {error}"))
        }
        _ => Error::open(dir, error.to_string()),
    }
}

fn db_options(dir: &Path, options: &Options) -> Result<RocksOptions, rocksdb::Error> {
    // A new log would set aside more than two generations before it holds a byte: on a nearly full
    // disk that is all the room there is, and on any other it gains nothing measurable.
    let mut db = RocksOptions::default().get_options_from_string("allow_fallocate=false")?;
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(options.background_jobs);
    // Flush and compaction past the page cache: they are written once and rarely read soon.
    db.set_use_direct_io_for_flush_and_compaction(options.direct_io && takes_direct_io(dir));
    db.set_bytes_per_sync(1 << 20);
    // A write-ahead log that is missing altogether is noticed on open.
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_max_manifest_file_size(options.manifest_bytes);
    // A backstop; generation switches flush all column families long before.
    db.set_max_total_wal_size(options.generation_bytes.saturating_mul(16).max(1 << 30));
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_max_open_files(open_files(options.max_open_files));
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(8 << 20);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    Ok(db)
}

fn log_options(options: &Options, cache: &Cache) -> Result<RocksOptions, rocksdb::Error> {
    // Entries of a group arrive in order: the memtable remembers where its group's last one went.
    let mut log = RocksOptions::default()
        .get_options_from_string("memtable_insert_with_hint_prefix_extractor=fixed:12")?;
    // Twice a generation, so that RocksDB never switches the memtable by itself.
    let buffer = options.generation_bytes.saturating_mul(2).max(8 << 20);
    log.set_write_buffer_size(usize::try_from(buffer).unwrap_or(usize::MAX));
    never_stall(&mut log);
    log.set_compression_type(DBCompressionType::None);
    // One level beside level 0. With more, RocksDB keeps emptying the upper ones, and a file that
    // enters an empty level may be rewritten instead of moved.
    log.set_num_levels(2);
    // One file is enough to move it on; files left in level 0 could not be dropped.
    log.set_level_zero_file_num_compaction_trigger(1);
    log.set_target_file_size_base(options.generation_bytes.max(4 << 20));
    // Never rewrite a file because of its age.
    log.set_ttl(0);
    log.set_periodic_compaction_seconds(0);
    let mut table = table(cache, LOG_BLOCK_BYTES);
    index_in_parts(&mut table);
    log.set_block_based_table_factory(&table);
    Ok(log)
}

/// RocksDB stops all writes when any column family has too many memtables or tables to work off;
/// `flow` holds back what can wait instead. Memory for memtables is taken as they fill, so a bound
/// that is out of reach costs nothing.
fn never_stall(column: &mut RocksOptions) {
    const OUT_OF_REACH: i32 = 1 << 30;
    column.set_max_write_buffer_number(64);
    column.set_level_zero_slowdown_writes_trigger(OUT_OF_REACH);
    column.set_level_zero_stop_writes_trigger(OUT_OF_REACH);
    column.set_soft_pending_compaction_bytes_limit(0);
    column.set_hard_pending_compaction_bytes_limit(0);
}

fn meta_options(cache: &Cache) -> RocksOptions {
    let mut meta = RocksOptions::default();
    meta.set_write_buffer_size(16 << 20);
    never_stall(&mut meta);
    meta.set_compression_type(DBCompressionType::None);
    meta.set_block_based_table_factory(&table(cache, 16 << 10));
    meta
}

fn state_options(cache: &Cache) -> Result<RocksOptions, rocksdb::Error> {
    // Retention deletes ranges all the time; a memtable full of them makes every seek slow.
    let mut state =
        RocksOptions::default().get_options_from_string("memtable_max_range_deletions=1000")?;
    state.set_write_buffer_size(16 << 20);
    never_stall(&mut state);
    state.set_compression_type(DBCompressionType::None);
    let mut table = table(cache, 16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_partition_filters(true);
    index_in_parts(&mut table);
    state.set_block_based_table_factory(&table);
    Ok(state)
}

fn chunk_options(cache: &Cache) -> RocksOptions {
    let mut chunks = RocksOptions::default();
    chunks.set_compression_type(DBCompressionType::None);
    chunks.set_num_levels(2);
    chunks.set_ttl(0);
    chunks.set_periodic_compaction_seconds(0);
    let mut table = table(cache, LOG_BLOCK_BYTES);
    index_in_parts(&mut table);
    chunks.set_block_based_table_factory(&table);
    chunks
}

/// How a chunk is written before it is taken.
pub(crate) fn chunk_writer_options() -> RocksOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(LOG_BLOCK_BYTES);
    table.disable_cache();
    table.set_format_version(6);
    index_in_parts(&mut table);
    let mut options = RocksOptions::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&table);
    // A chunk as a whole would stand before the log's own syncs.
    options.set_bytes_per_sync(1 << 20);
    options
}

fn table(cache: &Cache, block_size: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(block_size);
    table.set_block_cache(cache);
    // Indexes count against the cache's bound instead of growing with the number of files.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    table
}

/// Index and filter in parts of one block each: those of a whole table are as large as what the cache keeps of anything, a
/// shard of it, so two of them that share one would be read from their files in turn, for every key that is looked up.
fn index_in_parts(table: &mut BlockBasedOptions) {
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
}

/// Some file systems refuse O_DIRECT, and RocksDB would find out at the first flush.
fn takes_direct_io(dir: &Path) -> bool {
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
    const O_DIRECT: i32 = 0o200_000;
    #[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
    const O_DIRECT: i32 = 0o40_000;

    let path = dir.join("direct-io-probe");
    let opened = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open(&path)
        .is_ok();
    let removed = fs::remove_file(&path);
    if !opened {
        tracing::info!(dir = %dir.display(), "file system without direct io, using the page cache");
    }
    opened && removed.is_ok()
}

/// Half of the files the process may open, the other half is for connections.
fn open_files(wanted: i32) -> i32 {
    if wanted != 0 {
        return wanted;
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<i32>().ok());
    (soft.unwrap_or(1024) / 2).clamp(64, 100_000)
}
