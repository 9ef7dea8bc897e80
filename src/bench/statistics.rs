//! Percentiles of a run's samples, exactly: a run has few enough to keep them all.

use std::time::Duration;

/// Durations, sorted when asked about.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the sample that `share` of all samples do not exceed (nearest rank); zero without samples.
    pub(super) fn percentile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count of samples is a small positive number"
        )]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or_default()
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(0.5), Duration::ZERO);
        for n in (1..=1_000).rev() {
            samples.add(Duration::from_millis(n));
        }
        assert_eq!(samples.percentile(0.5), Duration::from_millis(500));
        assert_eq!(samples.percentile(0.99), Duration::from_millis(990));
        assert_eq!(samples.percentile(0.999), Duration::from_millis(999));
        assert_eq!(samples.percentile(1.0), Duration::from_millis(1_000));
        assert_eq!(samples.count(), 1_000);
    }
}
