//! The receiver of the campaign's notifications: a real HTTP server, which refuses at times.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::campaign::DRAINED;
use super::evidence::{Job, Message, is_final, text};
use crate::harness::{Received, Receiver};

const KEY: &str = "chaos-key-of-the-webhook";

pub(super) struct Notified {
    receiver: Receiver,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    taken: BTreeMap<String, BTreeSet<Message>>,
    /// The first text of each message.
    texts: BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Notified {
    /// Starts a receiver, and writes the configuration of a server that notifies it of every ended
    /// job.
    pub(super) async fn start(directory: &Path) -> Self {
        let receiver = Receiver::start().await;
        let config = format!(
            "[notifications]\nretry_seconds = 1\n\
             [notifications.channels.ops]\nkind = 'webhook'\nurl = '{}'\nsecret_file = 'hook.key'\n\
             [[notifications.rules]]\non = ['failed', 'cancelled', 'completed']\nchannels = ['ops']\n",
            receiver.url
        );
        std::fs::write(directory.join("config.toml"), config).unwrap();
        std::fs::write(directory.join("hook.key"), KEY).unwrap();
        Self {
            receiver,
            seen: Mutex::default(),
        }
    }

    /// Responds with a status to every request for a while.
    pub(super) async fn refuse(&self, answer: u16, pause: Duration) {
        self.receiver.answers(answer);
        tokio::time::sleep(pause).await;
        self.receiver.answers(200);
    }

    /// Records the received messages.
    pub(super) fn remember(&self) {
        let mut seen = self.seen.lock().unwrap();
        for message in self.receiver.all() {
            seen.add(&message);
        }
    }

    /// Returns the accepted messages by job, once all ended jobs have one or the time is up.
    pub(super) async fn all_of(
        &self,
        jobs: &BTreeMap<String, Job>,
    ) -> BTreeMap<String, BTreeSet<Message>> {
        let begun = Instant::now();
        let mut look_again = tokio::time::interval(Duration::from_millis(50));
        loop {
            look_again.tick().await;
            self.remember();
            let taken = self.seen.lock().unwrap().taken.clone();
            let mut ended = jobs
                .iter()
                .filter(|(_, job)| is_final(&job.status) && !job.is_child);
            // The promises find and name missing messages.
            if ended.all(|(id, _)| taken.contains_key(id)) || begun.elapsed() > DRAINED {
                return taken;
            }
        }
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.seen.lock().unwrap().wrong.clone()
    }
}

impl Seen {
    fn add(&mut self, message: &Received) {
        let id = text(&message.body["id"]);
        if !message.is_signed_with(KEY) {
            self.wrong.push(format!("notification {id}: not signed"));
        }
        let first = self.texts.entry(id.clone()).or_insert(message.text.clone());
        if *first != message.text {
            self.wrong.push(format!(
                "notification {id}: said {first}, and then {}",
                message.text
            ));
        }
        if message.answer.is_success() {
            let event = text(&message.body["event"]);
            let job = text(&message.body["job"]["id"]);
            self.taken
                .entry(job)
                .or_default()
                .insert(Message { id, event });
        }
    }
}
