//! Tests that values on every path through the host are exact, or rejected with their position.

use std::process::Stdio;

use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};

use crate::harness::{DEADLINE, TestHost, component, lab_connection, playbook, run, scheduler};

/// Numbers as submitted, and as a playbook returns them.
const NUMBERS: &[(&str, &str)] = &[
    ("0", "0"),
    ("-0", "0"),
    ("-1", "-1"),
    ("9007199254740991", "9007199254740991"),
    ("9007199254740993", "9007199254740993"),
    ("9223372036854775807", "9223372036854775807"),
    ("9223372036854775808", "9223372036854775808"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("-9223372036854775809", "-9223372036854775809"),
    ("18446744073709551615", "18446744073709551615"),
    ("18446744073709551616", "18446744073709551616"),
    (
        "1000000000000000000000000000000",
        "1000000000000000000000000000000",
    ),
    (
        "-1000000000000000000000000000000",
        "-1000000000000000000000000000000",
    ),
    (
        "340282366920938463463374607431768211457",
        "340282366920938463463374607431768211457",
    ),
    ("1e2", "100.0"),
    ("1.5", "1.5"),
    ("1.10", "1.1"),
    ("-2.5e-3", "-0.0025"),
];

/// Passes its parameters through storage, JSON, the log, a child job and its result.
const WAYS: &str = r#"
    let value = params.value;
    if "child" in params { return #{ child: value }; }
    storage::set("value", #{ kept: [value] });
    log::info("the value", #{ value: value });
    let child = queue::wait(queue::submit("ways", #{ value: value, child: true }));
    #{
        param: value,
        text: value.to_string(),
        stored: storage::get("value").kept[0],
        json: to_json(#{ value: value }),
        parsed: parse_json(to_json(#{ value: value })).value,
        child: child.result.child
    }
"#;

/// Returns a JSON array of the numbers, as submitted or as returned.
fn numbers(column: impl Fn(&(&'static str, &'static str)) -> &'static str) -> Value {
    let texts: Vec<_> = NUMBERS.iter().map(column).collect();
    serde_json::from_str(&format!("[{}]", texts.join(","))).unwrap()
}

#[test]
fn numbers_are_exact_on_every_path_through_a_playbook() {
    run(async {
        let host = TestHost::with_playbook("ways", &playbook(WAYS)).await;
        let job = json!({ "plugin": "ways", "params": { "value": numbers(|number| number.0) } });
        let job = host.run_job(job).await;
        assert_eq!(job["status"], "completed", "{job}");
        let sent = numbers(|number| number.0).to_string();
        let back = numbers(|number| number.1).to_string();
        assert_eq!(job["params"]["value"].to_string(), sent);
        for way in ["param", "stored", "parsed", "child"] {
            assert_eq!(job["result"][way].to_string(), back, "{way}");
        }
        assert_eq!(job["result"]["json"], format!("{{\"value\":{back}}}"));
        let logs = host.logs(&job["id"]).await;
        let line = logs.iter().find(|line| line["message"] == "the value");
        assert_eq!(line.unwrap()["context"]["value"].to_string(), back);
    });
}

#[test]
fn numbers_are_exact_on_every_way_through_a_component() {
    run(async {
        let bytes = std::fs::read(component("parity-guest")).unwrap();
        let host = TestHost::with_components(&[("parity", bytes)], |_| {}).await;
        let sent = numbers(|number| number.0);
        let calls = json!([
            { "make": "set", "key": "value", "value": { "kept": sent } },
            { "make": "get", "key": "value" },
            { "make": "log", "level": "info", "message": "the value", "fields": { "value": sent } },
        ]);
        let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = json!({ "plugin": "parity", "targets": ["r1"], "params": { "calls": calls } });
        let job = host.run_job(job).await;
        assert_eq!(job["status"], "completed", "{job}");
        let sent = sent.to_string();
        assert_eq!(job["params"]["calls"][0]["value"]["kept"].to_string(), sent);
        assert_eq!(job["result"][1]["ok"]["kept"].to_string(), sent);
        let logs = host.logs(&job["id"]).await;
        let line = logs.iter().find(|line| line["message"] == "the value");
        assert_eq!(line.unwrap()["context"]["value"].to_string(), sent);
    });
}

#[test]
fn integers_beyond_64_bits_calculate_and_compare() {
    let body = r#"
        let n = params.n;
        let text = n.to_string();
        #{
            more: n + 1, less: 1 - n, twice: n * 2, half: n / 2, rest: n % 10, back: n - n,
            negative: -n, small: (n - params.n) + 5,
            compared: [n > 1, n < 1, n == params.n, n != params.n, n >= 1.5, 1 < n, n == 1e19],
            text: text, parsed: parse_int(text) == n, interpolated: `${n}`, type: type_of(n),
            float: n.to_float(), found: n in [1, n]
        }
    "#;
    run(async move {
        let host = TestHost::with_playbook("test", &playbook(body)).await;
        let n: Value = serde_json::from_str("18446744073709551615").unwrap();
        let job = host
            .run_job(json!({ "plugin": "test", "params": { "n": n } }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let expected = r#"{
            "more": 18446744073709551616, "less": -18446744073709551614,
            "twice": 36893488147419103230, "half": 9223372036854775807, "rest": 5, "back": 0,
            "negative": -18446744073709551615, "small": 5,
            "compared": [true, false, true, false, true, true, false],
            "text": "18446744073709551615", "parsed": true,
            "interpolated": "18446744073709551615", "type": "integer",
            "float": 1.8446744073709552e19, "found": true
        }"#;
        let expected: Value = serde_json::from_str(expected).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            let (got, wanted) = (&job["result"][name], value);
            let same = got == wanted || (got.is_f64() && got.as_f64() == wanted.as_f64());
            assert!(same, "{name}: {got}, not {wanted}");
        }
    });
}

#[test]
fn numbers_out_of_range_are_rejected_with_their_position() {
    run(async {
        let host = TestHost::with_playbook("ways", &playbook(WAYS)).await;
        for number in ["1e400", "-1e400", "1e-400", "[1,{\"deep\":1e999}]"] {
            let body = format!(r#"{{"plugin":"ways","params":{{"value":{number}}}}}"#);
            let request = host.client.request(reqwest::Method::POST, "/api/jobs");
            let request = request
                .header("content-type", "application/json")
                .body(body);
            let answer = host.client.send(request).await;
            assert_eq!(answer.status, 422, "{number}: {}", answer.body);
            let error = &answer.body["errors"][0];
            let pointer = error["pointer"].as_str().unwrap();
            assert!(pointer.starts_with("/params/value"), "{}", answer.body);
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("out of range"), "{message}");
        }
        let bodies = [
            ("#{ a: [0.0, 1e308 * 10.0] }", "the number inf", "/a/1"),
            ("let x = 0.0; [x / x]", "the number NaN", "/0"),
            (
                r#"storage::set("k", #{ a: 1e308 * 10.0 })"#,
                "the number inf",
                "/a",
            ),
            (r#"parse_json("[1, 1e400]")"#, "1e+400", ""),
            (r#"parse_int("12x")"#, "12x", ""),
        ];
        for (body, what, place) in bodies {
            let host = TestHost::with_playbook("test", &playbook(body)).await;
            let job = host.run_job(json!({ "plugin": "test" })).await;
            assert_eq!(job["status"], "failed", "{body}: {job}");
            let message = job["error_message"].as_str().unwrap();
            assert!(
                message.contains(what) && message.contains(place),
                "{message}"
            );
        }
    });
}

#[test]
fn a_field_with_the_name_reserved_for_numbers_is_rejected_wherever_json_comes_in() {
    run(async {
        let name = "$serde_json::private::Number";
        let host = TestHost::with_playbook("ways", &playbook(WAYS)).await;
        for value in [
            r#"{"$serde_json::private::Number":"5"}"#,
            r#"[1,{"\u0024serde_json::private::Number":{}}]"#,
        ] {
            for (path, rest) in [
                ("/api/jobs", ""),
                (
                    "/api/schedules",
                    r#","name":"s","cron_expression":"0 0 1 1 *""#,
                ),
            ] {
                let body = format!(r#"{{"plugin":"ways","params":{{"value":{value}}}{rest}}}"#);
                let request = host.client.request(reqwest::Method::POST, path);
                let request = request
                    .header("content-type", "application/json")
                    .body(body);
                let answer = host.client.send(request).await;
                assert_eq!(answer.status, 422, "{path} {value}: {}", answer.body);
                let error = &answer.body["errors"][0];
                let pointer = error["pointer"].as_str().unwrap();
                assert!(pointer.starts_with("/params/value/"), "{error}");
                assert!(pointer.ends_with(name), "{error}");
            }
        }
        let made = format!(r#"let m = #{{}}; m["{name}"] = "5";"#);
        for body in [
            format!(r#"parse_json("{{\"{name}\":\"5\"}}")"#),
            format!("{made} m"),
            format!("{made} to_json(m)"),
            format!(r#"{made} storage::set("k", [m])"#),
            format!(r#"{made} log::info("x", m)"#),
            format!(r#"{made} queue::submit("noop", m)"#),
        ] {
            let host = TestHost::with_playbook("test", &playbook(&body)).await;
            let job = host.run_job(json!({ "plugin": "test" })).await;
            assert_eq!(job["status"], "failed", "{body}: {job}");
            let message = job["error_message"].as_str().unwrap();
            assert!(
                message.contains(name) && message.contains("not allowed"),
                "{message}"
            );
        }
        // As a value, the text is accepted like any other.
        let job = host
            .run_job(json!({ "plugin": "ways", "params": { "value": name } }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}

#[test]
fn integer_literals_never_become_floats() {
    run(async {
        let source = playbook("let n = 9223372036854775808; n");
        let host = TestHost::with_own_scripts(&[("test", &source)]).await;
        let plugin = host.client.get("/api/plugins/test").await.body;
        assert_eq!(plugin["status"], "broken", "{plugin}");
        let message = plugin["error"]["message"].as_str().unwrap();
        assert!(message.contains("9223372036854775808"), "{message}");
        assert!(message.contains("parse_int"), "{message}");
    });
}

#[test]
fn numbers_are_exact_in_schedules_and_on_the_command_line() {
    run(async {
        let host = TestHost::with_playbook("ways", &playbook(WAYS)).await;
        let sent = numbers(|number| number.0).to_string();
        let body = format!(
            r#"{{"name":"s","plugin":"ways","cron_expression":"* * * * * *","params":{{"value":{sent}}}}}"#
        );
        let request = host.client.request(reqwest::Method::POST, "/api/schedules");
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = host.client.send(request).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let schedule = host.client.get("/api/schedules/s").await.body;
        assert_eq!(schedule["params"]["value"].to_string(), sent);
        let scheduled = async {
            loop {
                let jobs = host.client.get("/api/jobs").await.body;
                let mut jobs = jobs["jobs"].as_array().unwrap().iter();
                let job = jobs.find(|job| job["schedule_id"] == schedule["id"]);
                if let Some(job) = job {
                    return job["id"].as_str().unwrap().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let id = tokio::time::timeout(DEADLINE, scheduled).await.unwrap();
        let job = host.ended(&id).await;
        let back = numbers(|number| number.1).to_string();
        assert_eq!(job["result"]["stored"].to_string(), back, "{job}");

        let mut command = scheduler();
        command
            .args(["job", "submit", "ways", "--wait", "-o", "json", "--param"])
            .arg(format!("value={sent}"))
            .env("SCHEDULER_URL", host.client.url(""))
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let compact: String = printed.split_whitespace().collect();
        assert!(compact.contains(&back), "{printed}{errors}");
    });
}

/// Texts that some step might misinterpret.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\0",
        "a\0b",
        "a\u{1}\u{1f}\u{7f}b",
        "\r\n\t\u{b}\u{c}",
        "\u{85}\u{2028}\u{2029}",
        "é e\u{301} \u{1f600} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{202e}abc\u{202c} \u{200f}\u{61c}",
        "\u{feff}bom \u{fffd} \u{ffff} \u{10ffff}",
        "中文 العربية עברית",
        "'\"`\\/ ${x} %s {{}} <b>&amp;</b> -- ; DROP",
        "$serde_json::private::Number",
    ]
    .map(str::to_owned)
    .into();
    texts.push("ü\u{1f600}".repeat(200_000));
    texts
}

#[test]
fn texts_are_exact_on_every_path_through_a_playbook() {
    let source = playbook(WAYS).replace(
        r#"log::info("the value", #{ value: value });"#,
        "for text in value { if text.len() < 1000 { log::info(text, #{ value: text }); } }",
    );
    let source = source.replace("text: value.to_string(),", "");
    run(async move {
        let host = TestHost::with_playbook("ways", &source).await;
        let texts = texts();
        let job = json!({
            "plugin": "ways", "params": { "value": texts }, "description": texts[8],
        });
        let job = host.run_job(job).await;
        assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        assert_eq!(job["description"], texts[8]);
        assert_eq!(job["params"]["value"], json!(texts));
        for way in ["param", "stored", "parsed", "child"] {
            let same = job["result"][way] == json!(texts);
            assert!(same, "{way}");
        }
        let written: Value = serde_json::from_str(job["result"]["json"].as_str().unwrap()).unwrap();
        assert!(written["value"] == json!(texts), "to_json");
        let logs = host.logs(&job["id"]).await;
        for text in texts.iter().filter(|text| text.chars().count() < 1_000) {
            let found = logs.iter().find(|line| line["message"] == *text);
            let found = found.unwrap_or_else(|| panic!("no line {text:?} in {logs:?}"));
            assert_eq!(found["context"]["value"], *text);
        }
    });
}

#[test]
fn text_that_is_not_unicode_is_rejected() {
    run(async {
        let host = TestHost::with_playbook("ways", &playbook(WAYS)).await;
        let bodies: [&[u8]; 3] = [
            br#"{"plugin":"ways","params":{"value":"\ud800"}}"#,
            br#"{"plugin":"ways","params":{"value":"\udc00\ud800"}}"#,
            b"{\"plugin\":\"ways\",\"params\":{\"value\":\"\xff\"}}",
        ];
        for body in bodies {
            let request = host.client.request(reqwest::Method::POST, "/api/jobs");
            let request = request
                .header("content-type", "application/json")
                .body(body.to_vec());
            let answer = host.client.send(request).await;
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(answer.body["detail"].as_str().unwrap().contains("line 1"));
        }
    });
}

#[test]
fn a_playbook_handles_text_by_characters() {
    let body = r#"
        let text = "aé中😀ß";
        let upper = text; upper.make_upper();
        let padded = "é"; padded.pad(3, '中');
        let replaced = text; replaced.replace("中😀", "·");
        #{
            len: text.len(), bytes: text.bytes, third: text[2].to_string(), last: text[-1].to_string(),
            sub: text.sub_string(1, 3), split: text.split("中"), chars: text.split(""),
            upper: upper, index: text.index_of("😀"), padded: padded, replaced: replaced,
            to_chars: text.to_chars().len(), rev: "a·b·c".split_rev("·", 2), ends: text.ends_with("ß")
        }
    "#;
    run(async move {
        let host = TestHost::with_playbook("test", &playbook(body)).await;
        let job = host.run_job(json!({ "plugin": "test" })).await;
        let expected = json!({
            "len": 5, "bytes": 12, "third": "中", "last": "ß", "sub": "é中😀",
            "split": ["aé", "😀ß"], "chars": ["", "a", "é", "中", "😀", "ß", ""],
            "upper": "AÉ中😀SS", "index": 3, "padded": "é中中", "replaced": "aé·ß",
            "to_chars": 5, "rev": ["c", "a·b"], "ends": true
        });
        assert_eq!(job["result"], expected, "{job}");
    });
}

const RECORDS: usize = 50_000;

fn records() -> Value {
    let record = |index: usize| {
        json!({
            "interface": format!("Ethernet{index}"), "address": "192.0.2.1", "mac": "0000.5e00.5301",
            "vlan": index, "status": "up", "protocol": "up", "speed": "1000", "duplex": "full",
            "type": "ARPA", "age": "120",
        })
    };
    (0..RECORDS).map(record).collect()
}

#[test]
fn fifty_thousand_records_pass_through_parameters_storage_and_results() {
    let body = r#"
        storage::set("records", params.records);
        let records = storage::get("records");
        let by_vlan = #{};
        for record in records {
            by_vlan[record.vlan.to_string()] = record.interface;
        }
        let odd = [];
        for record in records {
            if record.vlan % 2 == 1 { odd.push(record); }
        }
        let up = odd.filter(|record| record.status == "up").map(|record| record.interface);
        let child = queue::wait(queue::submit("count", #{ records: odd }));
        #{
            count: records.len(), keys: by_vlan.len(), last: up[-1], child: child.result,
            records: records
        }
    "#;
    let count = playbook("params.records.len()");
    run(async move {
        let scripts = [("records", playbook(body)), ("count", count)];
        let scripts: Vec<_> = scripts
            .iter()
            .map(|(name, source)| (*name, source.as_str()))
            .collect();
        let host = TestHost::with_own_scripts(&scripts).await;
        let records = records();
        let job = host
            .run_job(json!({ "plugin": "records", "params": { "records": records } }))
            .await;
        assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        let result = &job["result"];
        assert_eq!(result["count"], RECORDS);
        assert_eq!(result["keys"], RECORDS);
        assert_eq!(result["child"], RECORDS / 2);
        assert_eq!(result["last"], format!("Ethernet{}", RECORDS - 1));
        assert!(result["records"] == records, "the records changed");
    });
}
