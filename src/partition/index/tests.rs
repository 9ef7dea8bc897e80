use super::*;

fn point(offset: i64) -> Point {
    Point {
        at: Position { offset, place: Place { index: 3, sub: 9 }, bytes: 4 },
        span: Span { timestamp_max: 5, age_max: 6, appended_max: -7 },
    }
}

#[test]
fn the_bytes_of_a_point_are_frozen() {
    let put = point(258).put();
    assert_eq!(put.key, [b'o', 0, 0, 0, 0, 0, 0, 1, 2]);
    let mut expected = vec![3];
    expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9]);
    for field in [4_i64, 5, 6, -7] {
        expected.extend_from_slice(&field.to_be_bytes());
    }
    assert_eq!(put.value, expected);
}

#[test]
fn a_point_decodes_to_what_was_encoded() {
    for offset in [0, 1, 1 << 40, i64::MAX] {
        let put = point(offset).put();
        assert_eq!(Point::decode(&put.key, &put.value).unwrap(), point(offset));
        assert!(Point::decode(&put.key[1..], &put.value).is_err());
        assert!(Point::decode(&put.key, &put.value[1..]).is_err());
    }
}

#[test]
fn keys_sort_as_offsets_do() {
    let offsets = [0, 1, 255, 256, 65_535, 65_536, i64::MAX];
    let keys: Vec<Vec<u8>> = offsets.into_iter().map(|offset| key(PREFIX, offset)).collect();
    assert!(keys.is_sorted());
}

#[test]
fn a_batch_without_a_time_ages_from_when_it_was_appended() {
    let mut span = Span::EMPTY;
    span.add(-1, 500);
    assert_eq!(span, Span { timestamp_max: -1, age_max: 500, appended_max: 500 });
    span.add(400, 600);
    assert_eq!(span, Span { timestamp_max: 400, age_max: 500, appended_max: 600 });
}

/// A log of nothing but points and blocks; one point every ten offsets.
struct Points {
    db: std::sync::Arc<quorate_storage::Db>,
    log: Log,
    points: Vec<Point>,
    blocks: OpenBlocks,
    _dir: tempfile::TempDir,
}

impl Points {
    async fn with(times: &[i64]) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let db =
            quorate_storage::Db::open(dir.path(), quorate_storage::Options::default()).unwrap();
        let log = db.log(quorate_storage::GroupId(7));
        let mut all =
            Self { db, log, points: Vec::new(), blocks: OpenBlocks::default(), _dir: dir };
        let mut puts = Vec::new();
        for (n, time) in (1..).zip(times) {
            let at = Position {
                offset: n * 10,
                place: Place::default(),
                bytes: n.unsigned_abs() * SPAN_BYTES,
            };
            let span = Span { timestamp_max: *time, ..Span::EMPTY };
            let point = Point { at, span };
            puts.push(point.put());
            puts.extend(all.blocks.add(&point));
            all.points.push(point);
        }
        all.log.write_state(puts, Vec::new()).await.unwrap();
        all
    }

    /// The search as the log does it, without records; and how many points and blocks it looked at.
    fn first_at_or_after(&self, start: Position, timestamp: i64) -> Option<i64> {
        let to = self.points.last().unwrap().at.offset;
        let mut from = start;
        while from.offset < to {
            from = skip_older(&self.log, from, to, timestamp).unwrap();
            for point in after(&self.log, from.offset).take(BLOCK_SPANS as usize) {
                let point = point.unwrap();
                from = point.at;
                if point.span.timestamp_max >= timestamp {
                    return Some(point.at.offset);
                }
            }
        }
        None
    }
}

#[tokio::test]
async fn blocks_tell_what_the_points_would() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    let rng = &mut StdRng::seed_from_u64(1);
    let mut times: Vec<i64> = (0..9_000).map(|n| n + rng.random_range(0..50)).collect();
    (times[10], times[4_000], times[8_900]) = (1 << 50, 1 << 51, 1 << 50);
    let mut all = Points::with(&times).await;
    assert!(is_block(&all.log, 1, 64 * 64 * 10).unwrap(), "both levels are there");
    for round in 0..40 {
        let cut = rng.random_range(0..all.points.len() - 1);
        let start = if round < 2 { Position::default() } else { all.points[cut].at };
        if round % 4 == 3 {
            all.log.write_state(Vec::new(), deletes(Position::default(), start)).await.unwrap();
            all.points.retain(|point| point.at.offset >= start.offset);
        }
        let kept = || all.points.iter().filter(|point| point.at.offset > start.offset);
        for timestamp in (0..20).map(|_| rng.random_range(0..9_100)).chain([1 << 50, 1 << 51]) {
            let first = kept().find(|point| point.span.timestamp_max >= timestamp);
            let found = all.first_at_or_after(start, timestamp);
            assert_eq!(found, first.map(|point| point.at.offset), "{timestamp} from {start:?}");
        }
        let to = all.points.last().unwrap().at;
        let newest = kept().map(|point| point.span.timestamp_max).max();
        assert_eq!(largest(&all.log, start, to.offset).unwrap(), (newest.unwrap(), to));
        if all.points.len() < 100 {
            break;
        }
    }
    all.db.close();
}

#[test]
fn a_trim_deletes_blocks_once_it_has_passed_one() {
    let at = |spans: u64| Position {
        offset: i64::try_from(spans).unwrap(),
        place: Place::of_entry(spans),
        bytes: spans * SPAN_BYTES,
    };
    assert_eq!(deletes(at(1), at(63)).len(), 1);
    assert_eq!(deletes(at(63), at(64)).len(), 2);
    assert_eq!(deletes(at(64), at(64 * 64)).len(), 3);
}
