use proptest::prelude::*;

use super::{History, acked, batch, conflict, row};
use crate::history::Kind;

/// What one of several clients does when it is its turn.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Begins an append upon the version as it is, off by so much.
    Append(i64),
    /// Begins a read.
    Read,
    /// What it began takes effect, and later is answered.
    Effect,
    Answer,
    /// Nobody waits for the answer any more.
    Vanish,
    /// What nobody waits for takes effect after all.
    Late,
}

fn turns() -> impl Strategy<Value = Vec<(usize, Turn)>> {
    let turn = prop_oneof![
        (-1i64..=1).prop_map(Turn::Append),
        Just(Turn::Read),
        Just(Turn::Effect),
        Just(Turn::Answer),
        Just(Turn::Vanish),
        Just(Turn::Late),
    ];
    prop::collection::vec((0usize..4, turn), 1..80)
}

/// A client's operation: its number and what it expects if it appends, and what came of it.
struct Doing {
    open: super::Open,
    append: Option<(i64, i64)>,
    told: Option<Result<i64, i64>>,
}

/// Plays a broker that does everything at one moment. With a lie, one answer is another one.
fn play(turns: &[(usize, Turn)], lie: Option<(usize, i64)>) -> (History, bool) {
    let mut history = History::default();
    let mut clients: [Option<Doing>; 4] = [None, None, None, None];
    let (mut log, mut next, mut answers, mut lied) = (Vec::new(), 1, 0, false);
    let mut vanished = Vec::new();
    for (client, turn) in turns {
        let client = &mut clients[*client];
        let version = log.len() as i64;
        match (turn, client.take()) {
            (Turn::Append(off), None) => {
                let expected = (version + off).max(0);
                let sent = batch(vec![row("k", next, Some(expected))]);
                let open = history.begin_append(&sent);
                *client = Some(Doing { open, append: Some((next, expected)), told: None });
                next += 1;
            }
            (Turn::Read, None) => {
                let open = history.begin_look("k", "linearizable", false);
                *client = Some(Doing { open, append: None, told: None });
            }
            (Turn::Effect, Some(doing)) if doing.told.is_none() => {
                let told = match doing.append {
                    Some((id, expected)) if expected == version => {
                        log.push(("k", id));
                        Ok(version)
                    }
                    _ => Err(version),
                };
                *client = Some(Doing { told: Some(told), ..doing });
            }
            (Turn::Answer, Some(Doing { open, append, told: Some(told) })) => {
                answers += 1;
                let off = lie.filter(|(at, _)| *at == answers).map_or(0, |(_, off)| off);
                lied |= off != 0;
                match (append, told) {
                    (Some(_), Ok(at)) => {
                        history.end(open, Kind::Ok, acked(at, at + 1 + off, at + 1 + off));
                    }
                    (Some(_), Err(at)) => {
                        history.end(open, Kind::Fail, conflict("version", at + off));
                    }
                    (None, Ok(at) | Err(at)) => {
                        let version = crate::history::int(at + off);
                        history.end(open, Kind::Ok, vec![("version", version)]);
                    }
                }
            }
            (Turn::Vanish, Some(Doing { open, append: Some(append), told })) => {
                history.end(open, Kind::Info, Vec::new());
                vanished.extend(told.is_none().then_some(append));
            }
            (Turn::Late, other) => {
                *client = other;
                let late = vanished.pop().filter(|(_, expected)| *expected == version);
                log.extend(late.map(|(id, _)| ("k", id)));
            }
            (_, other) => *client = other,
        }
    }
    history.log(&log);
    (history, lied)
}

/// Of one key, by four clients at once; the search has its time limit.
#[test]
fn a_long_history_is_judged_in_time() {
    let some = [Turn::Append(0), Turn::Effect, Turn::Answer, Turn::Read, Turn::Effect];
    let turn = |step: usize| {
        let rare = match step % 211 {
            0 => Turn::Vanish,
            1 => Turn::Late,
            _ => some[(step / 4 + step * step / 7) % some.len()],
        };
        (step * 7 / 3 % 4, rare)
    };
    let turns: Vec<_> = (0..24_000).map(turn).collect();
    let (history, _) = play(&turns, None);
    assert!(history.ops.len() > 3_000, "{} operations", history.ops.len());
    assert_eq!(history.wrong(), [""; 0]);
    let (history, lied) = play(&turns, Some((500, -1)));
    assert!(lied && !history.wrong().is_empty());
}

proptest! {
    #[test]
    fn whatever_a_broker_answers_that_does_all_at_one_moment_is_valid(turns in turns()) {
        let (history, _) = play(&turns, None);
        prop_assert_eq!(history.wrong(), Vec::<String>::new());
    }

    /// The pass over known states and the search by somebody else say the same of versions.
    #[test]
    fn both_ways_to_judge_versions_agree(turns in turns(), at in 1usize..20, off in -2i64..=2) {
        let (history, _) = play(&turns, Some((at, off)));
        let wrong = history.wrong();
        let has = |names: &[&str]| wrong.iter().any(|it| names.contains(&it.as_str()));
        // A version told to who appended is compared with the log, and a conflict that names what was expected is none.
        let others = ["version-told-wrongly", "version-given-twice"];
        let pass = ["stale-read", "conflict-unjustified", "seen-before-sent"];
        let search = has(&["versions-not-linearizable"]);
        prop_assert!(!search || has(&pass) || has(&others), "{:?}", wrong);
        if has(&["stale-read", "seen-before-sent"]) {
            prop_assert!(search, "{:?}", wrong);
        }
    }

    #[test]
    fn a_version_that_nobody_can_have_seen_is_found(turns in turns(), at in 1usize..20) {
        let (history, lied) = play(&turns, Some((at, 1_000)));
        prop_assert_eq!(history.wrong().is_empty(), !lied);
    }
}
