//! What the store must find when it opens, noted beside it.
//!
//! RocksDB takes the manifest it finds for the whole truth: one that lost its end, or an older copy that was put
//! back, makes it an older or an empty store, and it removes the files that store does not name. So a lower bound is
//! noted, the *inventory*: the manifest with its length and checksum, the tables it named, the logs it needed.
//!
//! The inventory is synced before a file that it makes unnecessary may be deleted (`hold`), and it is
//! compared before RocksDB may open. Hence whatever the manifest lost, one of two things holds: the loss is in what
//! was noted, and the store is refused; or it is behind, everything that the rest of the manifest names is still
//! there, and the store recovers as from a crash. A manifest newer than the noted one is RocksDB's at its last opening:
//! it must name every noted table that no manifest deleted; compactions wait until it is noted itself.
//!
//! A directory that was rolled back as a whole, inventory included, looks like what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::manifest::{self, Ending, Manifest};
use crate::{Error, failpoint, keys, wal};

const FILE: &str = "quorate.inventory";
const HEAD: &str = "quorate inventory 1";
const OURS: [&str; 4] = [keys::LOG, keys::META, keys::STATE, keys::CHUNKS];
/// Column families that are written through logs; a chunk comes as a file.
const LOGGED: [&str; 3] = [keys::LOG, keys::META, keys::STATE];
const ROCKSDB_FILES: [&str; 3] = [".log", ".sst", "MANIFEST-"];

/// A lower bound of what is in the directory. The default one is that of a directory never used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Note {
    manifest: u64,
    /// Bytes of the manifest, and the CRC-32C of them.
    length: u64,
    checksum: u32,
    /// Sizes of the tables, by number.
    tables: BTreeMap<u64, u64>,
    /// Logs that may hold what is in no table.
    logs: BTreeSet<u64>,
}

/// The inventory of an open store.
pub(crate) struct Inventory {
    dir: PathBuf,
    manifest: Manifest,
    noted: Note,
}

/// What a directory holds that may be opened.
pub(crate) struct Found {
    inventory: Inventory,
    /// The manifest ends in something that is no record.
    torn: bool,
}

impl Found {
    /// Compares what the directory holds with what was noted. Changes nothing.
    pub fn inspect(dir: &Path) -> Result<Found, Error> {
        let noted = Note::read(dir)?;
        let Some(number) = manifest::current(dir).map_err(|e| lost(&e.to_string()))? else {
            nothing_but_new(dir, noted.as_ref())?;
            return Ok(Found::of(dir, Manifest::new(0), Note::default(), false));
        };
        let (manifest, ending) = read_manifest(dir, number)?;
        check_columns(dir, &manifest)?;
        let Some(noted) = noted else { return Err(lost(&format!("the file {FILE} is gone"))) };
        noted.compare(dir, &manifest)?;
        Ok(Found::of(dir, manifest, noted, ending != Ending::Whole))
    }

    fn of(dir: &Path, manifest: Manifest, noted: Note, torn: bool) -> Found {
        Found { inventory: Inventory { dir: dir.to_owned(), manifest, noted }, torn }
    }

    /// Whether no opening of the directory ever came to its end.
    pub fn is_new(&self) -> bool {
        self.inventory.noted.manifest == 0
    }

    /// Number of the oldest write-ahead log that may hold what is nowhere else.
    pub fn needed_log(&self) -> u64 {
        self.inventory.manifest.needed_log()
    }

    /// Refuses a manifest of RocksDB's last opening that lost some of the tables into which it took the logs. A store
    /// that was `closed` before had nothing in them.
    pub fn check_recovery(&self, closed: bool) -> Result<(), Error> {
        let Inventory { manifest, noted, .. } = &self.inventory;
        let unnoted = noted.manifest > 0 && manifest.number > noted.manifest;
        if unnoted && !closed && manifest.lacks_recovered_tables(&LOGGED) {
            Err(lost(&format!("manifest {} ends before all its tables", manifest.number)))
        } else {
            Ok(())
        }
    }

    /// No table has a write newer than this one.
    pub fn last_write(&self) -> u64 {
        self.inventory.manifest.last_write()
    }

    /// Notes exactly what was found, before RocksDB changes it.
    pub fn note(self) -> io::Result<Inventory> {
        let Found { mut inventory, torn } = self;
        if torn {
            let Manifest { number, length, .. } = inventory.manifest;
            tracing::warn!(manifest = number, length, "cutting off the torn end of the manifest");
            cut(&inventory.dir, &inventory.manifest)?;
        }
        match inventory.manifest.number {
            0 => inventory.write(&Note::default())?,
            _ => inventory.note_now()?,
        }
        Ok(inventory)
    }
}

