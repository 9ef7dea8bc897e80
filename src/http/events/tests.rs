use super::*;
use crate::record::{BatchBuilder, Projection, Records};

fn draft(json: &str) -> Result<Draft, Problem> {
    serde_json::from_str::<NewRecord>(json).unwrap().draft()
}

/// What is shown of a record that was asked for in this way.
fn shown(json: &str) -> String {
    let draft = draft(json).unwrap();
    let mut batch = BatchBuilder::new().record(5, draft.key.as_deref(), draft.value.as_deref());
    for (name, value) in &draft.headers {
        batch = batch.header(name, value.as_deref());
    }
    let batch = batch.build();
    let record = Records::open(&batch, Projection::Everything).unwrap().next().unwrap().unwrap();
    Event::new(2, 7, &record).line()
}

#[test]
fn numbers_and_everything_else_come_out_as_they_went_in() {
    let value = r#"{"a": 1.10, "b":12345678901234567890123, "c":"\u00e9", "a":1e400}"#;
    let line = shown(&format!(r#"{{"key": "k", "value": {value}}}"#));
    assert!(line.contains(&format!(r#""value":{value},"#)), "{line}");
    let line = shown("{\"key\": \"k\", \"value\": [1,\n 2]}");
    assert!(line.contains("\"value\":[1,  2]"), "{line}");
}

#[test]
fn a_value_is_json_or_text_or_bytes_or_none() {
    for (given, told) in [
        (r#""value": null"#, r#""value":null,"#),
        (r#""tags": []"#, r#""value":null,"#),
        (r#""value": "text""#, r#""value":"text","#),
        (r#""value_text": "no json""#, r#""value_text":"no json","#),
        (r#""value_text": "17""#, r#""value":17,"#),
        (r#""value_text": "null""#, r#""value_text":"null","#),
        (r#""value_text": """#, r#""value_text":"","#),
        (r#""value_base64": "/wA=""#, r#""value_base64":"/wA=","#),
    ] {
        let line = shown(&format!("{{{given}}}"));
        assert!(line.contains(told), "{given}: {line}");
    }
    let two = draft(r#"{"value": 1, "value_text": "x"}"#).unwrap_err();
    assert_eq!(two.code(), "invalid_event");
    assert_eq!(draft(r#"{"key_base64": "?"}"#).unwrap_err().code(), "invalid_event");
}

#[test]
fn tags_and_conditions_are_headers_with_a_field_of_their_own() {
    let given = r#"{"key_base64": "/w==", "tags": ["a", "b"], "expected_version": 3.0,
        "headers": [{"name": "h", "value": "x"}, {"name": "b", "value_base64": "/w=="}, {"name": "n"}]}"#;
    let line = shown(given);
    assert!(line.contains(r#""key_base64":"/w==""#), "{line}");
    assert!(line.contains(r#""tags":["a","b"]}"#), "{line}");
    let headers =
        r#""headers":[{"name":"h","value":"x"},{"name":"b","value_base64":"/w=="},{"name":"n"}]"#;
    assert!(line.contains(headers), "{line}");
    let draft_of = draft(given).unwrap();
    let expected = (EXPECTED_VERSION.to_owned(), Some(b"3".to_vec()));
    assert!(draft_of.headers.contains(&expected), "{draft_of:?}");
    let reserved = r#"{"headers": [{"name": "quorate-tag", "value": "x"}]}"#;
    assert_eq!(draft(reserved).unwrap_err().code(), "invalid_event");
}
