//! Where fuzzing begins: one input for every version of every API, one for every codec, made by our own encoders.

use std::collections::BTreeSet;
use std::path::Path;

use quorate::kafka::{Api, Row, TABLE, decode_request};
use quorate::record::{BatchBuilder, Codec};

use crate::batches::{NOW_MS, Repair};

/// Bodies tried for a version of which no simple one is known, and how many are looked at of those that are requests.
const TRIED: usize = 200_000;
const MIXED: usize = 20;

/// Writes the seeds into the corpus, the first directory on the command line; nothing when a file is replayed.
pub fn write(seeds: BTreeSet<Vec<u8>>) {
    let corpus = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(corpus) = corpus.filter(|corpus| Path::new(corpus).is_dir()) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        let path = Path::new(&corpus).join(format!("seed-{number:03}"));
        std::fs::write(path, seed).expect("the corpus can be written to");
    }
}

/// Requests of every API and version: as short as they come, and with something in their arrays.
///
/// # Panics
/// When there is a version of which none is known.
pub fn requests() -> BTreeSet<Vec<u8>> {
    let mut seeds = BTreeSet::new();
    for Row { api, .. } in TABLE {
        for version in api.served_from..=api.max {
            let known = |body: [u8; 64]| request(api, version, &body);
            let mut forms: Vec<_> = fillings().filter_map(known).collect();
            if forms.is_empty() {
                forms = mixtures().filter_map(known).take(MIXED).collect();
            }
            assert!(!forms.is_empty(), "no seed for {} {version}", api.name);
            seeds.extend(forms.iter().min_by_key(|form| form.len()).cloned());
            seeds.extend(forms.into_iter().max_by_key(Vec::len));
        }
    }
    seeds
}

/// Bodies that mean something in many versions: zeros with a few ones somewhere. A zero is an empty string or array
/// where lengths have a fixed width, a one is where they are varints, counted one higher.
fn fillings() -> impl Iterator<Item = [u8; 64]> {
    (0..40).flat_map(|at| {
        (0..4).map(move |ones| {
            let mut body = [0; 64];
            body[at..at + ones].fill(1);
            body
        })
    })
}

/// Where strings that may not be null lie apart: any mixture of zeros and ones, and a few twos for arrays that hold
/// something. The same in every run.
fn mixtures() -> impl Iterator<Item = [u8; 64]> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state >> 60 {
            0..7 => 0,
            7..14 => 1,
            _ => 2,
        }
    };
    std::iter::repeat_with(move || std::array::from_fn(|_| next())).take(TRIED)
}

/// Returns the request that `body` begins with, without what follows it.
fn request(api: &Api, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    // Behind the correlation id a client's name, and from some version on an empty list of tagged fields.
    let headers: [&[u8]; 2] = [&[0, 2, b'm', b'e'], &[0, 2, b'm', b'e', 0]];
    headers.into_iter().find_map(|header| {
        let (key, version) = (api.key.to_be_bytes(), version.to_be_bytes());
        let parts: [&[u8]; 5] = [&key, &version, &[0, 0, 0, 7], header, body];
        let rest = parts.concat();
        let length = i32::try_from(rest.len()).ok()?.to_be_bytes();
        let request = decode_request(&[&length, rest.as_slice()].concat()).ok()?;
        Some(request.encode().ok()?.to_vec())
    })
}

/// Batches of every codec, in every state of repair, and recipes for some.
pub fn batches() -> BTreeSet<Vec<u8>> {
    let mut seeds = BTreeSet::new();
    for (number, repair) in (0_u8..).zip(Repair::ALL) {
        for (which, codec) in (0_u8..).zip(Codec::ALL) {
            // What is packed by the target must not be packed here.
            let (built, bits) = match repair {
                Repair::PackAndSeal => (Codec::None, codec.id()),
                Repair::Nothing | Repair::Seal => (codec, 0),
                Repair::Compose => {
                    seeds.insert(vec![number, 0, which, 3, 0, 4, 6, 0, 5, 0, 101, 12]);
                    continue;
                }
            };
            let batch = BatchBuilder::new()
                .codec(built)
                .attributes(bits)
                .producer(5, 0, 7)
                .record(NOW_MS, Some(b"key"), Some(b"value"))
                .record(NOW_MS - 5, None, Some(&[b'v'; 100]))
                .header("name", Some(b"value"))
                .header("name", None)
                .build();
            for rule in 0..3 {
                seeds.insert([&[number, rule], batch.as_ref()].concat());
            }
        }
    }
    seeds
}
