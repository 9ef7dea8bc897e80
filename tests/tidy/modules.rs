//! Which modules of its crate a module may name.

use std::collections::BTreeSet;

use super::{complain, files};

/// A module and those it may name.
type Row = (&'static str, &'static str);

/// The modules of each crate. Each names only what has its own row above it, so none can come round to itself.
const MODULES: [(&str, &[Row]); 4] = [
    (
        "src/",
        &[
            ("metadata", ""),
            ("record", ""),
            ("config", "metadata"),
            ("telemetry", "config"),
            ("wall_clock", ""),
            ("percent", ""),
            ("replica", "metadata"),
            ("partition", "metadata record replica telemetry wall_clock"),
            ("controller", "config metadata replica telemetry wall_clock"),
            ("coordinator", "controller metadata replica"),
            (
                "transaction",
                "controller coordinator metadata partition replica telemetry wall_clock",
            ),
            ("context", "config controller coordinator metadata partition transaction"),
            (
                "http",
                "config context controller coordinator metadata partition percent record telemetry \
                 transaction wall_clock",
            ),
            (
                "kafka",
                "config context controller coordinator metadata partition record telemetry \
                 transaction wall_clock",
            ),
            (
                "broker",
                "config context controller coordinator http kafka metadata partition replica \
                 transaction wall_clock",
            ),
            ("client", "config percent record"),
            ("terminal", "client config"),
            ("demo", "config terminal"),
            ("bench", "client config demo record telemetry terminal"),
            ("cli", "bench broker client config demo percent record telemetry terminal"),
        ],
    ),
    (
        "storage/src/",
        &[
            ("activity", ""),
            ("age", ""),
            ("failpoint", ""),
            ("fatal", ""),
            ("fragments", ""),
            ("generations", ""),
            ("hold", ""),
            ("keys", ""),
            ("pace", ""),
            ("runs", ""),
            ("segments", ""),
            ("space", ""),
            ("tail", ""),
            ("types", ""),
            ("error", "space"),
            ("options", "space"),
            ("ballast", "space"),
            ("entry", "keys"),
            ("chunks", "keys"),
            ("counters", "chunks"),
            ("group", "chunks runs segments tail"),
            ("cell", "group"),
            ("manifest", "fragments"),
            ("wal", "fragments"),
            ("inventory", "failpoint keys manifest wal"),
            ("synced", "inventory wal"),
            ("moves", "group segments"),
            ("queue", "chunks group moves runs"),
            ("rocks", "fatal hold keys"),
            ("chunk_files", "rocks"),
            ("flow", "rocks"),
            ("recover", "chunks counters entry generations group keys rocks runs segments"),
            ("retire", ""),
            ("sync", ""),
            ("watch", ""),
            (
                "shared",
                "activity cell chunk_files counters flow generations inventory options queue retire \
                 space sync synced watch",
            ),
            ("corrupt", "group queue shared"),
            ("read", "corrupt entry group keys rocks shared"),
            ("measure", "activity ballast shared space"),
            ("rewrite", "corrupt counters entry fatal group keys moves rocks shared"),
            (
                "retire_thread",
                "age counters failpoint fatal keys measure pace queue retire rewrite \
                 rocks shared",
            ),
            ("sync_thread", "activity failpoint fatal rocks shared sync synced"),
            ("watch_thread", "measure rocks shared"),
            (
                "writer",
                "activity chunks counters entry failpoint fatal group keys moves queue recover \
                 rocks runs segments shared sync synced",
            ),
            (
                "db",
                "activity ballast cell chunk_files counters failpoint fatal flow inventory keys \
                 measure queue recover retire retire_thread rocks shared space sync \
                 sync_thread synced wal watch watch_thread writer",
            ),
            ("state", "db group keys rocks"),
            ("chunk_read", "chunks group keys queue rocks shared"),
            ("chunk_writer", "chunk_files chunks db failpoint keys rocks"),
            ("log", "chunks db entry group queue read state"),
            ("chunk_log", "chunk_read chunk_writer chunks group log queue"),
            ("simulation", "chunks group read sync"),
        ],
    ),
    (
        "raft/src/",
        &[
            ("ids", ""),
            ("digest", ""),
            ("error", ""),
            ("options", ""),
            ("divergence", ""),
            ("condition", ""),
            ("config", ""),
            ("contact", ""),
            ("catch_up", ""),
            ("failed_groups", ""),
            ("platform", ""),
            ("runtime", ""),
            ("drain", ""),
            ("suspects", ""),
            ("status", "divergence"),
            ("records", ""),
            ("overlay", ""),
            ("keyed", "digest overlay"),
            ("machine", "error keyed records"),
            ("calls", "error"),
            ("stall", "config"),
            ("codec", "error ids"),
            ("page", "codec error"),
            ("frozen", "error keyed page records"),
            ("snapshot", "frozen"),
            ("types", "codec error ids runtime snapshot"),
            ("checkpoint", "codec error types"),
            ("states", "codec divergence error"),
            ("staging", "checkpoint digest keyed page platform records snapshot types"),
            ("shared", "codec contact frozen options overlay staging states status types"),
            ("due_groups", "checkpoint shared"),
            ("failure", "due_groups suspects"),
            (
                "transport",
                "catch_up checkpoint codec condition config error failure frozen page platform \
                 shared snapshot types",
            ),
            ("store", "codec error platform transport types"),
            (
                "apply",
                "checkpoint digest divergence due_groups error frozen keyed machine overlay platform \
                 records shared snapshot staging states store types",
            ),
            ("promise", "codec error platform store types"),
            ("erase", "codec promise shared transport types"),
            (
                "replica",
                "apply divergence erase failed_groups shared status suspects transport types",
            ),
            (
                "core",
                "apply calls catch_up condition config divergence drain due_groups error \
                 failed_groups failure options platform promise replica shared stall states \
                 store suspects transport",
            ),
            ("progress", "error replica types"),
            ("views", "codec core error types"),
            ("transfer", "core error progress replica transport types views"),
            (
                "rebuild",
                "codec core divergence error progress replica states transfer transport types",
            ),
            ("compare", "codec core divergence error rebuild replica states transport"),
            ("membership", "core error progress replica transfer"),
            ("propose", "config core error machine replica types"),
            (
                "group",
                "core divergence error keyed machine membership propose replica status transfer",
            ),
            ("elections", "core replica shared suspects transfer transport types views"),
            ("hand_over", "core transfer"),
            ("disk_watch", "core stall"),
            ("maintenance", "core replica shared transfer"),
            (
                "server",
                "calls checkpoint codec compare core due_groups error page platform rebuild replica \
                 snapshot staging transport types",
            ),
            (
                "node",
                "apply calls codec compare condition config core disk_watch elections error \
                 group hand_over machine maintenance options platform promise server stall \
                 status store transport",
            ),
        ],
    ),
    (
        "jepsen/src/",
        &[
            ("history", ""),
            ("net", ""),
            ("checker", "history"),
            ("summary", "checker"),
            ("environment", "history"),
            ("admin", "environment"),
            ("client", "environment history"),
            ("sandbox", "admin checker environment net"),
            ("fault", "admin client net sandbox"),
            ("report", "checker fault history"),
            ("workload", "admin checker client environment history"),
            (
                "run",
                "admin checker client environment fault history net report sandbox \
                 summary workload",
            ),
            ("nemesis", "fault run"),
            ("scenario", "admin client environment fault history net run sandbox workload"),
            ("cli", "checker fault history nemesis run sandbox scenario summary workload"),
        ],
    ),
];

