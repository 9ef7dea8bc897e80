use clap::CommandFactory;

use super::*;
use crate::config::HostPort;

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[test]
fn every_command_carries_an_example_in_its_help() {
    fn look(command: &clap::Command) {
        let leaf = command.get_subcommands().next().is_none();
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(!leaf || after.contains("quorate "), "{} has no example", command.get_name());
        command.get_subcommands().filter(|command| command.get_name() != "help").for_each(look);
    }
    look(&Line::command());
}

#[test]
fn every_flag_of_serve_sets_a_setting() {
    let typed = "quorate serve --data-dir /d --node-id 3 --kafka 127.0.0.1:1 --http 127.0.0.1:2 --peer 127.0.0.1:3 \
                 --kafka-advertised a:1 --http-advertised a:2 --peer-advertised a:3 --join b:1,c:2 --rack r \
                 --log-level debug --log-format json --set topics.partitions=7";
    let Command::Serve(options) = Line::try_parse_from(typed.split_whitespace()).unwrap().command
    else {
        panic!("serve was typed");
    };
    let config = options.load([]).unwrap().config;
    assert_eq!(config.broker.id, Some(3));
    assert_eq!(config.broker.rack.as_deref(), Some("r"));
    assert_eq!(config.kafka.listen.port(), 1);
    assert_eq!(config.http.advertised, Some(HostPort::new("a", 2)));
    assert_eq!(config.peer.join, [HostPort::new("b", 1), HostPort::new("c", 2)]);
    assert_eq!(config.log.level.as_str(), "debug");
    assert_eq!(config.topics.partitions, 7);
}

#[test]
fn a_wrong_setting_is_wrong_usage() {
    let typed = ["quorate", "serve", "--set", "kafka.nonsense=1"];
    let Command::Serve(options) = Line::try_parse_from(typed).unwrap().command else {
        panic!("serve was typed");
    };
    let failure = Failure::from(options.load([]).unwrap_err());
    assert_eq!(failure.code(), 2);
    assert!(failure.to_string().contains("kafka.nonsense"), "{failure}");
}
