//! How the store is laid out on a disk of a given size.
//!
//! A store needs room to work: memtables that wait to become tables, logs kept for overwriting, what
//! is in flight when records begin to be refused. All of these are generations, so on a small disk
//! the generation is small, and the watermark, the ballast and the chunks below the logs follow: compaction needs
//! room for two of those.

use quorate_storage::Options;

use crate::config::Storage;

/// A disk holds at least this many generations.
const GENERATIONS_MIN: u64 = 32;
const GENERATION_BYTES_MIN: u64 = 1 << 20;
/// Generations that are free when records begin to be refused: two to become tables, their logs, and
/// what was in flight, once in the log and once in a table.
const FREE_GENERATIONS: u64 = 8;
/// Generations that a start may have to replay into tables before it gives anything back: the one
/// being written, and those that may wait before new entries are held back.
const BALLAST_GENERATIONS: u64 = 3;
/// What a start writes besides: a manifest, options, its own log.
const BALLAST_BESIDES: u64 = 4 << 20;
/// Proposed bytes under way, at least and at most.
const IN_FLIGHT_BYTES: (usize, usize) = (1 << 20, 256 << 20);

/// Returns the store's options for a disk of `total` bytes.
pub(super) fn options(settings: &Storage, total: u64) -> Options {
    let fitting = (total / GENERATIONS_MIN).max(GENERATION_BYTES_MIN);
    let generation_bytes = (settings.generation_bytes as u64).min(fitting);
    let from_resume = settings.free_bytes_resume.map(|resume| resume / 5 * 4);
    let usual = (FREE_GENERATIONS * generation_bytes).min(total / 4);
    let usual = from_resume.map_or(usual, |bound| usual.min(bound));
    let free_bytes_low = settings.free_bytes_min.unwrap_or(usual);
    let above = free_bytes_low.saturating_add(free_bytes_low / 4);
    let ballast = BALLAST_GENERATIONS * generation_bytes + BALLAST_BESIDES;
    let defaults = Options::default();
    Options {
        generation_bytes,
        tail_cache_bytes: settings.cache_bytes,
        free_bytes_low,
        free_bytes_resume: settings.free_bytes_resume.unwrap_or(above),
        ballast_bytes: settings.ballast_bytes.unwrap_or(ballast),
        chunk_bytes: defaults.chunk_bytes.min(generation_bytes / 2),
        ..defaults
    }
}

/// Returns how many proposed bytes a broker may have under way, so that what all leaders of a
/// follower propose before they hear of its disk fits below the watermark.
pub(super) fn in_flight_bytes(options: &Options) -> usize {
    let share = usize::try_from(options.free_bytes_low / 4).unwrap_or(usize::MAX);
    share.clamp(IN_FLIGHT_BYTES.0, IN_FLIGHT_BYTES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(settings: &Storage, total: u64) -> [u64; 4] {
        let options = options(settings, total);
        let Options { generation_bytes, free_bytes_low, free_bytes_resume, ballast_bytes, .. } =
            options;
        [generation_bytes, free_bytes_low, free_bytes_resume, ballast_bytes].map(|it| it / MIB)
    }

    #[test]
    fn a_large_disk_has_the_generations_that_were_asked_for_and_a_small_one_smaller_ones() {
        let settings = Storage::default();
        assert_eq!(of(&settings, 1 << 40), [64, 512, 640, 196]);
        assert_eq!(of(&settings, 2048 * MIB), [64, 512, 640, 196]);
        assert_eq!(of(&settings, 512 * MIB), [16, 128, 160, 52]);
        assert_eq!(of(&settings, 16 * MIB), [1, 4, 5, 7]);
        let in_flight = |total| in_flight_bytes(&options(&settings, total)) as u64 / MIB;
        assert_eq!([1 << 40, 512 * MIB, 0].map(in_flight), [128, 32, 1]);
        let large = Storage { generation_bytes: 256 << 20, ..Storage::default() };
        assert_eq!(options(&large, 1 << 40).chunk_bytes / MIB, 32, "each is synced as a whole");
        assert_eq!(options(&settings, 512 * MIB).chunk_bytes / MIB, 8);
    }

    #[test]
    fn what_is_set_is_obeyed_and_the_other_mark_keeps_its_side() {
        let mut settings = Storage { free_bytes_min: Some(100 * MIB), ..Storage::default() };
        assert_eq!(of(&settings, 1 << 40), [64, 100, 125, 196]);
        settings.free_bytes_resume = Some(300 * MIB);
        settings.ballast_bytes = Some(0);
        assert_eq!(of(&settings, 1 << 40), [64, 100, 300, 0]);
        let resume = Storage { free_bytes_resume: Some(50 * MIB), ..Storage::default() };
        assert_eq!(of(&resume, 1 << 40), [64, 40, 50, 196]);
    }
}
