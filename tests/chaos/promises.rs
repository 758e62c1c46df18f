//! The promises of the product, checked against the evidence.
//!
//! The checks are pure functions. The tests below plant one fault each in sound evidence, to prove
//! that each check finds its fault.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::evidence::{Attempt, Device, Evidence, Job, is_final};

/// The playbooks of the campaign, and the commands of the reading one.
pub(super) const READ: &str = "chaos-read";
pub(super) const WRITE: &str = "chaos-write";
pub(super) const READ_COMMANDS: [&str; 3] =
    ["show version", "show inventory", "show ip interface brief"];

/// A command that a job sends at most once: `…01a2….step.3…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) job: String,
    pub(super) number: u64,
}

impl Step {
    /// Returns the step in a command line.
    pub(super) fn in_line(line: &str) -> Option<Self> {
        line.split_whitespace().find_map(|word| {
            let (job, number) = word.split_once(".step.")?;
            Some(Self {
                job: job.to_owned(),
                number: number.parse().ok()?,
            })
        })
    }
}

/// Returns a description of each broken promise, with its job.
pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = evidence.told.wrong.clone();
    for (id, job) in &evidence.jobs {
        let found = [
            ended(job),
            fence(job),
            steps(id, job),
            reads(job),
            notified(id, job, evidence),
        ];
        broken.extend(found.concat().iter().map(|what| {
            format!(
                "{id} ({} on {}, {}): {what}",
                job.plugin, job.target, job.status
            )
        }));
    }
    broken.extend(accepted(evidence));
    broken.extend(keys(evidence));
    broken.extend(something_happened(evidence));
    broken.extend(cancelled(evidence));
    broken.extend(final_for_good(evidence));
    broken.extend(notified_of_nothing_else(evidence));
    for device in &evidence.devices {
        broken.extend(sent_once(device));
        broken.extend(in_results(device, evidence));
        broken.extend(answered(device, evidence));
    }
    broken
}

/// Checks that every job accepted with 202 exists.
fn accepted(evidence: &Evidence) -> Vec<String> {
    let told = &evidence.told;
    let lost = told
        .accepted
        .iter()
        .filter(|id| !evidence.jobs.contains_key(*id) && !told.deleted.contains(*id));
    lost.map(|id| format!("{id}: was accepted, and is not there"))
        .collect()
}

/// Checks that one key creates one job.
fn keys(evidence: &Evidence) -> Vec<String> {
    let several = evidence
        .told
        .keys
        .iter()
        .filter(|(_, ids)| ids.iter().any(|id| Some(id) != ids.first()));
    let answered =
        several.map(|(key, ids)| format!("{}: the key {key} made several jobs: {ids:?}", ids[0]));
    // Including jobs of submissions without an answer.
    let mut made: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, job) in evidence.jobs.iter().filter(|(_, job)| !job.is_child) {
        made.entry(&job.description).or_default().push(id);
    }
    let several = made.iter().filter(|(_, ids)| ids.len() > 1);
    let made = several.map(|(key, ids)| format!("the submission {key} made several jobs: {ids:?}"));
    answered.chain(made).collect()
}

/// Checks that jobs completed: a campaign without any proves nothing.
fn something_happened(evidence: &Evidence) -> Vec<String> {
    let has = |plugin: &str| {
        let mut jobs = evidence.jobs.values();
        jobs.any(|job| job.plugin == plugin && job.status == "completed")
    };
    let mut missing = Vec::new();
    for plugin in [READ, WRITE] {
        if !has(plugin) {
            missing.push(format!("no job of {plugin} has completed"));
        }
    }
    let mut seen = evidence.devices.iter().flat_map(|device| &device.seen);
    if !seen.any(|line| Step::in_line(line).is_some()) {
        missing.push("no device was sent anything".to_owned());
    }
    missing
}

