//! What the README shows of event sourcing is run as it stands.

use std::fs;
use std::path::Path;

use crate::support::cluster::Cluster;
use crate::support::pages::examples;

#[test]
fn what_the_readme_shows_of_event_sourcing_is_so() {
    let cluster = Cluster::start("readme", 3);
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let examples = examples(&fs::read_to_string(text).unwrap());
    for language in ["sh", "python", "java"] {
        assert!(examples.iter().any(|example| example.language == language), "{language}");
    }
    examples.iter().for_each(|example| example.run(&cluster, &cluster.dir, ""));
}
