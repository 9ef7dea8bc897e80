//! Trying commands without applying them.
//!
//! One copy of the image serves many commands: what each does is taken back before the next. A copy for each would
//! make a request with thousands of topics cost thousands of images.

use std::sync::Arc;

use super::judge;
use crate::metadata::{AdminError, Command, Image, Topic};

/// An image to try commands on.
#[derive(Debug)]
pub struct Trial(Image);

impl Trial {
    /// Returns a trial of commands on `image`.
    pub fn of(image: &Image) -> Self {
        Self(Image { applied: image.applied + 1, ..image.clone() })
    }

    /// Returns the topic that `command` would leave were it applied now, and to nothing else than the image.
    ///
    /// For commands about one topic.
    pub fn judge(&mut self, command: &Command) -> Result<Arc<Topic>, AdminError> {
        let before = command.topic_of(&self.0).cloned();
        let next_group = self.0.next_group;
        judge(&mut self.0, command.clone())?;
        let after = command.topic_of(&self.0).cloned();
        match (&before, &after) {
            (Some(topic), _) => self.0.insert_topic(Arc::clone(topic)),
            (None, Some(topic)) => self.0.remove_topic(&topic.name),
            (None, None) => {}
        }
        self.0.next_group = next_group;
        after.ok_or(AdminError::Timeout)
    }
}
