//! Limits the number of open connections, in total and per client address.
//!
//! At a limit, a new connection displaces the one that has waited for its client the longest, so that
//! idle clients and incomplete requests cannot lock others out. If all connections have a request in
//! progress, the new one is rejected.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::Limits;
use super::connection::Connection;
use super::io::BoxedStream;
use super::listener::Peer;

/// Maximum number of rejected connections that get a response at the same time; further ones are just
/// closed.
const MAX_REFUSED: usize = 32;
/// Timeout for the response to a rejected client.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const REFUSAL_DETAIL: &str = "connection limit reached (server.max_connections, \
                              server.max_connections_per_address); retry later";

/// The open connections.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    open: Mutex<Open>,
    freed: Notify,
    refused: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    connections: HashMap<u64, OpenConnection>,
    by_client: HashMap<Client, usize>,
}

#[derive(Debug)]
struct OpenConnection {
    connection: Arc<Connection>,
    client: Option<Client>,
}

/// A client as identified by its address: an IPv4 address, or the /64 network of an IPv6 address, which
/// a single machine can use entirely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(IpAddr);

/// The slot of an open connection, released on drop.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    connection: Arc<Connection>,
}

pub(super) enum Admission {
    Admitted(Slot),
    Refused(Refusal),
}

/// The limit that a connection exceeded.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    Connections(usize),
    ConnectionsPerAddress(usize),
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
            freed: Notify::new(),
            refused: Arc::new(Semaphore::new(MAX_REFUSED)),
        }
    }

    pub(super) fn admit(self: &Arc<Self>, peer: &Peer) -> Admission {
        let client = Client::of(peer);
        let mut open = self.open.lock();
        let of_client = client.and_then(|client| open.by_client.get(&client));
        let limit = self.limits.connections_per_address;
        if of_client.is_some_and(|open| *open >= limit)
            && !open.displace_longest_waiting(|held| held.client == client)
        {
            return Admission::Refused(Refusal::ConnectionsPerAddress(limit));
        }
        let limit = self.limits.connections;
        if open.connections.len() >= limit && !open.displace_longest_waiting(|_| true) {
            return Admission::Refused(Refusal::Connections(limit));
        }
        let (id, connection) = open.add(client);
        Admission::Admitted(Slot {
            slots: Arc::clone(self),
            id,
            connection,
        })
    }

    /// Closes the connection that has waited for its client the longest, if any.
    pub(super) fn close_longest_waiting(&self) {
        self.open.lock().displace_longest_waiting(|_| true);
    }

    /// Waits until a connection is closed.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Responds to a rejected connection with status 503, unless too many such responses are in
    /// progress.
    pub(super) fn answer_refused(
        &self,
        stream: BoxedStream,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let permit = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some(async move {
            let _ = timeout(REFUSAL_TIMEOUT, refuse(stream)).await;
            drop(permit);
        })
    }
}

impl Open {
    fn add(&mut self, client: Option<Client>) -> (u64, Arc<Connection>) {
        let id = self.next_id;
        self.next_id += 1;
        let connection = Arc::new(Connection::new());
        let held = OpenConnection {
            connection: Arc::clone(&connection),
            client,
        };
        self.connections.insert(id, held);
        if let Some(client) = client {
            *self.by_client.entry(client).or_default() += 1;
        }
        (id, connection)
    }

    fn remove(&mut self, id: u64) -> Option<OpenConnection> {
        let held = self.connections.remove(&id)?;
        if let Some(client) = held.client
            && let Some(open) = self.by_client.get_mut(&client)
        {
            *open -= 1;
            if *open == 0 {
                self.by_client.remove(&client);
            }
        }
        Some(held)
    }

    /// Releases the slot at once; its connection ends shortly after. Returns whether one was found.
    fn displace_longest_waiting(&mut self, among: impl Fn(&OpenConnection) -> bool) -> bool {
        let waiting = self.connections.iter().filter(|(_, held)| among(held));
        let waiting =
            waiting.filter_map(|(id, held)| Some((held.connection.waiting_since()?, *id)));
        let Some((_since, id)) = waiting.min() else {
            return false;
        };
        if let Some(held) = self.remove(id) {
            held.connection.displace();
        }
        true
    }
}

impl Slot {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open.lock().remove(self.id);
        self.slots.freed.notify_one();
    }
}

