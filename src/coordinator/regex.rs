//! The regular expressions by which members subscribe to topics (KIP-848): RE2's syntax, the whole name has to match.
//!
//! They are strangers', so a compiled one is bounded, and with it the time that a name takes. They are matched beside the
//! coordinators, never in them: whoever joins brings what its expression matches, and what changes with the topics is
//! looked for here and told to the coordinator, which writes it down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quorate_storage::GroupId;
use regex::bytes::{Regex, RegexBuilder};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Coordinator, Coordinators, GroupError};
use crate::metadata::Image;

/// A longer one is none.
const PATTERN_BYTES_MAX: usize = 1024;
/// Bytes of a compiled expression.
const COMPILED_BYTES_MAX: usize = 64 << 10;
/// Between two looks at what they match.
const PACE: Duration = Duration::from_secs(1);

/// The topics whose whole name an expression matches.
///
/// # Errors
/// [`GroupError::InvalidRegex`].
pub(super) fn matching(pattern: &str, image: &Image) -> Result<BTreeSet<String>, GroupError> {
    let regex = compiled(pattern)?;
    Ok(image.topics.keys().filter(|name| regex.is_match(name.as_bytes())).cloned().collect())
}

/// # Errors
/// [`GroupError::InvalidRegex`].
pub(super) fn compiled(pattern: &str) -> Result<Regex, GroupError> {
    let invalid = |reason: String| GroupError::InvalidRegex(reason);
    if pattern.len() > PATTERN_BYTES_MAX {
        let bytes = pattern.len();
        return Err(invalid(format!("{bytes} bytes, more than {PATTERN_BYTES_MAX}")));
    }
    // By itself first: `a)|(b` is none, whatever is put around it.
    let build = |pattern: &str| {
        // Classes as in RE2: of ASCII, as names are.
        RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| invalid(error.to_string()))
    };
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

/// Looks, whenever topics come and go, what the expressions of the groups that are coordinated here match.
pub struct Rematcher {
    pub coordinators: Arc<Coordinators>,
    pub image: watch::Receiver<Arc<Image>>,
}

/// What a coordinator was told: in which term, as of which topics, and after how many joins by an expression, for what those
/// brought was looked up before they came.
type Told = (u64, u64, u64);

impl Rematcher {
    /// Runs until dropped.
    pub async fn run(mut self) {
        let (mut names, mut changes) = (BTreeSet::new(), 0);
        let mut told: HashMap<GroupId, Told> = HashMap::new();
        let mut version = None;
        loop {
            let image = Arc::clone(&self.image.borrow_and_update());
            let is_new = version.replace(image.version) != Some(image.version);
            if is_new && !image.topics.keys().eq(&names) {
                names = image.topics.keys().cloned().collect();
                changes += 1;
            }
            let coordinators = self.coordinators.all();
            told.retain(|id, _| coordinators.iter().any(|it| it.group().id() == *id));
            for coordinator in coordinators {
                let leadership = *coordinator.group().leadership().borrow();
                let now = (leadership.term, changes, coordinator.regex_joins());
                let id = coordinator.group().id();
                if leadership.ready
                    && told.get(&id) != Some(&now)
                    && rematch(&coordinator, &image).await
                {
                    told.insert(id, now);
                }
            }
            sleep(PACE).await;
        }
    }
}

/// Whether it was told all; if not it is told again.
async fn rematch(coordinator: &Coordinator, image: &Arc<Image>) -> bool {
    for (group, patterns) in coordinator.regexes() {
        let image = Arc::clone(image);
        let matched = spawn_blocking(move || {
            let each = patterns.into_iter().filter_map(|pattern| {
                let names = matching(&pattern, &image).ok()?;
                Some((pattern, names))
            });
            each.collect::<BTreeMap<_, _>>()
        });
        let Ok(matched) = matched.await else { return false };
        if let Err(error) = coordinator.matched(group.clone(), matched.into_iter().collect()).await
        {
            tracing::debug!(%group, %error, "what its members subscribe to is looked up again later");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        let matches =
            |pattern: &str, name: &str| compiled(pattern).unwrap().is_match(name.as_bytes());
        assert!(matches("orders", "orders") && !matches("orders", "orders2"));
        assert!(matches("a|b", "b") && !matches("a|b", "ab"), "alternatives belong together");
        assert!(matches("(?i)Orders.*", "orders-eu") && matches("^orders$", "orders"));
        assert!(matches("", "") && !matches("", "a"));
        assert!(!matches("orders", "orders\n"));
        assert!(matches(r"\w+\.\w+-\w+\.\d{4}\.[[:alpha:]]+", "eu.orders-v2.2026.daily"));
    }

    #[test]
    fn what_is_no_expression_or_too_large_a_one_is_refused_in_words() {
        for pattern in ["(", "a)|(b", "*", "(?=a)", r"(a)\1", "a{100000}", &"a".repeat(1025)] {
            let error = compiled(pattern).unwrap_err();
            assert!(matches!(error, GroupError::InvalidRegex(_)), "{pattern}: {error}");
        }
    }
}
