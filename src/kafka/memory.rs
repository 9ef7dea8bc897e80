//! Bounded memory: who needs much of it waits for a permit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in such pieces, so that a semaphore's 32-bit permits reach far enough.
const GRAIN_BYTES: usize = 1024;

/// A bounded amount of memory.
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    pub(super) bytes: usize,
}

/// Memory taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    permit: OwnedSemaphorePermit,
}

/// The memory for answers, the last of which is given out sparingly.
pub(super) struct Answers {
    pub(super) most: Memory,
    last: Memory,
}

impl Answers {
    pub(super) fn new(most: usize, last: usize) -> Answers {
        Answers { most: Memory::new(most), last: Memory::new(last) }
    }

    /// Returns room for `bytes`, or after a wait for at most `scarce`, and for how many it is.
    pub(super) async fn take(&self, bytes: usize, scarce: usize) -> (MemoryPermit, usize) {
        if let Some(permit) = self.most.try_take(bytes) {
            return (permit, bytes);
        }
        let bytes = bytes.min(scarce);
        (self.last.take(bytes).await, bytes)
    }
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Memory {
        let grains = (bytes / GRAIN_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Memory { permits: Arc::new(Semaphore::new(grains)), bytes: grains * GRAIN_BYTES }
    }

    fn try_take(&self, bytes: usize) -> Option<MemoryPermit> {
        let grains = grains(bytes.min(self.bytes));
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(grains);
        Some(MemoryPermit { permit: permit.ok()? })
    }

    pub(super) async fn take(&self, bytes: usize) -> MemoryPermit {
        let grains = grains(bytes.min(self.bytes));
        let permit = Arc::clone(&self.permits).acquire_many_owned(grains).await;
        MemoryPermit { permit: permit.expect("this semaphore is never closed") }
    }
}

impl MemoryPermit {
    /// Gives back what is held beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(grains(bytes) as usize);
        drop(self.permit.split(surplus));
    }
}

fn grains(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_bounded_and_comes_back() {
        let memory = Memory::new(10 * GRAIN_BYTES);
        let mut all = memory.take(usize::MAX).await;
        assert_eq!(memory.permits.available_permits(), 0);
        all.shrink(GRAIN_BYTES + 1);
        assert_eq!(memory.permits.available_permits(), 8);
        drop(all);
        assert_eq!(memory.permits.available_permits(), 10);
    }

    #[tokio::test]
    async fn when_answers_take_all_they_become_small_but_not_smaller_than_they_can_be() {
        let grain = GRAIN_BYTES;
        let answers = Answers::new(10 * grain, 6 * grain);
        let (_large, granted) = answers.take(8 * grain, grain).await;
        assert_eq!(granted, 8 * grain);
        let (_small, granted) = answers.take(8 * grain, grain).await;
        assert_eq!((granted, answers.last.permits.available_permits()), (grain, 5));
        let (_batch, granted) = answers.take(8 * grain, 4 * grain).await;
        assert_eq!((granted, answers.last.permits.available_permits()), (4 * grain, 1));
    }
}