impl Client {
    /// Returns the client of a peer. Loopback and the Unix socket are not counted, because all clients
    /// of a local proxy come from there.
    fn of(peer: &Peer) -> Option<Self> {
        let Peer::Tcp(address) = peer else {
            return None;
        };
        match address.ip().to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V6(ip) => {
                let network = ip.to_bits() & !u128::from(u64::MAX);
                Some(Self(Ipv6Addr::from_bits(network).into()))
            }
            ip => Some(Self(ip)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(limit) => {
                write!(
                    f,
                    "connection limit of {limit} reached, all with a request in progress \
                           (server.max_connections)"
                )
            }
            Self::ConnectionsPerAddress(limit) => write!(
                f,
                "connection limit of {limit} per address reached, all with a request in progress \
                 (server.max_connections_per_address)"
            ),
        }
    }
}

async fn refuse(mut stream: BoxedStream) -> std::io::Result<()> {
    stream.write_all(refusal_answer().as_bytes()).await?;
    stream.shutdown().await?;
    // Drains the request, because closing a connection with unread bytes resets it and loses the
    // response.
    let mut unread = [0; 4096];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// Returns the response that is sent without reading the request.
fn refusal_answer() -> String {
    let body = format!(
        r#"{{"type":"/problems/too-many-connections","title":"Service Unavailable","status":503,"detail":"{REFUSAL_DETAIL}"}}"#
    );
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/problem+json\r\n\
         content-length: {length}\r\n\
         retry-after: 1\r\n\
         connection: close\r\n\
         x-content-type-options: nosniff\r\n\
         content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n\
         \r\n\
         {body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(connections: usize, connections_per_address: usize) -> Arc<Slots> {
        Arc::new(Slots::new(Limits {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(30),
            connections,
            connections_per_address,
        }))
    }

    fn peer(ip: &str) -> Peer {
        Peer::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    fn admitted(admission: Admission) -> Slot {
        match admission {
            Admission::Admitted(slot) => slot,
            Admission::Refused(refusal) => panic!("{refusal}"),
        }
    }

    fn refused(admission: Admission) -> Refusal {
        match admission {
            Admission::Admitted(_) => panic!("it was admitted"),
            Admission::Refused(refusal) => refusal,
        }
    }

    fn busy(slots: &Arc<Slots>, ip: &str) -> Slot {
        let slot = admitted(slots.admit(&peer(ip)));
        slot.connection().begin_request();
        slot
    }

    #[tokio::test]
    async fn connections_with_requests_are_kept_and_further_ones_refused() {
        let slots = slots(2, 2);
        let first = busy(&slots, "192.0.2.1");
        let _second = busy(&slots, "192.0.2.2");
        let refusal = refused(slots.admit(&peer("192.0.2.3")));
        assert_eq!(refusal, Refusal::Connections(2));
        drop(first);
        admitted(slots.admit(&peer("192.0.2.3")));
    }

    #[tokio::test]
    async fn the_connection_that_has_waited_longest_is_displaced() {
        let slots = slots(3, 3);
        let mut waiting: Vec<_> = (0..3)
            .map(|_| admitted(slots.admit(&peer("192.0.2.1"))))
            .collect();
        waiting[0].connection().begin_request();
        let displaced = |slot: &Slot| slot.connection().is_displaced();
        let _fourth = admitted(slots.admit(&peer("192.0.2.2")));
        let which: Vec<_> = waiting.iter().map(displaced).collect();
        assert_eq!(which, [false, true, false]);
        // The end of a displaced connection does not release a second slot.
        drop(waiting.remove(1));
        assert_eq!(slots.open.lock().connections.len(), 3);
    }

    #[tokio::test]
    async fn clients_are_counted_by_address_but_not_on_loopback_nor_the_socket() {
        let slots = slots(100, 2);
        let _busy: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1"]
            .map(|ip| busy(&slots, ip))
            .into();
        let refusal = refused(slots.admit(&peer("192.0.2.1")));
        assert_eq!(refusal, Refusal::ConnectionsPerAddress(2));
        let _other = busy(&slots, "192.0.2.2");

        let _network: Vec<_> = ["2001:db8::1", "2001:db8::2"]
            .map(|ip| busy(&slots, ip))
            .into();
        refused(slots.admit(&peer("2001:db8::3")));
        let _neighbour = busy(&slots, "2001:db8:0:1::1");

        let _local: Vec<_> = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "::1", "::1"]
            .map(|ip| busy(&slots, ip))
            .into();
        let by_socket = (0..3).map(|_| admitted(slots.admit(&Peer::Unix)));
        assert_eq!(by_socket.collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn a_refusal_is_a_complete_answer() {
        let answer = refusal_answer();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let problem: crate::api::Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.status, 503);
    }
}
