//! Kafka Streams, exactly once: two instances of an application, each with a standby of what the other has, while brokers
//! and instances die. What it writes is compared with what it should, update by update.

mod app;
mod count;
mod join;
mod protocol;
