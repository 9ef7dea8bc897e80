//! A PostgreSQL of its own for a test, with Debian's binaries, and a table of accounts of which every change is known.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::frameworks::connect::source::Feed;
use crate::frameworks::connect::workers::LONG;
use crate::support::process::{self, Process};
use crate::support::{ports, wait};

/// Where Debian has the servers' binaries, a folder for each version.
const BINARIES: &str = "/usr/lib/postgresql";

pub const USER: &str = "quorate";

/// A row: owner, cents, note.
type Account = (String, i64, Option<String>);

pub struct Postgres {
    pub port: u16,
    /// Ends before its directory goes.
    _process: Process,
    dir: TempDir,
}

/// A program of PostgreSQL. It refuses to serve as root, so another user has to be it then.
fn command(name: &str) -> Command {
    let versions = std::fs::read_dir(BINARIES).into_iter().flatten().flatten();
    let path: Option<PathBuf> = versions.map(|it| it.path().join("bin").join(name)).max();
    let path = path.unwrap_or_else(|| panic!("no {BINARIES}: install the package postgresql"));
    if !rustix::process::geteuid().is_root() {
        return process::command(path);
    }
    let mut command = process::command("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.args(["--pdeathsig", "KILL"]).arg(path);
    command
}

/// The number of the user or the group that serves instead of root.
fn number(of: &str) -> u32 {
    let mut id = process::command("id");
    id.args([of, "postgres"]);
    process::run(id, LONG).ok("the user of PostgreSQL").trim().parse().unwrap()
}

impl Postgres {
    pub fn start() -> Postgres {
        // Not below a home, where other users may not look.
        let dir = tempfile::Builder::new().prefix("quorate-postgres-").tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(number("-u")), Some(number("-g"))).unwrap();
        }
        let (port, data) = (ports::block(1), dir.path().join("data"));
        let mut initdb = command("initdb");
        initdb.current_dir(dir.path()).args(["--no-sync", "-A", "trust", "-U", USER, "-D"]);
        initdb.arg(&data);
        process::run(initdb, LONG).ok("initdb");
        let mut server = command("postgres");
        server.current_dir(dir.path()).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-D"]);
        server.arg(&data).arg("-k").arg(dir.path());
        server.args(["-c", "wal_level=logical", "-c", "fsync=off", "-c", "logging_collector=on"]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let postgres = Postgres { port, _process: Process::spawn(server), dir };
        wait::until("PostgreSQL answers", LONG, || postgres.psql("SELECT 1"));
        postgres
    }

    fn psql(&self, sql: &str) -> Option<String> {
        let mut psql = command("psql");
        psql.current_dir(self.dir.path());
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-d", "postgres"]);
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let said = process::run(psql, LONG);
        (said.code == Some(0)).then_some(said.stdout)
    }

    pub fn run(&self, sql: &str) {
        self.psql(sql).unwrap_or_else(|| panic!("PostgreSQL refuses {sql}"));
    }
}

/// The table, and what Debezium shall say of it.
pub struct Accounts<'a> {
    postgres: &'a Postgres,
    rows: BTreeMap<i64, Account>,
    /// The key of each record and its value, which after a deletion is null.
    pub changes: Vec<(Value, Value)>,
    transactions: i64,
}

fn quoted(text: Option<&str>) -> String {
    text.map_or("NULL".into(), |text| format!("'{}'", text.replace('\'', "''")))
}

impl Accounts<'_> {
    /// A table with rows that are there before anybody looks, and that are told as read.
    pub fn new(postgres: &Postgres, rows: i64) -> Accounts<'_> {
        postgres.run(
            "CREATE TABLE accounts (id int PRIMARY KEY, owner text NOT NULL, cents bigint NOT NULL, note text); \
             ALTER TABLE accounts REPLICA IDENTITY FULL",
        );
        let (rows, changes) = ((0..rows).collect::<Vec<_>>(), Vec::new());
        let mut all = Accounts { postgres, rows: BTreeMap::new(), changes, transactions: 0 };
        let inserts: Vec<String> = rows.into_iter().map(|id| all.insert(id, "r")).collect();
        postgres.run(&inserts.join("; "));
        all
    }

    fn shown(&self, id: i64) -> Value {
        self.rows.get(&id).map_or(Value::Null, |(owner, cents, note)| {
            json!({ "id": id, "owner": owner, "cents": cents, "note": note })
        })
    }

    fn change(&mut self, op: &str, id: i64, after: Option<Account>) {
        let before = self.shown(id);
        match after {
            Some(row) => drop(self.rows.insert(id, row)),
            None => drop(self.rows.remove(&id)),
        }
        let value = json!({ "op": op, "before": before, "after": self.shown(id) });
        self.changes.push((json!({ "id": id }), value));
    }

    fn insert(&mut self, id: i64, op: &str) -> String {
        let owner = format!("Zoë O'Brien {id}");
        let sql =
            format!("INSERT INTO accounts VALUES ({id}, {}, {id}00, NULL)", quoted(Some(&owner)));
        self.change(op, id, Some((owner, id * 100, None)));
        sql
    }

    fn pay(&mut self, id: i64, cents: i64, note: Option<String>) -> String {
        let (owner, had, _) = self.rows[&id].clone();
        let sql = format!(
            "UPDATE accounts SET cents = cents + {cents}, note = {} WHERE id = {id}",
            quoted(note.as_deref())
        );
        self.change("u", id, Some((owner, had + cents, note)));
        sql
    }

    fn delete(&mut self, id: i64) -> String {
        self.change("d", id, None);
        self.changes.push((json!({ "id": id }), Value::Null));
        format!("DELETE FROM accounts WHERE id = {id}")
    }

    /// A last row, by which the end is known.
    pub fn finish(&mut self) {
        let sql = self.insert(999_999, "c");
        self.postgres.run(&sql);
    }
}

impl Feed for Accounts<'_> {
    /// A transaction in which rows come, change, change again and go, and one that is rolled back and is not to be seen.
    fn grow(&mut self) {
        let (n, first) = (self.transactions, 1000 + self.transactions * 6);
        let mut sql: Vec<String> = (first..first + 6).map(|id| self.insert(id, "c")).collect();
        sql.push(self.pay(n % 100, n + 1, Some(format!("payment {n}"))));
        sql.push(self.pay(n % 100, -1, None));
        sql.push(self.pay(first + 1, 7, Some("'".into())));
        sql.push(self.delete(first + 2));
        let nothing = "BEGIN; UPDATE accounts SET cents = 0; DELETE FROM accounts; ROLLBACK";
        self.postgres.run(&format!("BEGIN; {}; COMMIT; {nothing}", sql.join("; ")));
        self.transactions += 1;
    }

    fn records(&self) -> usize {
        self.changes.len()
    }
}
