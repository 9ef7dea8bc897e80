//! Lists of what coordinators keep: groups, transactional ids.
//!
//! Each broker knows those of the coordinators that it leads. Any broker that is asked for a page asks the others, and keeps
//! the first rows of all. It says for which coordinators nobody spoke, for then the list is not whole.

use std::collections::BTreeSet;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri};
use futures::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::forward;
use crate::context::Context;
use crate::metadata::InternalKind;

/// Rows of a page at most.
pub(super) const PAGE_MAX: usize = 1_000;

/// One of what a kind of coordinators keeps.
pub(super) trait Row: DeserializeOwned + Send + 'static {
    const KIND: InternalKind;

    /// What the list is sorted by, and a page begins after.
    fn name(&self) -> &str;
}

/// What is known of a list, and in the answers of other brokers, each of which gives its rows the name it shows them by.
#[derive(Debug, Deserialize)]
pub(super) struct CoordinatorList<T> {
    #[serde(alias = "groups", alias = "transactions")]
    pub(super) rows: Vec<T>,
    /// The name of the last row, if there are more behind it.
    pub(super) next: Option<String>,
    /// Brokers that did not say all they know.
    pub(super) unreachable: BTreeSet<u64>,
    /// The coordinators that brokers spoke for, by number.
    pub(super) coordinators: BTreeSet<u32>,
}

impl<T: Row> CoordinatorList<T> {
    /// What this broker knows of the coordinators it spoke for. `is_whole`: these are all that it leads.
    pub(super) fn here(
        context: &Context,
        rows: Vec<T>,
        coordinators: BTreeSet<u32>,
        is_whole: bool,
    ) -> Self {
        let unreachable = (!is_whole).then(|| context.node.id()).into_iter().collect();
        Self { rows, next: None, unreachable, coordinators }
    }

    /// Makes the page that is answered: of what all brokers know, unless it is one of them that asks.
    pub(super) async fn page(
        mut self,
        context: &Context,
        headers: &HeaderMap,
        uri: &Uri,
        limit: usize,
    ) -> Self {
        if !forward::is_forwarded(headers) {
            let path = uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str);
            self.add_others(context, |id| forward::ask(context, id, path.to_owned())).await;
        }
        self.cut(limit);
        self
    }

    /// Adds what the other brokers know, each asked by `ask`.
    pub(super) async fn add_others<F: Future<Output = Option<Self>>>(
        &mut self,
        context: &Context,
        ask: impl Fn(u64) -> F,
    ) {
        let (me, image) = (context.node.id(), context.metadata.image());
        let others: Vec<u64> = image.brokers.keys().copied().filter(|id| *id != me).collect();
        let told = join_all(others.iter().map(|id| ask(*id))).await;
        self.add_all(&others, told);
    }

    fn add_all(&mut self, brokers: &[u64], told: Vec<Option<Self>>) {
        for (broker, told) in brokers.iter().zip(told) {
            let Some(told) = told else {
                self.unreachable.insert(*broker);
                continue;
            };
            self.rows.extend(told.rows);
            self.unreachable.extend(told.unreachable);
            self.coordinators.extend(told.coordinators);
            // There is more behind the last of its rows, and behind that of all.
            self.next = self.next.take().or(told.next);
        }
    }

    /// Keeps the first rows, each once: a leader and the one before it may both have spoken for it.
    pub(super) fn cut(&mut self, limit: usize) {
        self.rows.sort_by(|one, other| one.name().cmp(other.name()));
        self.rows.dedup_by(|one, other| one.name() == other.name());
        let is_more = self.next.is_some() || self.rows.len() > limit;
        self.rows.truncate(limit);
        self.next = self.rows.last().filter(|_| is_more).map(|last| last.name().to_owned());
    }

    /// The coordinators that nobody spoke for.
    pub(super) fn missing(&self, context: &Context) -> BTreeSet<u32> {
        let count = context.metadata.image().internal.count(T::KIND);
        (0..count).filter(|it| !self.coordinators.contains(it)).collect()
    }

    /// Returns the rows, if all coordinators were heard.
    pub(super) fn whole(self, context: &Context) -> Option<Vec<T>> {
        (self.missing(context).is_empty() && self.next.is_none()).then_some(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Row for String {
        const KIND: InternalKind = InternalKind(0);

        fn name(&self) -> &str {
            self
        }
    }

    fn listed(names: &[&str], next: Option<&str>) -> CoordinatorList<String> {
        CoordinatorList {
            rows: names.iter().map(|it| (*it).to_owned()).collect(),
            next: next.map(str::to_owned),
            unreachable: BTreeSet::new(),
            coordinators: BTreeSet::new(),
        }
    }

    #[test]
    fn a_page_ends_with_the_name_that_the_next_begins_after() {
        let mut all = listed(&["c", "a"], None);
        all.add_all(&[2, 3], vec![Some(listed(&["b", "a"], None)), None]);
        all.cut(2);
        assert_eq!((all.rows, all.next.as_deref()), (vec!["a".into(), "b".into()], Some("b")));
        assert_eq!(all.unreachable, BTreeSet::from([3]));

        let mut last = listed(&["c"], None);
        last.cut(2);
        assert_eq!((last.rows, last.next), (vec!["c".to_owned()], None));
        // Another broker has more behind its page.
        let mut more = listed(&[], None);
        more.add_all(&[2], vec![Some(listed(&["x"], Some("x")))]);
        more.cut(2);
        assert_eq!(more.next.as_deref(), Some("x"));
    }

    #[test]
    fn other_brokers_rows_are_read_by_the_name_they_are_shown_by() {
        for shown in ["groups", "transactions"] {
            let answer = serde_json::json!({
                (shown): ["a"], "next": null, "unreachable": [2], "coordinators": [7], "missing": [8]
            });
            let list: CoordinatorList<String> = serde_json::from_value(answer).unwrap();
            assert_eq!((list.rows, list.next), (vec!["a".to_owned()], None));
            let told = (list.unreachable, list.coordinators);
            assert_eq!(told, (BTreeSet::from([2]), BTreeSet::from([7])));
        }
    }
}
