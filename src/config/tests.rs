use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[Flag]) -> Result<Resolved, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("quorate.toml");
    std::fs::write(&path, file).unwrap();
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&path), environment, flags)
}

fn refusal(file: &str, environment: &[(&str, &str)], flags: &[Flag]) -> String {
    load(file, environment, flags).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_a_useful_broker() {
    let config = load("", &[], &[]).unwrap().config;
    assert_eq!(config, Config::default());
    assert_eq!(config.kafka.listen.to_string(), "127.0.0.1:9092");
}

#[test]
fn the_printed_document_is_a_file_that_means_the_same() {
    assert_eq!(load(&Config::document(), &[], &[]).unwrap().config, Config::default());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "[kafka]\nlisten = '127.0.0.1:1'\n[http]\nlisten = '127.0.0.1:2'\n[peer]\nlisten = '127.0.0.1:3'\n";
    let environment =
        [("QUORATE_HTTP_LISTEN", "127.0.0.1:20"), ("QUORATE_PEER_LISTEN", "127.0.0.1:30")];
    let flag = Flag { key: "peer.listen".into(), flag: "--peer", value: "127.0.0.1:300".into() };
    let resolved = load(file, &environment, &[flag]).unwrap();
    assert_eq!(resolved.config.kafka.listen.port(), 1);
    assert_eq!(resolved.config.http.listen.port(), 20);
    assert_eq!(resolved.config.peer.listen.port(), 300);
    assert_eq!(resolved.source("peer.listen"), Source::Flag("--peer"));
    assert_eq!(resolved.source("log.level"), Source::Default);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_guess() {
    let text = refusal("[kafka]\nlistten = '127.0.0.1:1'\n", &[], &[]);
    assert!(
        text.contains("kafka.listten")
            && text.contains("quorate.toml")
            && text.contains("kafka.listen?"),
        "{text}"
    );
    let text = refusal("[kafak]\nlisten = '127.0.0.1:1'\n", &[], &[]);
    assert!(text.contains("unknown setting kafak"), "{text}");
    let text = refusal("", &[("QUORATE_KAFKA_LISTENN", "x")], &[]);
    assert!(
        text.contains("QUORATE_KAFKA_LISTENN") && text.contains("QUORATE_KAFKA_LISTEN?"),
        "{text}"
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_its_place_and_the_range() {
    let text = refusal("[raft]\nping_interval_ms = 5\n", &[], &[]);
    assert!(
        text.contains("raft.ping_interval_ms = 5") && text.contains("from 10 to 10000"),
        "{text}"
    );
    let text = refusal("", &[("QUORATE_LOG_FORMAT", "xml")], &[]);
    assert!(
        text.contains("environment variable QUORATE_LOG_FORMAT") && text.contains("text or json"),
        "{text}"
    );
    let flag = Flag { key: "kafka.listen".into(), flag: "--kafka", value: "nonsense".into() };
    let text = refusal("", &[], &[flag]);
    assert!(text.contains("flag --kafka") && text.contains("127.0.0.1:9092"), "{text}");
}

#[test]
fn the_range_of_a_setting_is_what_is_obeyed() {
    // Requests are waited on for five minutes at most, whatever they are.
    let text = refusal("[kafka]\nfetch_wait_ms_max = 300001\n", &[], &[]);
    assert!(text.contains("from 0 to 300000"), "{text}");
    // Above it, ids are left for brokers that ask for none.
    let text = refusal("[broker]\nid = 1000000001\n", &[], &[]);
    assert!(text.contains("from 1 to 1000000000"), "{text}");
}

#[test]
fn a_value_of_another_toml_type_is_refused() {
    assert!(refusal("[topics]\npartitions = '3'\n", &[], &[]).contains("whole number"));
    assert!(refusal("[topics]\nauto_create = 1\n", &[], &[]).contains("true or false"));
    assert!(refusal("kafka = 3\n", &[], &[]).contains("[kafka]"));
}

#[test]
fn a_misspelt_log_level_is_refused_and_a_list_by_module_is_taken() {
    assert!(refusal("[log]\nlevel = 'inof'\n", &[], &[]).contains("log.level"));
    let config = load("[log]\nlevel = 'warn,quorate_raft=debug'\n", &[], &[]).unwrap().config;
    assert_eq!(config.log.level.as_str(), "warn,quorate_raft=debug");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_places() {
    let text = refusal("[raft]\ndead_after_ms = 200\n", &[], &[]);
    assert!(
        text.contains("raft.dead_after_ms = 200") && text.contains("raft.ping_interval_ms = 100"),
        "{text}"
    );
    let text = refusal("[kafka]\nlisten = '0.0.0.0:9092'\n", &[], &[]);
    assert!(text.contains("kafka.advertised"), "{text}");
    let text = refusal("[http]\nlisten = '127.0.0.1:9092'\n", &[], &[]);
    assert!(text.contains("cannot share"), "{text}");
    let text = refusal("[storage]\nstall_end_ms = 3000\n", &[], &[]);
    assert!(text.contains("storage.stall_step_aside_ms = 2000"), "{text}");
    let marks = "[storage]\nfree_bytes_min = 90000000\nfree_bytes_resume = 80000000\n";
    let text = refusal(marks, &[], &[]);
    assert!(text.contains("storage.free_bytes_resume = 80000000"), "{text}");
}

#[test]
fn variables_an_orchestrator_makes_for_a_service_of_our_name_are_not_settings() {
    let environment = [
        ("QUORATE_SERVICE_HOST", "10.0.0.1"),
        ("QUORATE_SERVICE_PORT", "9092"),
        ("QUORATE_HTTP_SERVICE_PORT_HTTP_ADMIN", "8080"),
        ("QUORATE_PORT", "tcp://10.0.0.1:9092"),
        ("QUORATE_KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("QUORATE_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
        ("QUORATE_KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("QUORATE_PORT_9092_UDP_ADDR", "10.0.0.1"),
        ("QUORATE_PORT_9092_UDP_PROTO", "udp"),
        ("QUORATE_PORT_9092_SCTP_PORT", "9092"),
        ("QUORATE_PORT_9092_TCP_PORT_START", "9092"),
        ("QUORATE_PORT_9092_TCP_END", "9094"),
        ("QUORATE_NAME", "/web/quorate"),
        ("QUORATE_ENV_PATH", "/bin"),
        ("QUORATE_1_ENV_GOSU_VERSION", "1.17"),
    ];
    for variable in environment {
        let loaded = load("", &[variable], &[]);
        assert_eq!(loaded.unwrap_or_else(|e| panic!("{e}")).config, Config::default());
    }
}

#[test]
fn what_only_looks_like_a_variable_of_an_orchestrator_is_refused() {
    for (variable, value) in [
        ("QUORATE_KAFKA_PORT", "9092"),
        ("QUORATE_BROKER_NAME", "one"),
        ("QUORATE_PORT_MAX_TCP_ADDR", "10.0.0.1"),
        ("QUORATE_PORT_9092_TCP_LISTEN", "10.0.0.1"),
        ("QUORATE_TCP_LISTEN", "10.0.0.1:9092"),
    ] {
        assert!(refusal("", &[(variable, value)], &[]).contains(variable));
    }
}

#[test]
fn addresses_read_back_as_they_are_printed() {
    for text in ["broker-1.example:9092", "127.0.0.1:1", "[::1]:65535"] {
        assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
    }
    for text in ["", "host", ":1", "host:", "host:70000", "::1:9", "a b:1", "http://a:1", "a:0"] {
        assert!(text.parse::<HostPort>().is_err(), "{text}");
    }
}

#[test]
fn an_address_that_nobody_can_connect_to_is_not_told_to_others() {
    for server in ["kafka", "http", "peer"] {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:9", "[::]:9"] {
            let text = refusal(&format!("[{server}]\nadvertised = '{address}'\n"), &[], &[]);
            let named = format!("{server}.advertised = {address}");
            assert!(text.contains(&named) && text.contains("from 1 to 65535"), "{text}");
        }
    }
    let text = refusal("[peer]\njoin = ['10.0.0.1:9192', '10.0.0.2:0']\n", &[], &[]);
    assert!(text.contains("peer.join") && text.contains("from 1 to 65535"), "{text}");
    let both = "[kafka]\nadvertised = 'a:9'\n[http]\nadvertised = 'a:9'\n";
    let text = refusal(both, &[], &[]);
    assert!(text.contains("kafka.advertised") && text.contains("cannot share"), "{text}");
}

#[test]
fn every_setting_says_what_it_does_and_every_number_its_unit() {
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        assert!(setting.doc.ends_with('.'), "{}", setting.name());
        let unit = ["_ms", "_bytes", "_max", "id", "partitions", "factor"];
        if setting.shape == value::Shape::Number {
            assert!(unit.iter().any(|unit| setting.key.contains(unit)), "{}", setting.name());
        }
    }
}