fn cancelled(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, cancelled) in &evidence.told.cancelled {
        // A batch ends with its child jobs.
        let Some(job) = evidence.jobs.get(id).filter(|job| !job.batch) else {
            continue;
        };
        if cancelled.at_once && job.status != "cancelled" {
            broken.push(format!("{id}: was cancelled, and is {}", job.status));
        }
        let again = |attempt: &&Attempt| attempt.started_at > cancelled.told_at;
        if let Some(attempt) = job.attempts.iter().find(again) {
            broken.push(format!(
                "{id}: attempt {} began after it was cancelled",
                attempt.number
            ));
        }
    }
    broken
}

/// Checks that a job that has ended keeps its status.
fn final_for_good(evidence: &Evidence) -> Vec<String> {
    let changed = evidence.told.ended.iter().filter_map(|(id, status)| {
        let job = evidence.jobs.get(id)?;
        (job.status != *status).then(|| format!("{id}: was {status}, and is {}", job.status))
    });
    changed.collect()
}

fn ended(job: &Job) -> Vec<String> {
    let mut broken = Vec::new();
    if !is_final(&job.status) {
        broken.push("has not ended".to_owned());
    }
    if job.running > 0 {
        broken.push(format!("{} commands stand as running", job.running));
    }
    broken
}

/// Checks that every ended job was notified once, with the right event, and child jobs never.
fn notified(id: &str, job: &Job, evidence: &Evidence) -> Vec<String> {
    let messages: Vec<_> = evidence.messages.get(id).into_iter().flatten().collect();
    let events: Vec<&str> = messages.iter().map(|message| &*message.event).collect();
    let told = match (&events[..], job.is_child || !is_final(&job.status)) {
        ([], true) => return Vec::new(),
        ([event], false) if *event == job.status => return Vec::new(),
        ([], false) => "nobody was notified of its end".to_owned(),
        (_, true) => format!("notifications were sent of it: {events:?}"),
        ([event], false) => format!("a notification says that it has {event}"),
        (_, false) => format!("several notifications were sent of it: {messages:?}"),
    };
    vec![told]
}

fn notified_of_nothing_else(evidence: &Evidence) -> Vec<String> {
    let strangers = evidence
        .messages
        .keys()
        .filter(|id| !evidence.jobs.contains_key(*id) && !evidence.told.deleted.contains(*id));
    strangers
        .map(|id| format!("{id}: a notification was sent of a job that is not there"))
        .collect()
}

/// Checks that attempts are numbered from 1 without gaps, that each has ended, and that each result
/// belongs to one.
fn fence(job: &Job) -> Vec<String> {
    let mut broken = Vec::new();
    let numbers: Vec<u64> = job.attempts.iter().map(|attempt| attempt.number).collect();
    if numbers != (1..=job.attempt).collect::<Vec<_>>() {
        broken.push(format!(
            "attempts {numbers:?}, and it counts {}",
            job.attempt
        ));
    }
    for attempt in &job.attempts {
        if attempt.status == "running" || attempt.ended_at.is_none() {
            broken.push(format!(
                "attempt {} is {} for ever",
                attempt.number, attempt.status
            ));
        }
    }
    for two in job.attempts.windows(2) {
        if two[0]
            .ended_at
            .is_none_or(|ended| ended > two[1].started_at)
        {
            broken.push(format!(
                "attempts {} and {} ran at once",
                two[0].number, two[1].number
            ));
        }
    }
    if let Some(last) = job.attempts.last()
        && last.status != job.status
        // A job may be cancelled while it waits for the next attempt.
        && !(job.status == "cancelled" && ["retrying", "pending"].contains(&&*last.status))
    {
        broken.push(format!("its last attempt is {}", last.status));
    }
    let mut seen = HashSet::new();
    for result in &job.results {
        if !numbers.contains(&result.attempt) {
            broken.push(format!(
                "a result of attempt {}, which there is not",
                result.attempt
            ));
        }
        if !seen.insert((result.attempt, &result.command)) && !is_shared(&result.command) {
            broken.push(format!(
                "two results of `{}` in attempt {}",
                result.command, result.attempt
            ));
        }
    }
    broken
}

