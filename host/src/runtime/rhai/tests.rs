//! Tests of the sandbox alone; `tests/sandbox.rs` tests it with real jobs.

use std::collections::BTreeMap;

use super::*;

fn load(source: impl Into<Vec<u8>>) -> Result<Loaded, LoadError> {
    RhaiRuntime::new(Sandbox {
        cpu: Duration::from_secs(30),
        memory_bytes: 128 << 20,
    })
    .load(&PluginFiles {
        name: "test.rhai".to_owned(),
        main: source.into(),
        modules: BTreeMap::new(),
    })
}

#[test]
fn a_description_is_read() {
    let loaded = load(
        r#"
        const NAME = "from a constant";
        fn describe() { #{ summary: global::NAME, targets: "each", needs: #{ ssh: #{ exec: ["show *"] } }, on_interrupt: "retry" } }
        fn run(job, params) { }
        "#,
    )
    .ok()
    .unwrap();
    assert_eq!(loaded.description.summary, "from a constant");
    let ssh = loaded.description.needs.ssh.unwrap();
    assert_eq!(ssh.exec, ["show *"]);
    assert!(!ssh.configure.is_some());
    assert_eq!(loaded.description.params["additionalProperties"], false);
}

#[test]
fn bytes_that_are_no_text_do_not_load() {
    let error = load([b'f', 0xff]).err().unwrap();
    assert!(
        error.message.contains("invalid byte at position 1"),
        "{error}"
    );
}

#[test]
fn json_goes_in_and_comes_out_as_it_was() {
    let value = serde_json::json!({
        "null": null, "bool": true, "int": -7, "float": 1.5, "text": "ü", "list": [1, [2]], "map": {}
    });
    let back = values::to_json(&values::from_json(&value).unwrap()).unwrap();
    assert_eq!(back, value);
}

#[test]
fn what_json_has_no_word_for_is_named() {
    assert!(
        values::to_json(&Dynamic::from(f64::NAN))
            .unwrap_err()
            .contains("NaN")
    );
    assert!(values::to_json(&Dynamic::from(1_u8)).is_err());
}