impl Inventory {
    /// Notes what RocksDB changed since the last time; false if that is nothing. Synced when it returns.
    pub fn renew(&mut self) -> io::Result<bool> {
        let number = manifest::current(&self.dir)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let file = File::open(manifest::path(&self.dir, number))?;
        if number == self.noted.manifest && file.metadata()?.len() == self.noted.length {
            return Ok(false);
        }
        if number != self.manifest.number {
            self.manifest = Manifest::new(number);
        }
        if let Ending::Damaged(at) | Ending::Unknown(at) = self.manifest.read_on(&file)? {
            let what = format!("manifest {number} is not readable at byte {at}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        // What is noted must not be lost with the power, or the note would be too high.
        file.sync_data()?;
        let before = self.noted.length;
        self.note_now()?;
        Ok(self.noted.length != before)
    }

    fn note_now(&mut self) -> io::Result<()> {
        let manifest = &self.manifest;
        let needed = manifest.needed_log();
        let logs = wal::logs(&self.dir)?.into_iter().map(|(number, _)| number);
        let now = Note {
            manifest: manifest.number,
            length: manifest.length,
            checksum: manifest.checksum,
            tables: manifest.tables.clone(),
            logs: logs.filter(|number| *number >= needed).collect(),
        };
        if now != self.noted {
            self.write(&now)?;
            self.noted = now;
        }
        Ok(())
    }

    /// Replaces the note on disk; a crash leaves the old one or the new one.
    fn write(&self, note: &Note) -> io::Result<()> {
        failpoint::hit("inventory.before");
        let next = self.dir.join(format!("{FILE}.next"));
        let mut file = File::create(&next)?;
        file.write_all(note.encode().as_bytes())?;
        file.sync_data()?;
        fs::rename(&next, self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()?;
        failpoint::hit("inventory.after");
        Ok(())
    }
}

impl Note {
    fn encode(&self) -> String {
        let mut text =
            format!("{HEAD}\nmanifest {} {} {}\n", self.manifest, self.length, self.checksum);
        for (number, size) in &self.tables {
            // Writing to a string does not fail.
            let _ = writeln!(text, "table {number} {size}");
        }
        for number in &self.logs {
            let _ = writeln!(text, "log {number}");
        }
        let sum = crc32c::crc32c(text.as_bytes());
        text + &format!("sum {sum}\n")
    }

    fn decode(text: &str) -> Option<Note> {
        let (covered, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let sum: u32 = sum.strip_prefix("sum ")?.parse().ok()?;
        if crc32c::crc32c(format!("{covered}\n").as_bytes()) != sum {
            return None;
        }
        let mut lines = covered.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut note = Note::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["manifest", number, length, checksum] => {
                    note.manifest = number.parse().ok()?;
                    note.length = length.parse().ok()?;
                    note.checksum = checksum.parse().ok()?;
                }
                ["table", number, size] => {
                    note.tables.insert(number.parse().ok()?, size.parse().ok()?);
                }
                ["log", number] => drop(note.logs.insert(number.parse().ok()?)),
                _ => return None,
            }
        }
        Some(note)
    }

    fn read(dir: &Path) -> Result<Option<Note>, Error> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => {
                let note = std::str::from_utf8(&bytes).ok().and_then(Note::decode);
                note.map(Some).ok_or_else(|| lost(&format!("the file {FILE} is not readable")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(open_failed(dir, &error)),
        }
    }

    fn compare(&self, dir: &Path, found: &Manifest) -> Result<(), Error> {
        let (number, noted) = (found.number, self.manifest);
        if number < noted {
            return Err(lost(&format!(
                "CURRENT names manifest {number}, but manifest {noted} was in use"
            )));
        }
        if number == noted {
            self.compare_same(dir, found)?;
        } else if noted > 0 {
            self.compare_newer(dir, found)?;
        }
        for (table, size) in &found.tables {
            let path = dir.join(format!("{table:06}.sst"));
            check_size(&path, |length| length == *size, *size)?;
        }
        let needed = found.needed_log();
        for (log, size) in found.synced_logs.range(needed..) {
            check_size(&wal::path(dir, *log), |length| length >= *size, *size)?;
        }
        for log in self.logs.range(needed..) {
            check_size(&wal::path(dir, *log), |_| true, 0)?;
        }
        Ok(())
    }

    /// The noted manifest must still begin with what was noted.
    fn compare_same(&self, dir: &Path, found: &Manifest) -> Result<(), Error> {
        let Manifest { number, length, .. } = *found;
        if length < self.length {
            let noted = self.length;
            return Err(lost(&format!(
                "manifest {number} ends at byte {length}, but had {noted} bytes"
            )));
        }
        let prefix = usize::try_from(self.length).map_err(io::Error::other).and_then(|length| {
            let mut bytes = vec![0; length];
            File::open(manifest::path(dir, number))?.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        });
        let prefix = prefix.map_err(|error| open_failed(dir, &error))?;
        if crc32c::crc32c(&prefix) == self.checksum {
            Ok(())
        } else {
            Err(lost(&format!("manifest {number} is not the one that was noted")))
        }
    }

    /// A manifest that RocksDB began since must go on where the noted one ended.
    fn compare_newer(&self, dir: &Path, found: &Manifest) -> Result<(), Error> {
        let number = found.number;
        if let Some(name) = OURS.iter().find(|name| found.columns().all(|column| column != **name))
        {
            return Err(lost(&format!("manifest {number} has lost the column family {name}")));
        }
        let deleted = deleted_since(dir, self.manifest, number)?;
        let kept = |table: &u64| {
            found.tables.contains_key(table)
                || found.deleted.contains(table)
                || deleted.contains(table)
        };
        match self.tables.keys().find(|table| !kept(table)) {
            Some(table) => Err(lost(&format!("manifest {number} has lost table {table}"))),
            None => Ok(()),
        }
    }
}

/// Whether a file is there and has a size that is right.
fn check_size(path: &Path, right: impl Fn(u64) -> bool, wanted: u64) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().display();
    match fs::metadata(path).map(|file| file.len()) {
        Ok(length) if right(length) => Ok(()),
        Ok(length) => Err(lost(&format!("{name} has {length} bytes, but had {wanted}"))),
        Err(error) => Err(lost(&format!("{name} is needed and cannot be found ({error})"))),
    }
}

fn read_manifest(dir: &Path, number: u64) -> Result<(Manifest, Ending), Error> {
    let mut manifest = Manifest::new(number);
    let read = File::open(manifest::path(dir, number)).and_then(|file| manifest.read_on(&file));
    match read {
        Ok(Ending::Unknown(at)) => Err(lost(&format!(
            "manifest {number} has a record at byte {at} that is not known here"
        ))),
        Ok(_) if !manifest.is_complete() => {
            Err(lost(&format!("manifest {number} ends before all that it must begin with")))
        }
        Ok(ending) => Ok((manifest, ending)),
        Err(error) => Err(lost(&format!("manifest {number} is not readable ({error})"))),
    }
}

/// What manifests from `noted` on deleted before `found` was begun: each tells only of its own time, and RocksDB may have
/// begun several since the note. They are held as tables are.
fn deleted_since(dir: &Path, noted: u64, found: u64) -> Result<BTreeSet<u64>, Error> {
    let mut deleted = BTreeSet::new();
    let numbers = manifest::numbers(dir).map_err(|error| open_failed(dir, &error))?;
    for number in numbers.range(noted..found) {
        let mut manifest = Manifest::new(*number);
        let read = File::open(manifest::path(dir, *number)).and_then(|it| manifest.read_on(&it));
        read.map_err(|error| lost(&format!("manifest {number} is not readable ({error})")))?;
        // One that was begun and never became the current one decided nothing.
        if manifest.is_complete() {
            deleted.append(&mut manifest.deleted);
        }
    }
    Ok(deleted)
}

/// Removes what is no record from the end of a manifest; RocksDB would refuse it.
fn cut(dir: &Path, manifest: &Manifest) -> io::Result<()> {
    let file = File::options().write(true).open(manifest::path(dir, manifest.number))?;
    file.set_len(manifest.length)?;
    file.sync_all()
}

/// A directory without the file `CURRENT` must be one that was never used: RocksDB would begin anew in it.
fn nothing_but_new(dir: &Path, noted: Option<&Note>) -> Result<(), Error> {
    let used = match noted {
        Some(note) => note.manifest > 0,
        None => {
            let files = fs::read_dir(dir).map_err(|error| open_failed(dir, &error))?;
            files.flatten().any(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                ROCKSDB_FILES.iter().any(|part| name.starts_with(part) || name.ends_with(part))
            })
        }
    };
    if used { Err(lost("the file CURRENT is gone")) } else { Ok(()) }
}

/// A later format may have other column families; opening would fail with a riddle.
fn check_columns(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let is_known = |name: &str| name == "default" || OURS.contains(&name);
    match manifest.columns().find(|name| !is_known(name)) {
        Some(name) => Err(Error::Format {
            dir: dir.to_owned(),
            found: format!("with a column family {name:?}"),
            supported: keys::FORMAT_VERSION,
        }),
        None => Ok(()),
    }
}

/// Something noted is not there.
pub(crate) fn lost(what: &str) -> Error {
    Error::Damaged(format!(
        "{what}; nothing was changed. Put back what is missing, or give the broker an empty directory and a new id"
    ))
}

fn open_failed(dir: &Path, error: &io::Error) -> Error {
    Error::open(dir, error.to_string())
}

#[cfg(test)]
mod tests {
    use rocksdb::{ColumnFamilyDescriptor, DB, Options};