/// Returns whether all steps have this line in common.
fn is_shared(command: &str) -> bool {
    command.starts_with("interface ")
}

/// Checks that steps have at most one result each, in order, and all of them if the job has
/// completed.
fn steps(id: &str, job: &Job) -> Vec<String> {
    let found = job
        .results
        .iter()
        .filter_map(|result| Step::in_line(&result.command));
    let found: Vec<Step> = found.collect();
    let mut broken = Vec::new();
    if found.iter().any(|step| step.job != id) {
        broken.push(format!("results of another job: {found:?}"));
    }
    let numbers: Vec<u64> = found.iter().map(|step| step.number).collect();
    let in_order: Vec<u64> = (1..=numbers.len() as u64).collect();
    if numbers != in_order {
        broken.push(format!("its steps came as {numbers:?}"));
    }
    let whole = job.plugin == WRITE && !job.batch && job.status == "completed";
    if whole && numbers.len() as u64 != job.steps {
        broken.push(format!(
            "has completed with {} of {} steps",
            numbers.len(),
            job.steps
        ));
    }
    broken
}

/// Checks that a reading job has its commands in order, for each attempt; all of them if it has
/// completed.
fn reads(job: &Job) -> Vec<String> {
    if job.plugin != READ || job.batch {
        return Vec::new();
    }
    let mut broken = Vec::new();
    let mut attempts: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for result in &job.results {
        attempts
            .entry(result.attempt)
            .or_default()
            .push(&result.command);
    }
    for (number, commands) in &attempts {
        if !READ_COMMANDS.starts_with(commands) {
            broken.push(format!("attempt {number} has the results {commands:?}"));
        }
    }
    let last = attempts.get(&job.attempt).map_or(0, Vec::len);
    if job.status == "completed" && last != READ_COMMANDS.len() {
        broken.push(format!("has completed with {last} results"));
    }
    broken
}

/// Checks that no step was sent to the device twice.
fn sent_once(device: &Device) -> Vec<String> {
    let mut seen: HashMap<Step, usize> = HashMap::new();
    for step in device.seen.iter().filter_map(|line| Step::in_line(line)) {
        *seen.entry(step).or_default() += 1;
    }
    let twice = seen.iter().filter(|(_, times)| **times > 1);
    twice
        .map(|(step, times)| {
            format!(
                "{}: step {} was sent {times} times to {}",
                step.job, step.number, device.name
            )
        })
        .collect()
}

/// Checks that every step that the device received is in its job's results.
fn in_results(device: &Device, evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for line in &device.seen {
        let Some(step) = Step::in_line(line) else {
            continue;
        };
        let Some(job) = evidence.jobs.get(&step.job) else {
            if !evidence.told.deleted.contains(&step.job) {
                broken.push(format!(
                    "{}: {} was sent `{line}` by a job that is not there",
                    step.job, device.name
                ));
            }
            continue;
        };
        let told = job
            .results
            .iter()
            .any(|result| result.command == *line && result.target == device.name);
        if !told {
            broken.push(format!(
                "{}: {} was sent `{line}`, which is not in its results",
                step.job, device.name
            ));
        }
    }
    broken
}

