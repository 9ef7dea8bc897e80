//! The list of a suite: one line a test, `NAME WHEN WHY`. WHEN is `short` for what takes seconds, `long` for what else
//! is run, and `no` with the reason. Of a test that is run in part, the line goes on with `only`, the parts with commas
//! between and, after two dashes, why not the others. `alone` behind WHEN is for what runs when no other does: it
//! measures time, or is slow to delete topics that its own client asks for, and so makes, again. `NAME@VARIANT` is the
//! same test run another way.

use std::collections::BTreeSet;

/// The reason of what is about the client alone, or brings a broker of its own.
const NO_BROKER: &str = "needs no broker";

#[derive(Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub variant: String,
    /// Whether it is run, and if so whether among the short ones.
    pub short: Option<bool>,
    /// Whether nothing else runs at that time.
    pub alone: bool,
    /// The parts that are run; none means all.
    pub parts: Vec<String>,
    reason: String,
}

pub fn read(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| row(line).unwrap_or_else(|wrong| panic!("{line}: {wrong}"))).collect()
}

fn row(line: &str) -> Result<Row, String> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (when, why) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    let short = match when {
        "short" => Some(true),
        "long" => Some(false),
        "no" => None,
        other => return Err(format!("{other:?} is none of short, long and no")),
    };
    let alone = why.trim().strip_prefix("alone");
    let (alone, why) = (alone.is_some(), alone.unwrap_or(why));
    let (parts, reason) = match why.trim().strip_prefix("only ") {
        Some(parts) => parts.split_once(" -- ").ok_or("only PARTS needs -- and the reason")?,
        None => ("", why.trim()),
    };
    let parts = parts.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    if (short.is_none() || !parts.is_empty()) == reason.is_empty() {
        return Err("what is not run has a reason, and nothing else has".into());
    }
    let (name, variant) = name.split_once('@').unwrap_or((name, ""));
    let (name, variant, reason) = (name.to_owned(), variant.to_owned(), reason.to_owned());
    Ok(Row { name, variant, short, alone, parts, reason })
}

/// Every test that the suite has is in the list once, and no other is.
pub fn check(rows: &[Row], names: &BTreeSet<String>) {
    let mut listed = BTreeSet::new();
    let twice: Vec<&Row> =
        rows.iter().filter(|row| !listed.insert((&row.name, &row.variant))).collect();
    let plain: BTreeSet<&String> =
        rows.iter().filter(|row| row.variant.is_empty()).map(|row| &row.name).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !plain.contains(name)).collect();
    let unknown: Vec<&Row> = rows.iter().filter(|row| !names.contains(&row.name)).collect();
    assert!(
        twice.is_empty() && missing.is_empty() && unknown.is_empty(),
        "listed twice: {twice:#?}\nnot listed, try them and add a line: {missing:#?}\nnot in the suite: {unknown:#?}"
    );
}

/// How many tests are run whole, in part, another way as well, not run for another reason than that they need no broker,
/// and not run as they need none: the columns of the table in `tests/clients/README.md`.
pub fn counts(rows: &[Row]) -> String {
    let count = |wanted: fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let counts = [
        count(|row| row.variant.is_empty() && row.short.is_some() && row.parts.is_empty()),
        count(|row| row.variant.is_empty() && row.short.is_some() && !row.parts.is_empty()),
        count(|row| !row.variant.is_empty() && row.short.is_some()),
        count(|row| row.short.is_none() && row.reason != NO_BROKER),
        count(|row| row.short.is_none() && row.reason == NO_BROKER),
    ];
    counts.map(|count| count.to_string()).join(" | ")
}

#[test]
fn a_line_says_when_a_test_is_run_or_why_not() {
    let rows = read(
        "# a comment\n\na_b short alone\nc   long only x, y -- z: not there\nd@e no   no reason\n",
    );
    assert_eq!((rows[0].name.as_str(), rows[0].short), ("a_b", Some(true)));
    assert_eq!((rows[0].alone, rows[1].alone), (true, false));
    assert_eq!((rows[1].short, rows[1].parts.join("+").as_str()), (Some(false), "x+y"));
    assert_eq!(rows[1].reason, "z: not there");
    assert_eq!((rows[2].name.as_str(), rows[2].variant.as_str(), rows[2].short), ("d", "e", None));
    for wrong in ["a", "a maybe", "a no", "a short because", "a long only x"] {
        assert!(row(wrong).is_err(), "{wrong}");
    }
}