    use super::*;
    use crate::hold;

    fn note() -> Note {
        Note {
            manifest: 7,
            length: 300,
            checksum: 9,
            tables: BTreeMap::from([(3, 1000), (12, 1)]),
            logs: BTreeSet::from([11, 13]),
        }
    }

    #[test]
    fn a_note_decodes_to_what_was_encoded_and_no_cut_or_changed_one_does() {
        for note in [note(), Note::default()] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        let text = note().encode();
        for length in 0..text.len() {
            assert_eq!(Note::decode(&text[..length]), None, "{length}");
        }
        assert_eq!(Note::decode(&text.replace("table 3 1000", "table 3 1001")), None);
    }
    /// A database that begins a new manifest after a few changes and keeps the old ones.
    fn begins_manifests(dir: &Path) -> DB {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_manifest_file_size(1);
        let columns = OURS.map(|name| {
            let mut options = Options::default();
            options.set_disable_auto_compactions(true);
            ColumnFamilyDescriptor::new(name, options)
        });
        let db = DB::open_cf_descriptors(&options, dir, columns).expect("a database");
        hold::hold(&db).expect("files that are kept");
        db
    }

    /// Writes tables until RocksDB has begun another manifest; its number.
    fn until_begun(db: &DB, dir: &Path) -> u64 {
        let number = || manifest::current(dir).expect("a directory").expect("a manifest");
        let before = number();
        let log = db.cf_handle(keys::LOG).expect("the log");
        for _ in 0..1000 {
            db.put_cf(log, "key", [7; 100]).expect("a write");
            db.flush_cf(log).expect("a table");
            if number() != before {
                return number();
            }
        }
        panic!("no manifest after {before}");
    }

