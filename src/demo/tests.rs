use super::*;

fn options(directory: PathBuf) -> DemoOptions {
    // Ports nobody is likely to use, not even for a connection of its own (those begin at 32768): the checks bind them.
    DemoOptions {
        brokers: 3,
        kafka_port: 14_092,
        http_port: 14_080,
        peer_port: 14_192,
        data_dir: Some(directory),
    }
}

#[test]
fn a_printed_line_is_one_that_can_be_pasted() {
    let layout = Layout::new(&options("/data/my demo".into())).unwrap();
    let line = layout.brokers[1].command_line("quorate");
    assert_eq!(
        line,
        "quorate serve --data-dir '/data/my demo/broker-2' --node-id 2 --kafka 127.0.0.1:14093 \
         --http 127.0.0.1:14081 --peer 127.0.0.1:14193 --join 127.0.0.1:14192,127.0.0.1:14194"
    );
    assert_eq!(quoted("it's"), r"'it'\''s'");
}

#[test]
fn every_broker_is_told_of_the_others_so_that_none_forms_a_second_cluster() {
    let layout = Layout::new(&options("/data".into())).unwrap();
    assert!(layout.brokers.iter().all(|broker| broker.join.len() == 2));
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = DemoOptions { brokers: 1, http_port: port, ..options(directory.path().into()) };
    let failure = Layout::new(&options).unwrap().check().unwrap_err().to_string();
    assert!(failure.contains(&port.to_string()) && failure.contains("--http-port"), "{failure}");
}

#[test]
fn data_of_three_brokers_is_not_started_with_two() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("broker-3/db")).unwrap();
    let options = DemoOptions { brokers: 2, ..options(directory.path().into()) };
    let failure = Layout::new(&options).unwrap().check().unwrap_err();
    assert_eq!(failure.code(), 2);
    assert!(failure.to_string().contains("--brokers"), "{failure}");
}

#[test]
fn overlapping_ports_are_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        DemoOptions { kafka_port: 14_090, peer_port: 14_091, ..options(directory.path().into()) };
    assert_eq!(Layout::new(&options).unwrap().check().unwrap_err().code(), 2);
    let options = DemoOptions { kafka_port: 65_535, ..options };
    assert!(Layout::new(&options).is_err());
}

#[test]
fn a_stale_pid_file_is_no_running_broker() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(&options(directory.path().into())).unwrap();
    let broker = &layout.brokers[0];
    std::fs::create_dir_all(&broker.directory).unwrap();
    // This very process lives, but was not started with that directory.
    std::fs::write(broker.pid_file(), std::process::id().to_string()).unwrap();
    assert_eq!(broker.running_pid(), None);
}
