//! Tests the public contracts with snapshots: a change here affects users.

use crate::harness::scheduler;

#[test]
fn the_specification_is_what_was_agreed() {
    let specification = serde_json::to_value(host::api::specification()).unwrap();
    let paths: Vec<_> = specification["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    insta::assert_json_snapshot!("paths", paths);
    // As text: insta would serialize numbers of arbitrary precision as a type of their own.
    let schemas = &specification["components"]["schemas"];
    insta::assert_snapshot!("schemas", serde_json::to_string_pretty(schemas).unwrap());
}

#[test]
fn the_command_line_is_what_was_agreed() {
    let help = |arguments: &[&str]| {
        let output = scheduler()
            .args(arguments)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_serve", help(&["serve"]));
    insta::assert_snapshot!("help_job_submit", help(&["job", "submit"]));
    insta::assert_snapshot!("help_connection_add", help(&["connection", "add"]));
    insta::assert_snapshot!("help_run", help(&["run"]));
}
