//! A client for device terminals, over a bare WebSocket.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{DEADLINE, TestHost};

pub(crate) struct Terminal {
    socket: WebSocketStream<TcpStream>,
    /// The device's output so far.
    pub(crate) shown: String,
}

impl Terminal {
    /// Opens the terminal of a connection; a refusal is its status.
    pub(crate) async fn open(host: &TestHost, name: &str, query: &str) -> Result<Self, u16> {
        Self::open_with(host, name, query, &[]).await
    }

    /// Opens a terminal with headers, as a browser would send them.
    pub(crate) async fn open_with(
        host: &TestHost,
        name: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let url = host
            .client
            .url(&format!("/api/connections/{name}/terminal{query}"));
        let address = host.client.url("").replace("http://", "");
        let mut request = url
            .replace("http://", "ws://")
            .into_client_request()
            .unwrap();
        for (header, value) in headers {
            request
                .headers_mut()
                .insert(*header, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match timeout(DEADLINE, tokio_tungstenite::client_async(request, stream)).await {
            Ok(Ok((socket, _))) => Ok(Self {
                socket,
                shown: String::new(),
            }),
            Ok(Err(Error::Http(response))) => Err(response.status().as_u16()),
            other => panic!("no answer to the upgrade: {other:?}"),
        }
    }

    /// Opens a terminal, and waits for the login.
    pub(crate) async fn opened(host: &TestHost, name: &str, query: &str) -> Self {
        let mut terminal = Self::open(host, name, query).await.unwrap();
        let event = terminal.event().await;
        assert_eq!(event["opened"], serde_json::json!({}), "{event}");
        terminal
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        let bytes = text.as_bytes().to_vec();
        self.socket
            .send(Message::Binary(bytes.into()))
            .await
            .unwrap();
    }

    pub(crate) async fn say(&mut self, control: &Value) {
        let text = control.to_string();
        self.socket.send(Message::Text(text.into())).await.unwrap();
    }

    /// Waits until the device has printed a text.
    pub(crate) async fn shows(&mut self, text: &str) {
        while !self.shown.contains(text) {
            if let Some(event) = self.read().await {
                panic!("{event} before {text:?}: {:?}", self.shown);
            }
        }
    }

    /// Waits for the server's next event, skipping the device's output.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.read().await {
                return event;
            }
        }
    }

    /// Waits until the server has closed the socket.
    pub(crate) async fn ends(&mut self) {
        let ended = async { while let Some(Ok(_)) = self.socket.next().await {} };
        timeout(DEADLINE, ended).await.expect("the socket ends");
    }

    async fn read(&mut self) -> Option<Value> {
        let message = timeout(DEADLINE, self.socket.next()).await;
        match message.unwrap_or_else(|_| panic!("nothing more comes after {:?}", self.shown)) {
            Some(Ok(Message::Binary(bytes))) => {
                self.shown.push_str(&String::from_utf8_lossy(&bytes));
                None
            }
            Some(Ok(Message::Text(text))) => Some(serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?} after {:?}", self.shown),
        }
    }
}
