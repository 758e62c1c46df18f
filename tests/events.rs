//! Tests a job's Server-Sent Events: complete, in order, resumable after any event.

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, TestHost, password_connection, playbook, run};

#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

/// Reads at most `most` events of a job.
async fn follow(host: &TestHost, id: &str, after: Option<&str>, most: usize) -> Vec<Event> {
    read(host, &format!("/api/jobs/{id}/events"), after, most).await
}

async fn read(host: &TestHost, url: &str, after: Option<&str>, most: usize) -> Vec<Event> {
    let mut request = host.client.request(Method::GET, url);
    if let Some(after) = after {
        request = request.header("Last-Event-ID", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "text/event-stream");
    let mut bytes = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    let reading = async {
        while let Some(piece) = bytes.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            while let Some((block, rest)) = text.split_once("\n\n") {
                events.extend(event(block));
                text = rest.to_owned();
                if events.len() == most {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    events
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).next()
    };
    Some(Event {
        id: field("id: "),
        name: field("event: ")?,
        data: serde_json::from_str(&field("data: ")?).unwrap(),
    })
}

const ALL: usize = usize::MAX;

#[test]
fn without_texts_one_event_stands_for_all_lines_that_have_come() {
    run(async {
        let writes = playbook("for n in 0..3000 { log::info(`line ${n}`); }");
        let host = TestHost::with_playbook("writes", &writes).await;
        let job = host.run_job(json!({ "plugin": "writes" })).await;
        let id = job["id"].as_str().unwrap();
        let lines = host.logs(&job["id"]).await;
        let url = format!("/api/jobs/{id}/events?texts=false");
        let events = read(&host, &url, None, ALL).await;
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["log", "status"]);
        assert_eq!(events[0].data, json!({ "id": lines.last().unwrap()["id"] }));
        assert_eq!(events[1].data["status"], "completed");
        // An id of one kind of stream resumes the other kind.
        let rest = follow(&host, id, events[0].id.as_deref(), ALL).await;
        let names: Vec<_> = rest.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["status"]);
    });
}

#[test]
fn a_job_is_told_from_its_beginning_to_its_end() {
    run(async {
        let host = TestHost::with_playbook(
            "it",
            &playbook(r#"for n in 1..=3 { log::info(`line ${n}`); progress(n, 3); } "done""#),
        )
        .await;
        let id = host.submit(json!({ "plugin": "it" })).await;
        let events = follow(&host, &id, None, ALL).await;
        let lines: Vec<_> = events
            .iter()
            .filter(|event| event.name == "log")
            .map(|event| event.data["message"].as_str().unwrap())
            .collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3"]);
        let last = events.last().unwrap();
        assert_eq!(last.name, "status");
        assert_eq!(last.data["status"], "completed");
        assert_eq!(last.data["result_bytes"], 6);

        // A job that has ended is reported, too, but not again to a client that has seen its end.
        let again = follow(&host, &id, None, ALL).await;
        assert_eq!(again.last().unwrap().data["status"], "completed");
        let rest = follow(&host, &id, last.id.as_deref(), ALL).await;
        assert!(
            rest.iter().all(|event| event.name == "progress"),
            "{rest:?}"
        );
    });
}

#[test]
fn nothing_is_missed_or_told_twice_however_often_one_is_cut_off() {
    const LINES: usize = 2_000;
    run(async {
        let source = playbook(&format!("for n in 0..{LINES} {{ log::info(`${{n}}`); }}"));
        let host = TestHost::with_playbook("it", &source).await;
        let id = host.submit(json!({ "plugin": "it" })).await;
        let mut lines: Vec<usize> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // Disconnects after another number of events each time.
            let most = 1 + lines.len() % 97 + lines.len() / 7;
            let events = follow(&host, &id, after.as_deref(), most).await;
            let log = events.iter().filter(|event| event.name == "log");
            lines.extend(log.map(|event| {
                let message = event.data["message"].as_str().unwrap();
                message.parse::<usize>().unwrap()
            }));
            let ids = events.iter().filter_map(|event| event.id.clone());
            after = ids.reduce(|_, later| later).or(after);
            let ended =
                |event: &Event| event.name == "status" && event.data["status"] == "completed";
            if events.iter().any(ended) {
                break;
            }
        }
        assert_eq!(lines, (0..LINES).collect::<Vec<_>>());
    });
}

#[test]
fn a_command_is_heard_while_it_runs() {
    run(async {
        let host = TestHost::with_server().await;
        let id = host
            .submit(json!({
                "plugin": "ssh-command", "targets": ["server"],
                "params": { "commands": ["echo begun; sleep 3600"] },
            }))
            .await;
        let events = async {
            let mut most = 1;
            loop {
                let events = follow(&host, &id, None, most).await;
                match events.into_iter().find(|event| event.name == "output") {
                    Some(event) if event.data["text"] == "begun\n" => return event,
                    // Only a part of the line has arrived.
                    Some(_) => {}
                    None => most += 1,
                }
            }
        };
        let output = tokio::time::timeout(DEADLINE, events).await.unwrap();
        assert_eq!(output.data["text"], "begun\n");
        assert_eq!(output.data["target"], "server");
        assert!(output.id.is_none());
        host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        let events = follow(&host, &id, None, ALL).await;
        let result = events.iter().find(|event| event.name == "result").unwrap();
        // The last newline may be missing: the session may end before the command is cancelled.
        let output = result.data["output"].as_str().unwrap();
        assert_eq!(output.trim_end(), "begun");
        assert_eq!(events.last().unwrap().data["status"], "cancelled");
    });
}

#[test]
fn what_cannot_be_followed_says_why() {
    run(async {
        let host = TestHost::start().await;
        let unknown = "/api/jobs/01a20b6c-0c48-7463-ae47-0df747c0413d/events";
        assert_eq!(host.client.get(unknown).await.status, 404);
        let id = host.submit(json!({ "plugin": "noop" })).await;
        let request = host
            .client
            .request(Method::GET, &format!("/api/jobs/{id}/events"))
            .header("Last-Event-ID", "rubbish");
        let answer = host.client.send(request).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
    });
}

#[test]
fn the_server_does_not_wait_for_who_follows() {
    run(async {
        let host = TestHost::start_with(|config| config.worker.shutdown_grace_seconds = 0).await;
        let server = &test_devices::linux().ssh;
        host.connect(password_connection("server", server, "linux"))
            .await;
        let id = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 3600 } }))
            .await;
        let request = host
            .client
            .request(Method::GET, &format!("/api/jobs/{id}/events"));
        let mut bytes = request.send().await.unwrap().bytes_stream();
        bytes.next().await.unwrap().unwrap();
        host.stop().await;
        let rest = async { while let Some(Ok(_)) = bytes.next().await {} };
        tokio::time::timeout(DEADLINE, rest).await.unwrap();
    });
}
