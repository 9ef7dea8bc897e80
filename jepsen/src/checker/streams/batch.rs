//! A batch as the history has it: `{:partition 0 :via "http" :rows [[key id expected [tag ...] content] ...] ...}`.

use crate::checker::extra::{field, list, number};
use crate::history::{Edn, int, map, text};

/// Expects a stream that is there, whatever its version.
pub const EXISTS: i64 = -3;
/// By the interface that deletes a stream, whose tombstone has no number.
pub const DELETE: &str = "delete";

/// What a record is to its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Content {
    #[default]
    Event,
    /// What was before is not shown any more.
    Tombstone,
    /// The same, and nothing is appended any more.
    Close,
}

/// A record that is to be appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    /// Its value, that no other record has.
    pub id: i64,
    /// The version of its key just before it; -1 for none or a deleted one, [`EXISTS`]. Nothing is expected without.
    pub expected: Option<i64>,
    pub tags: Vec<String>,
    pub content: Content,
}

/// Records that are appended together or not at all, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub partition: i64,
    /// Which interface it goes through, for those who read the history.
    pub via: String,
    pub rows: Vec<Row>,
    /// The offset of its first record.
    pub expected_offset: Option<i64>,
    /// No record with this tag behind that offset.
    pub no_tag_after: Vec<(String, i64)>,
    /// By which a broker knows it again.
    pub token: Option<String>,
}

impl Batch {
    pub fn to_edn(&self) -> Edn {
        let maybe = |number: Option<i64>| number.map_or(Edn::Nil, Edn::Integer);
        let tags = |tags: &[String]| Edn::Vector(tags.iter().map(text).collect());
        let row = |it: &Row| {
            let (key, id, content) = (text(&it.key), int(it.id), text(it.content.name()));
            Edn::Vector(vec![key, id, maybe(it.expected), tags(&it.tags), content])
        };
        let after = |(tag, offset): &(String, i64)| Edn::Vector(vec![text(tag), int(*offset)]);
        map([
            ("partition", int(self.partition)),
            ("via", text(&self.via)),
            ("rows", Edn::Vector(self.rows.iter().map(row).collect())),
            ("expected-offset", maybe(self.expected_offset)),
            ("no-tag-after", Edn::Vector(self.no_tag_after.iter().map(after).collect())),
            ("token", self.token.as_ref().map_or(Edn::Nil, text)),
        ])
    }

    pub fn of(value: &Edn) -> Option<Batch> {
        let after = |it: &Edn| match list(Some(it)) {
            [Edn::String(tag), Edn::Integer(offset)] => Some((tag.clone(), *offset)),
            _ => None,
        };
        Some(Batch {
            partition: number(value, "partition")?,
            via: string(value, "via").unwrap_or_default(),
            rows: list(field(value, "rows")).iter().map(Row::of).collect::<Option<_>>()?,
            expected_offset: number(value, "expected-offset"),
            no_tag_after: list(field(value, "no-tag-after"))
                .iter()
                .map(after)
                .collect::<Option<_>>()?,
            token: string(value, "token"),
        })
    }

    /// How many records it has.
    pub fn count(&self) -> i64 {
        i64::try_from(self.rows.len()).unwrap_or(i64::MAX)
    }

    /// Whether its record cannot be told from others of its key by itself.
    pub fn is_nameless(&self) -> bool {
        self.via == DELETE
    }

    /// For a case in words.
    pub fn shown(&self) -> String {
        let row = |it: &Row| {
            let (key, id, content) = (&it.key, it.id, it.content.name());
            let expected = it.expected.map(|expected| format!(" if at {expected}"));
            format!("{content} {id} of {key}{}", expected.unwrap_or_default())
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("[{}] to partition {} via {}", rows.join(", "), self.partition, self.via)
    }
}

impl Row {
    fn of(value: &Edn) -> Option<Row> {
        let [Edn::String(key), Edn::Integer(id), expected, tags, Edn::String(content)] =
            list(Some(value))
        else {
            return None;
        };
        let expected = match expected {
            Edn::Integer(expected) => Some(*expected),
            _ => None,
        };
        let content = Content::of(content)?;
        Some(Row { key: key.clone(), id: *id, expected, tags: strings(tags), content })
    }
}

impl Content {
    pub const ALL: [Content; 3] = [Content::Event, Content::Tombstone, Content::Close];

    pub fn name(self) -> &'static str {
        match self {
            Content::Event => "event",
            Content::Tombstone => "tombstone",
            Content::Close => "close",
        }
    }

    pub fn of(name: &str) -> Option<Content> {
        Content::ALL.into_iter().find(|it| it.name() == name)
    }
}

pub fn string(value: &Edn, name: &str) -> Option<String> {
    match field(value, name)? {
        Edn::String(text) => Some(text.clone()),
        _ => None,
    }
}

pub fn strings(value: &Edn) -> Vec<String> {
    let text = |it: &Edn| match it {
        Edn::String(text) => Some(text.clone()),
        _ => None,
    };
    list(Some(value)).iter().filter_map(text).collect()
}
