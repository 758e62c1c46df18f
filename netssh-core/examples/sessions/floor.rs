//! The floor of the comparison: russh without any logic. Output is complete when it ends like a prompt.

use std::sync::Arc;

use netssh_core::Endpoint;
use russh::client::{self, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, Disconnect};

pub(crate) struct Floor {
    handle: Handle<AnyKey>,
    channel: Channel<Msg>,
}

pub(crate) struct AnyKey;

impl client::Handler for AnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

impl Floor {
    pub(crate) async fn connect(endpoint: &Endpoint, password: &str) -> Self {
        let config = Arc::new(client::Config {
            nodelay: true,
            ..client::Config::default()
        });
        let address = (endpoint.host.as_str(), endpoint.port);
        let mut handle = client::connect(config, address, AnyKey).await.unwrap();
        handle
            .authenticate_password(&endpoint.username, password)
            .await
            .unwrap();
        let mut channel = handle.channel_open_session().await.unwrap();
        channel
            .request_pty(false, "dumb", 511, 1000, 0, 0, &[])
            .await
            .unwrap();
        channel.request_shell(false).await.unwrap();
        until_prompt(&mut channel).await;
        Self { handle, channel }
    }

    pub(crate) async fn exec(&mut self, command: &str) -> usize {
        let typed = format!("{command}\n").into_bytes();
        self.channel.data_bytes(typed).await.unwrap();
        until_prompt(&mut self.channel).await
    }

    pub(crate) async fn close(self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        goodbye.await.unwrap();
        let _ = self.handle.await;
    }
}

async fn until_prompt(channel: &mut Channel<Msg>) -> usize {
    let mut text = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            text.extend_from_slice(&data);
            if text.ends_with(b"# ") || text.ends_with(b"$ ") || text.ends_with(b"> ") {
                return text.len();
            }
        }
    }
    panic!("channel closed");
}