    #[test]
    fn what_was_deleted_in_a_manifest_that_was_never_noted_is_not_missed() {
        let dir = tempfile::tempdir().expect("a directory");
        let db = begins_manifests(dir.path());
        until_begun(&db, dir.path());
        let (manifest, noted) = (Manifest::new(0), Note::default());
        let mut inventory = Inventory { dir: dir.path().to_owned(), manifest, noted };
        assert!(inventory.renew().expect("a note"));
        let noted = inventory.noted;
        let between = until_begun(&db, dir.path());
        let log = db.cf_handle(keys::LOG).expect("the log");
        // Files of the first level are not deleted by range.
        db.compact_range_cf::<&[u8], &[u8]>(log, None, None);
        db.delete_file_in_range_cf(log, "a", "z").expect("no tables");
        let last = until_begun(&db, dir.path());
        let read = |number| read_manifest(dir.path(), number).expect("a manifest").0;
        let (found, between) = (read(last), read(between));
        let gone =
            |table: &u64| !found.tables.contains_key(table) && !found.deleted.contains(table);
        let missed =
            noted.tables.keys().any(|table| gone(table) && between.deleted.contains(table));
        assert!(missed, "{noted:?} {found:?} {between:?}");
        noted.compare(dir.path(), &found).expect("nothing was lost");
        fs::remove_file(manifest::path(dir.path(), between.number)).expect("a manifest");
        let lost = noted.compare(dir.path(), &found).expect_err("nobody says that it was deleted");
        assert!(lost.to_string().contains("has lost table"), "{lost}");
    }
}