/// The modules of its own crate that a file's code names, its unit tests left out.
fn modules_named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|next: char| next != '_' && !next.is_alphanumeric()).next().unwrap(),
        };
        let words = names.split(|next: char| next != '_' && !next.is_alphanumeric());
        named.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    named
}

#[test]
fn every_module_names_only_modules_below_it() {
    let mut broken = Vec::new();
    for (root, modules) in MODULES {
        for (at, (module, allowed)) in modules.iter().enumerate() {
            let above = |name: &&str| !modules[..at].iter().any(|(module, _)| module == name);
            let above = allowed.split_whitespace().filter(above);
            broken.extend(above.map(|name| format!("{module}: {name}")));
        }
        let known = |name: &str| modules.iter().find(|(module, _)| *module == name);
        for (file, text) in files(".rs") {
            let Some(path) = file.strip_prefix(root) else { continue };
            if path.ends_with("tests.rs") || path.contains("tests/") {
                continue;
            }
            let top = path.split(['/', '.']).next().unwrap_or_default();
            // The crate's own root and its programs name everything.
            let Some((_, allowed)) = known(top) else {
                let own = ["lib", "main", "mutant"].contains(&top);
                broken.extend((!own).then(|| format!("{file} has no row")));
                continue;
            };
            let others = modules_named(&text).into_iter().filter(|name| known(name).is_some());
            let others = others
                .filter(|name| name != top && !allowed.split_whitespace().any(|it| it == name));
            broken.extend(others.map(|name| format!("{file} names {name}")));
        }
    }
    complain("modules name what lies below them", &broken);
}