/// Checks that the device received every command with a result.
fn answered(device: &Device, evidence: &Evidence) -> Vec<String> {
    let mut sent: HashMap<&str, usize> = HashMap::new();
    for line in &device.seen {
        *sent.entry(line).or_default() += 1;
    }
    let mut broken = Vec::new();
    for (id, job) in &evidence.jobs {
        for result in &job.results {
            let once = Step::in_line(&result.command).is_some();
            if result.target != device.name || result.error.is_some() || !(once || device.reads) {
                continue;
            }
            match sent.get_mut(result.command.as_str()) {
                Some(left) if *left > 0 => *left -= 1,
                _ => broken.push(format!(
                    "{id}: `{}` has an answer, and {} was not sent it",
                    result.command, device.name
                )),
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, TimeDelta, Utc};

    use super::super::evidence::{Cancelled, Done, Message, Told};
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn attempt(number: u64, status: &str) -> Attempt {
        Attempt {
            number,
            status: status.into(),
            started_at: at(number as i64 * 10),
            ended_at: Some(at(number as i64 * 10 + 5)),
        }
    }

    fn done(attempt: u64, command: &str) -> Done {
        Done {
            attempt,
            target: "lab-1".into(),
            command: command.into(),
            error: None,
        }
    }

    /// Returns a job that has written two steps in its second attempt, one that has read, and one
    /// that was interrupted after its first step.
    fn sound() -> Evidence {
        let job = |plugin: &str, status: &str| Job {
            plugin: plugin.into(),
            status: status.into(),
            target: "lab-1".into(),
            attempt: 1,
            steps: 2,
            attempts: vec![attempt(1, status)],
            ..Job::default()
        };
        let wrote = Job {
            description: "key".into(),
            attempt: 2,
            attempts: vec![attempt(1, "retrying"), attempt(2, "completed")],
            results: vec![
                done(2, "ping wrote.step.1"),
                done(2, "interface x"),
                done(2, "description wrote.step.2"),
            ],
            ..job(WRITE, "completed")
        };
        let read = Job {
            description: "another key".into(),
            results: READ_COMMANDS
                .iter()
                .map(|command| done(1, command))
                .collect(),
            ..job(READ, "completed")
        };
        let cut = Job {
            description: "a third key".into(),
            results: vec![Done {
                error: Some("no answer".into()),
                ..done(1, "ping cut.step.1")
            }],
            ..job(WRITE, "failed")
        };
        let lab = Device {
            name: "lab-1".into(),
            seen: [
                "ping cut.step.1",
                "ping wrote.step.1",
                "interface x",
                "description wrote.step.2",
            ]
            .iter()
            .chain(&READ_COMMANDS)
            .map(|line| (*line).to_owned())
            .collect(),
            reads: true,
        };
        Evidence {
            told: Told {
                accepted: ["wrote", "read", "cut"].map(String::from).into(),
                keys: [("key".to_owned(), vec!["wrote".to_owned(); 3])].into(),
                ..Told::default()
            },
            jobs: [("wrote", wrote), ("read", read), ("cut", cut)]
                .map(|(id, job)| (id.to_owned(), job))
                .into(),
            devices: vec![lab],
            messages: [
                ("wrote", "completed"),
                ("read", "completed"),
                ("cut", "failed"),
            ]
            .map(|(id, event)| (id.to_owned(), message(id, event)))
            .into(),
        }
    }

    fn message(id: &str, event: &str) -> BTreeSet<Message> {
        [Message {
            id: format!("of {id}"),
            event: event.into(),
        }]
        .into()
    }

    fn of<'a>(evidence: &'a mut Evidence, id: &str) -> &'a mut Job {
        evidence.jobs.get_mut(id).unwrap()
    }

    /// Returns the broken promises after a change to sound evidence.
    fn planted(plant: impl Fn(&mut Evidence)) -> String {
        let mut evidence = sound();
        assert_eq!(broken(&evidence), Vec::<String>::new());
        plant(&mut evidence);
        broken(&evidence).join("\n")
    }

    #[test]
    fn every_broken_promise_is_found() {
        type Plant = fn(&mut Evidence);
        let cases: [(&str, Plant); 25] = [
            ("the submission key made several jobs", |e| {
                of(e, "cut").description = "key".into();
            }),
            ("no job of chaos-read has completed", |e| {
                of(e, "read").status = "failed".into();
            }),
            ("read: was accepted, and is not there", |e| {
                e.jobs.remove("read");
            }),
            ("made several jobs", |e| {
                e.told.keys.get_mut("key").unwrap().push("read".into());
            }),
            (
                "wrote (chaos-write on lab-1, running): has not ended",
                |e| {
                    of(e, "wrote").status = "running".into();
                },
            ),
            ("1 commands stand as running", |e| of(e, "read").running = 1),
            ("attempts [1], and it counts 2", |e| {
                of(e, "wrote").attempts.pop();
            }),
            ("attempt 1 is running for ever", |e| {
                of(e, "wrote").attempts[0].status = "running".into();
            }),
            ("attempts 1 and 2 ran at once", |e| {
                of(e, "wrote").attempts[0].ended_at = Some(at(21));
            }),
            ("its last attempt is failed", |e| {
                of(e, "read").attempts[0].status = "failed".into();
            }),
            ("a result of attempt 3, which there is not", |e| {
                of(e, "wrote").results[1].attempt = 3;
            }),
            ("two results of `show version` in attempt 1", |e| {
                of(e, "read").results.push(done(1, "show version"));
            }),
            ("its steps came as [2]", |e| {
                of(e, "wrote").results.remove(0);
            }),
            ("results of another job", |e| {
                of(e, "cut").results[0].command = "ping wrote.step.1".into();
            }),
            ("has completed with 2 results", |e| {
                of(e, "read").results.pop();
            }),
            ("cut: step 1 was sent 2 times to lab-1", |e| {
                e.devices[0].seen.push("ping cut.step.1".into());
            }),
            (
                "cut: lab-1 was sent `ping cut.step.1`, which is not in its results",
                |e| {
                    of(e, "cut").results.clear();
                },
            ),
            ("nobody was notified of its end", |e| {
                e.messages.remove("read");
            }),
            ("a notification says that it has failed", |e| {
                e.messages.insert("read".into(), message("read", "failed"));
            }),
            ("several notifications were sent of it", |e| {
                let other = message("once more", "completed");
                e.messages.get_mut("read").unwrap().extend(other);
            }),
            ("notifications were sent of it: [\"failed\"]", |e| {
                of(e, "cut").is_child = true;
            }),
            (
                "unknown: a notification was sent of a job that is not there",
                |e| {
                    e.messages
                        .insert("unknown".into(), message("unknown", "failed"));
                },
            ),
            ("by a job that is not there", |e| {
                e.devices[0].seen.push("ping unknown.step.1".into());
            }),
            (
                "`show inventory` has an answer, and lab-1 was not sent it",
                |e| {
                    e.devices[0].seen.retain(|line| line != "show inventory");
                },
            ),
            (
                "`ping wrote.step.1` has an answer, and lab-1 was not sent it",
                |e| {
                    e.devices[0].seen.retain(|line| line != "ping wrote.step.1");
                },
            ),
        ];
        for (expected, plant) in cases {
            let found = planted(plant);
            assert!(found.contains(expected), "{expected:?} is not in:\n{found}");
        }
    }

    #[test]
    fn what_was_cancelled_stays_so() {
        let cancelled = |at_once, seconds| {
            planted(move |evidence| {
                let cancelled = Cancelled {
                    told_at: at(seconds),
                    at_once,
                };
                evidence.told.cancelled.insert("wrote".into(), cancelled);
            })
        };
        assert!(cancelled(true, 18).contains("wrote: was cancelled, and is completed"));
        assert!(cancelled(false, 18).contains("attempt 2 began after it was cancelled"));
        assert_eq!(
            cancelled(false, 22),
            "",
            "it ran, and came to its end first"
        );
        let changed = planted(|evidence| {
            evidence
                .told
                .ended
                .insert("wrote".into(), "cancelled".into());
        });
        assert!(changed.contains("wrote: was cancelled, and is completed"));
    }

    #[test]
    fn what_was_deleted_is_not_missed() {
        let found = planted(|evidence| {
            evidence.jobs.remove("cut");
            evidence.told.deleted.insert("cut".into());
            evidence.devices[0]
                .seen
                .retain(|line| !line.contains("cut"));
        });
        assert_eq!(found, "");
    }
}
