//! A network path that delays every byte, in both directions, without limiting the throughput.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(crate) struct SlowPath {
    port: u16,
}

impl SlowPath {
    /// Starts a path to a port of this machine. It ends with the process.
    pub(crate) async fn start(to: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                here.set_nodelay(true).unwrap();
                there.set_nodelay(true).unwrap();
                let (here_reads, here_writes) = here.into_split();
                let (there_reads, there_writes) = there.into_split();
                tokio::spawn(carry(here_reads, there_writes, round_trip / 2));
                tokio::spawn(carry(there_reads, here_writes, round_trip / 2));
            }
        });
        Self { port }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, time: Duration) {
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = receive.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if send
            .send((Instant::now() + time, buffer[..length].to_vec()))
            .is_err()
        {
            return;
        }
    }
}
