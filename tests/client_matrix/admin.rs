//! Topics, their configs, and groups, through the client's own administration.

use super::Client;
use crate::support::clients;
use crate::support::cluster::Cluster;

/// What each step says, as against Kafka: the number of an error, or what was seen.
const STEPS: [(&str, &str); 15] = [
    ("create", "0"),
    ("create again", "36"),
    ("listed", "true"),
    ("grow", "0"),
    ("partitions", "3"),
    ("config", "5000"),
    ("alter", "0"),
    ("altered", "7000"),
    ("delete", "0"),
    ("delete again", "3"),
    ("groups", "true"),
    ("group", "Empty"),
    ("offset", "7"),
    ("delete group", "0"),
    ("delete group again", "69"),
];

pub fn admin(client: &Client) {
    let (cluster, topic, group) = (Cluster::shared(), client.topic("admin"), client.topic("of"));
    cluster.create_topic(&group, 1, 3);
    clients::commit(&cluster.bootstrap(), &group, &group, 7);
    let args = ["admin", &cluster.bootstrap(), &topic, &group];
    if client.refuses("admin", &args) {
        return;
    }
    let said = client.run(&args, "").ok(&format!("{} administers {topic}", client.name));
    let steps = STEPS.iter().filter(|(step, _)| !client.lacks(&format!("step {step}")));
    let expected: Vec<String> = steps.map(|(step, says)| format!("{step} {says}")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{}", client.name);
}
