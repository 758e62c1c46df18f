//! A plugin that misbehaves, in one way per job.

use std::time::{Duration, Instant};

use plugin_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Params {
    deed: String,
    #[serde(default)]
    command: String,
}

/// Selects the behaviour of `describe`; tests overwrite the last word in the component's data.
static MANNER: [u8; 20] = *b"describe as: well   ";

fn describe() -> Description {
    let manner = std::hint::black_box(&MANNER);
    match manner[13..].trim_ascii() {
        b"loop" => loop {
            std::hint::black_box(manner);
        },
        b"trap" => panic!("I describe nothing"),
        b"long" => return Description::new("x".repeat(20_000_000)),
        b"huge" => return Description::new("x".repeat(100_000_000)),
        b"host" => drop(
            ssh::open()
                .map_err(|error| error.message)
                .unwrap_or_else(|error| panic!("{error}")),
        ),
        _ => {}
    }
    Description::new("Does what it should not")
        .targets(Targets::All)
        .exec(["show *"])
        .storage()
}

fn run(_job: &Job, params: Params) -> Result<Value> {
    let Params { deed, command } = params;
    match deed.as_str() {
        "loop" => {
            let mut number = 0_u64;
            loop {
                number = std::hint::black_box(number.wrapping_add(1));
            }
        }
        "sleep in std" => std::thread::sleep(Duration::from_secs(3600)),
        "spin on the clock" => {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3600) {}
        }
        "recursion" => return Ok(recurse(0).into()),
        "memory" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 1 << 20]);
            }
        }
        "memory, handled" => {
            let mut held: Vec<u8> = Vec::new();
            let refused = held.try_reserve(1 << 30).is_err();
            return Ok(refused.into());
        }
        "a map of a million" => {
            let map: std::collections::BTreeMap<u32, String> = (0..1_000_000)
                .map(|key| (key, format!("value {key}")))
                .collect();
            return Ok(json!(map));
        }
        // Each character takes six bytes in JSON, so the component's memory suffices.
        "a result of 34 megabytes" => return Ok("\u{1}".repeat(5_700_000).into()),
        "a result of many values" => {
            return Ok(vec![json!([[]]); 1_400_000].into());
        }
        "a stored value of many values" => {
            let items = vec![json!([[]]); 1_400_000];
            storage::set("many", &items)?;
        }
        "a quarter of a gigabyte of stdout" => {
            let line = "x".repeat(1023);
            for _ in 0..1 << 18 {
                println!("{line}");
            }
        }
        "a line without an end" => {
            for _ in 0..64 << 10 {
                print!("{}", "x".repeat(1024));
            }
        }
        "log lines" => {
            for number in 0..50_000 {
                log::info(format!("line {number}"));
            }
        }
        "sessions" => {
            let mut devices = Vec::new();
            loop {
                devices.push(ssh::open()?);
            }
        }
        "handles" => {
            let mut held = Vec::new();
            loop {
                held.push(plugin_sdk::bindings::job_scheduler::plugin::ssh::ExecOptions::new());
            }
        }
        "another device" => {
            ssh::open_target("elsewhere")?;
        }
        "exec" => {
            ssh::open()?.exec(&command)?;
        }
        "configure" => {
            ssh::open()?.configure(&["hostname owned"])?;
        }
        "submit" => {
            queue::submit("noop", json!({}), &queue::Submit::default())?;
        }
        "files" => return Ok(files()),
        "environment" => {
            let all: Vec<_> = std::env::vars().collect();
            let arguments: Vec<_> = std::env::args().collect();
            return Ok(json!({ "variables": all, "arguments": arguments }));
        }
        "network" => {
            let connected = std::net::TcpStream::connect("127.0.0.1:22");
            let bound = std::net::TcpListener::bind("127.0.0.1:0");
            let sent = std::net::UdpSocket::bind("127.0.0.1:0");
            let found = std::net::ToSocketAddrs::to_socket_addrs("localhost:22");
            return Ok(json!([
                connected.is_err(),
                bound.is_err(),
                sent.is_err(),
                found.is_err()
            ]));
        }
        "exit" => std::process::exit(0),
        "panic" => return Err(deep_inside()),
        "abort" => std::process::abort(),
        "own stop code" => return Err(Error::new("cancelled", "I was not")),
        "print and panic" => {
            println!("to stdout");
            eprintln!("to stderr");
            log::info("to the log");
            print!("without an end");
        }
        other => return Err(Error::new("unknown", other)),
    }
    Ok(Value::Null)
}

fn files() -> Value {
    let tried = [
        std::fs::read("/etc/passwd").err(),
        std::fs::read("../scheduler.key").err(),
        std::fs::write("here", "x").err(),
        std::fs::read_dir("/").err(),
        std::fs::read_dir(".").err(),
    ];
    tried.iter().map(Option::is_some).collect()
}

#[expect(unconditional_recursion, reason = "it is what is tested")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + 1)
}

#[inline(never)]
fn deep_inside() -> Error {
    let empty: Vec<Error> = Vec::new();
    std::hint::black_box(&empty)[3].clone()
}

plugin_sdk::plugin!(describe, run);
