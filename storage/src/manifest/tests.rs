use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteBatch};

use super::*;

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

fn open(dir: &Path) -> DB {
    let columns = ["log", "meta"].map(|name| {
        let mut options = Options::default();
        // Its own compactions would change the manifest between two looks.
        options.set_disable_auto_compactions(true);
        ColumnFamilyDescriptor::new(name, options)
    });
    DB::open_cf_descriptors(&options(), dir, columns).unwrap()
}

fn read(dir: &Path) -> Manifest {
    let number = current(dir).unwrap().unwrap();
    let mut manifest = Manifest::new(number);
    let file = File::open(path(dir, number)).unwrap();
    assert_eq!(manifest.read_on(&file).unwrap(), Ending::Whole);
    manifest
}

/// What RocksDB says about its tables.
fn live(db: &DB) -> BTreeMap<u64, u64> {
    let number =
        |name: &str| name.trim_start_matches('/').strip_suffix(".sst").unwrap().parse().unwrap();
    let files = db.live_files().unwrap().into_iter();
    files.map(|file| (number(&file.name), file.size as u64)).collect()
}

#[test]
fn a_manifest_says_of_the_tables_what_rocksdb_says_through_flushes_compactions_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4_u32 {
        let db = open(dir.path());
        let mut followed: Option<Manifest> = None;
        for step in 0..8_u32 {
            let mut batch = WriteBatch::default();
            for name in ["log", "meta"] {
                batch.put_cf(
                    db.cf_handle(name).unwrap(),
                    (round * 8 + step).to_be_bytes(),
                    [7; 5000],
                );
            }
            db.write(batch).unwrap();
            db.flush_cf(db.cf_handle("log").unwrap()).unwrap();
            if step % 3 == 2 {
                db.flush_cf(db.cf_handle("meta").unwrap()).unwrap();
                db.compact_range_cf::<&[u8], &[u8]>(db.cf_handle("meta").unwrap(), None, None);
            }
            let found = read(dir.path());
            assert_eq!(found.tables, live(&db), "{round} {step}");
            assert_eq!(found.columns().collect::<Vec<_>>(), ["default", "log", "meta"]);
            // Read on from where the reading before ended, it is the same.
            let mut next = followed.take().unwrap_or_else(|| found.clone());
            next.read_on(&File::open(path(dir.path(), found.number)).unwrap()).unwrap();
            assert_eq!((&next.tables, next.length), (&found.tables, found.length));
            assert_eq!(next.checksum, found.checksum);
            followed = Some(next);
            let needed =
                db.property_int_value(rocksdb::properties::MIN_LOG_NUMBER_TO_KEEP).unwrap();
            assert!(found.needed_log() <= needed.unwrap(), "{round} {step}");
            assert!(found.needed_log() > 0, "{round} {step}");
        }
    }
}

#[test]
fn a_manifest_that_is_cut_anywhere_is_read_up_to_its_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    drop(open(dir.path()));
    let whole = read(dir.path());
    let bytes = fs::read(path(dir.path(), whole.number)).unwrap();
    let mut ends = BTreeSet::new();
    for length in 0..=bytes.len() {
        let mut manifest = Manifest::new(whole.number);
        assert_eq!(manifest.take(&bytes[..length]), Ending::Whole);
        assert!(manifest.length <= length as u64);
        assert_eq!(manifest.checksum, crc32c::crc32c(&bytes[..manifest.length as usize]));
        ends.insert(manifest.length);
    }
    assert!(ends.len() > 4 && ends.contains(&(bytes.len() as u64)), "{ends:?}");
    let mut rotten = bytes.clone();
    rotten[bytes.len() - 3] ^= 1;
    let before = ends.iter().rev().nth(1).unwrap();
    let mut manifest = Manifest::new(whole.number);
    assert_eq!(manifest.take(&rotten), Ending::Damaged(*before));
    assert_eq!(manifest.length, *before);
}
