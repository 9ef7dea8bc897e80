//! A partition on a real node and a real database, alone in its group.

mod broker;

mod append;
mod compaction;
mod producers;
mod read;
mod relocate;
mod replaced;
mod retention;
mod streams;
mod tail;
mod timestamps;
mod transactional_compaction;
mod transactions;
