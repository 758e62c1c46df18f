//! Tests comparisons of a job's output with the previous run.

use serde_json::{Value, json};

use crate::harness::{TestHost, run};

async fn cat(host: &TestHost, file: &str) -> Value {
    let job = json!({
        "plugin": "ssh-command", "targets": ["server"],
        "params": { "commands": [format!("cat {file}"), "hostname"] },
    });
    let job = host.run_job(job).await;
    assert_eq!(job["status"], "completed", "{job}");
    job
}

async fn compared(host: &TestHost, job: &Value, query: &str) -> (u16, Value) {
    let id = job["id"].as_str().unwrap();
    let url = format!("/api/jobs/{id}/compare{query}");
    let answer = host.client.get(&url).await;
    (answer.status, answer.body)
}

#[test]
fn a_changed_output_is_shown_as_a_diff() {
    run(async {
        let host = TestHost::with_server().await;
        let file = host.path("config.txt");
        let name = file.to_str().unwrap();
        std::fs::write(&file, "hostname r1\nntp server 192.0.2.1\n").unwrap();
        let first = cat(&host, name).await;
        let (status, told) = compared(&host, &first, "").await;
        assert_eq!(status, 404, "{told}");

        let second = cat(&host, name).await;
        let (status, told) = compared(&host, &second, "").await;
        assert_eq!((status, &told["changed"]), (200, &json!(false)), "{told}");
        assert_eq!(told["with"], first["id"]);

        std::fs::write(&file, "hostname r1\nntp server 192.0.2.2\n").unwrap();
        let third = cat(&host, name).await;
        let (_, told) = compared(&host, &third, "").await;
        assert_eq!(told["with"], second["id"], "the last before");
        assert_eq!(told["commands"][0]["change"], "changed");
        assert_eq!(
            told["commands"][0]["diff"],
            "@@ -1,2 +1,2 @@\n hostname r1\n-ntp server 192.0.2.1\n+ntp server 192.0.2.2\n"
        );
        assert_eq!(told["commands"][1]["change"], "same");

        let other = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["server"],
                "params": { "commands": ["hostname"] },
            }))
            .await;
        let with = format!("?with={}", first["id"].as_str().unwrap());
        let (_, told) = compared(&host, &other, &with).await;
        assert_eq!(told["commands"][0]["change"], "same");
        assert_eq!(told["commands"][1]["change"], "removed");
        let (_, told) = compared(&host, &third, "?target=elsewhere").await;
        assert_eq!(told["commands"], json!([]));
        let (status, _) = compared(&host, &third, "?with=nothing").await;
        assert_eq!(status, 422);
    });
}
