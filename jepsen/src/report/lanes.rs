//! Faults side by side: each gets the first lane that is free, those of one name keep to the same lanes and colour.

use crate::fault::FaultRecord;

/// Colours that can be told apart, also side by side.
const COLOURS: &[&str] = &[
    "#7c5cc4", "#d9772b", "#2a8fbd", "#b8487f", "#5a8f3c", "#8a6d3b", "#4a6fd1", "#c0504d",
    "#2f9e8f", "#8d8d2f",
];

/// A fault in the picture.
pub struct Band<'a> {
    pub fault: &'a FaultRecord,
    /// From 0, downwards.
    pub lane: usize,
    pub colour: &'static str,
    pub from: u64,
    pub to: u64,
}

/// Bands in order of their beginning, and how many lanes they take. A fault that never ended lasts to `end`.
pub fn bands(faults: &[FaultRecord], end: u64) -> (Vec<Band<'_>>, usize) {
    let mut sorted: Vec<&FaultRecord> = faults.iter().collect();
    sorted.sort_by_key(|fault| fault.begin_ns);
    let mut names: Vec<&str> = sorted.iter().map(|fault| fault.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // Per lane, whose it is and when it is free again.
    let mut lanes: Vec<(&str, u64)> = Vec::new();
    let mut bands = Vec::new();
    for fault in sorted {
        let (from, to) = (fault.begin_ns, fault.end_ns.unwrap_or(end));
        let free = lanes.iter().position(|(name, until)| *name == fault.name && *until <= from);
        let lane = free.unwrap_or_else(|| {
            lanes.push((&fault.name, 0));
            lanes.len() - 1
        });
        lanes[lane].1 = to;
        let number = names.iter().position(|name| *name == fault.name).unwrap_or_default();
        bands.push(Band { fault, lane, colour: COLOURS[number % COLOURS.len()], from, to });
    }
    (bands, lanes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Outcome;

    #[test]
    fn bands_of_a_lane_do_not_overlap() {
        let fault = |name: &str, begin_ns, end_ns| FaultRecord {
            name: name.to_owned(),
            begin_ns,
            end_ns,
            begin: Outcome::Skipped { reason: String::new() },
            end: None,
        };
        let faults = [
            fault("kill", 0, Some(10)),
            fault("kill", 5, Some(20)),
            fault("pause", 6, None),
            fault("kill", 10, None),
        ];
        let (bands, lanes) = bands(&faults, 100);
        let lane: Vec<usize> = bands.iter().map(|band| band.lane).collect();
        assert_eq!((lane, lanes), (vec![0, 1, 2, 0], 3));
        assert_eq!(bands[2].to, 100);
        assert_eq!(bands[0].colour, bands[1].colour);
    }
}
