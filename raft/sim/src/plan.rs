//! Everything about a run that is decided before it begins, drawn from its seed.

use quorate_storage::simulation::{Random, SyncDelay};

/// Time during which faults happen, ticks of a millisecond.
pub const TICKS: u64 = 20_000;
/// Ticks a healed cluster may take to settle: elections by timeout alone take up to half of it.
pub const PATIENCE: u64 = 90_000;

/// Node and group of the replica whose machine may decide otherwise.
pub const WRONG: (u64, u64) = (1, 1);

/// A deliberate defect the run must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Control {
    /// Disks report appends durable before they are.
    AckBeforeFsync,
    /// Disks lose votes in a crash.
    ForgetVote,
    /// A restarted leader resumes its term.
    LeaderRestore,
}

/// Shape of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Nodes are 1 to this.
    pub nodes: u64,
    /// Groups are 1 to this.
    pub groups: u64,
    /// Voters a group begins with.
    pub voters: u64,
    /// Clients per group.
    pub clients: u64,
    /// A client pauses up to this long between two requests, ticks.
    pub think: u64,
    /// Bytes added to a request, at most.
    pub filler: u64,
    /// Message latency, milliseconds.
    pub latency: (u64, u64),
    pub delay: SyncDelay,
    /// Pause between two faults, ticks.
    pub calm: (u64, u64),
    /// How often each kind of fault is drawn.
    pub weights: Weights,
    pub control: Option<Control>,
    /// The machine of [`WRONG`] decides otherwise.
    pub wrong: bool,
}

/// Relative frequencies.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    pub crash: u64,
    pub network: u64,
    pub disk: u64,
    pub transfer: u64,
    pub membership: u64,
    pub stop: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(random: &mut Random, control: Option<Control>) -> Plan {
        let nodes = if random.chance(60) { 3 } else { 5 };
        let many = random.chance(30);
        let groups = random.between(1, if many { 8 } else { 3 });
        let voters = if random.chance(10) { 1 } else { 3 + 2 * random.below(nodes - 2) / 2 };
        let slow = random.chance(30);
        let delay = SyncDelay {
            min: random.below(3),
            max: random.between(3, if slow { 60 } else { 12 }),
            stall_percent: if random.chance(40) { random.between(1, 4) } else { 0 },
            stall: random.between(50, 900),
        };
        let far = random.chance(20);
        let hurried = random.chance(40);
        Plan {
            nodes,
            groups,
            voters: voters.min(nodes) | 1,
            clients: random.between(1, 4),
            think: random.between(5, 120),
            filler: if random.chance(25) { 20_000 } else { random.below(1_500) },
            latency: (random.below(3), random.between(3, if far { 80 } else { 15 })),
            delay,
            calm: if hurried { (50, 700) } else { (300, 2_500) },
            weights: Weights {
                crash: random.between(1, 4),
                network: random.between(1, 4),
                disk: random.below(2),
                transfer: random.below(3),
                membership: random.below(3),
                stop: random.below(2),
            },
            control,
            wrong: false,
        }
    }
}
