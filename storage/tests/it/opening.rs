//! Opening a directory: locked, of another format, empty, closed.

use std::path::Path;
use std::process::{Command, Stdio};

use quorate_storage::{Db, Error, GroupId, Options};

use crate::support::{append, entries, ignore, open, small, wait};

#[test]
fn a_directory_in_use_is_refused_with_its_name_and_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let refused = Db::open(dir.path(), small()).err().expect("the directory is in use");
    let text = refused.to_string();
    assert!(matches!(refused, Error::Locked { .. }), "{text}");
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("by process {}", std::process::id())), "{text}");
    db.close();
    open(dir.path());
}

#[test]
fn a_directory_that_another_process_holds_is_refused_until_it_dies() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["opening::child_that_holds_a_directory", "--exact", "--nocapture"])
        .env("QUORATE_HOLD_DIR", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the child runs");
    crate::support::eventually("the child holds the directory", || {
        dir.path().join("held").exists()
    });
    let refused = Db::open(&dir.path().join("db"), small()).err().expect("in use");
    assert!(refused.to_string().contains(&format!("by process {}", child.id())), "{refused}");
    child.kill().expect("kill");
    child.wait().expect("wait");
    open(&dir.path().join("db"));
}

/// Holds the directory until it is killed; nothing in a normal test run.
#[test]
fn child_that_holds_a_directory() {
    let Ok(dir) = std::env::var("QUORATE_HOLD_DIR") else { return };
    let _db = open(&Path::new(&dir).join("db"));
    std::fs::write(Path::new(&dir).join("held"), "").expect("a file");
    std::io::stdin().read_line(&mut String::new()).expect("stdin");
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).close();
    overwrite_format(dir.path(), &9_u32.to_be_bytes());
    let refused = Db::open(dir.path(), small()).err().expect("another format");
    assert!(matches!(&refused, Error::Format { found, .. } if found == "9"), "{refused}");
    overwrite_format(dir.path(), b"what");
    assert!(matches!(Db::open(dir.path(), small()), Err(Error::Format { .. })));
}

fn overwrite_format(dir: &Path, value: &[u8]) {
    let columns = ["default", "log", "meta", "state", "chunks"];
    let rocks = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir, columns).expect("rocksdb");
    let meta = rocks.cf_handle("meta").expect("a column family");
    rocks.put_cf(meta, [0], value).expect("put");
}

#[test]
fn a_database_of_other_software_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, dir.path(), ["ledger"]).expect("rocksdb"));
    let refused = Db::open(dir.path(), small()).err().expect("not ours");
    assert!(refused.to_string().contains("ledger"), "{refused}");
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { generation_bytes: 1, ..small() };
    let text = Db::open(dir.path(), options).err().expect("refused").to_string();
    assert!(text.contains("generation_bytes is 1") && text.contains("64 KiB to 4 GiB"), "{text}");
}

#[test]
fn a_closed_store_answers_closed_and_keeps_what_it_took() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GroupId(3));
    append(&log, entries(GroupId(3), 1, 0, 50, 1000));
    db.node_put("identity", b"seven").expect("node value");
    db.close();
    db.close();
    let refused = wait(log.append(entries(GroupId(3), 1, 50, 1, 1), ignore()));
    assert!(matches!(refused, Err(Error::Closed)));
    assert!(matches!(db.node_get("identity"), Err(Error::Closed)));
    assert!(matches!(db.node_put("identity", b"eight"), Err(Error::Closed)));
    assert!(matches!(log.state_get(b"k"), Err(Error::Closed)));

    let db = open(dir.path());
    assert_eq!(db.log(GroupId(3)).state().last.expect("a log").index, 49);
    assert_eq!(db.node_get("identity").expect("get").as_deref(), Some(&b"seven"[..]));
    assert_eq!(db.node_get("peers").expect("get"), None);
}

#[test]
fn a_callback_may_hold_the_last_handle() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).log(GroupId(1));
    let (sender, held) = std::sync::mpsc::channel();
    let last = log.clone();
    let durable = Box::new(move || {
        // Waits until the test's own handle is gone.
        held.recv().expect("the test lives");
        drop(last);
    });
    wait(log.append(entries(GroupId(1), 1, 0, 1, 1), durable)).expect("append");
    drop(log);
    sender.send(()).expect("the callback waits");
    crate::support::eventually("the directory is released", || {
        Db::open(dir.path(), small()).is_ok()
    });
}

#[test]
fn dropping_the_last_handle_releases_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GroupId(1));
    drop(db);
    assert!(matches!(Db::open(dir.path(), small()), Err(Error::Locked { .. })));
    drop(log);
    open(dir.path());
}
