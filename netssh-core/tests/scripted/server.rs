//! The SSH server of a scripted device.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{self, Auth, ChannelOpenHandle, Config, Msg, Response};
use russh::{Channel, ChannelId, ChannelMsg, MethodKind, MethodSet, Pty};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::cli::Cli;
use super::{Device, PASSWORD, PAUSE, Record, USERNAME};

/// Accepts connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, device: Arc<Device>, record: Arc<Record>) {
    let method = match device.questions.is_empty() {
        true => MethodKind::Password,
        false => MethodKind::KeyboardInteractive,
    };
    let config = Arc::new(Config {
        methods: MethodSet::from(&[method][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 3,
        keys: vec![PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))],
        ..Config::default()
    });
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let client = Client {
            device: Arc::clone(&device),
            record: Arc::clone(&record),
            channel: None,
            asked: 0,
        };
        connections.spawn(connection(stream, Arc::clone(&config), client));
    }
}

async fn connection(stream: TcpStream, config: Arc<Config>, client: Client) {
    let _ = stream.set_nodelay(true);
    if let Ok(session) = server::run_stream(config, stream, client).await {
        let _ = session.await;
    }
}

struct Client {
    device: Arc<Device>,
    record: Arc<Record>,
    channel: Option<Channel<Msg>>,
    /// The number of keyboard-interactive questions asked so far.
    asked: usize,
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        // Some devices take terminal options after the user name.
        let name = user.split('+').next().unwrap_or(user);
        let is_offered = self.device.questions.is_empty();
        Ok(
            match is_offered && name == USERNAME && password == PASSWORD {
                true => Auth::Accept,
                false => Auth::reject(),
            },
        )
    }

    /// Asks one question at a time.
    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if let Some(response) = response {
            for answer in response {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                self.record.answered(&answer);
                let asked = self.device.questions.get(self.asked.wrapping_sub(1));
                let wanted = asked.and_then(|asked| asked.answer);
                if wanted.is_some_and(|wanted| wanted != answer) {
                    return Ok(Auth::reject());
                }
            }
        }
        let Some(&asked) = self.device.questions.get(self.asked) else {
            return Ok(Auth::Accept);
        };
        self.asked += 1;
        Ok(Auth::Partial {
            name: Cow::Borrowed(""),
            instructions: Cow::Borrowed(""),
            prompts: vec![(Cow::Borrowed(asked.question), asked.shown)].into(),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let Some(channel) = self.channel.take() else {
            return session.channel_failure(id);
        };
        let (device, record) = (Arc::clone(&self.device), Arc::clone(&self.record));
        tokio::spawn(async move {
            let _ = command_line(channel, &device, &record).await;
            record.ended.send_modify(|count| *count += 1);
        });
        session.channel_success(id)
    }
}

/// Runs one session until either side ends it.
async fn command_line(
    mut channel: Channel<Msg>,
    device: &Device,
    record: &Record,
) -> Result<(), russh::Error> {
    let mut cli = Cli::new(device, record);
    loop {
        print(&channel, device, record, &std::mem::take(&mut cli.output)).await?;
        if cli.closed {
            channel.exit_status(0).await?;
            return channel.close().await;
        }
        let Some(message) = channel.wait().await else {
            return Ok(());
        };
        match message {
            ChannelMsg::Data { data } => cli.receive(&data),
            ChannelMsg::Eof | ChannelMsg::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn print(
    channel: &Channel<Msg>,
    device: &Device,
    record: &Record,
    text: &str,
) -> Result<(), russh::Error> {
    record.said(text);
    for (index, part) in text.split(PAUSE).enumerate() {
        if index > 0 {
            // The silence simulates the device; the test does not wait for anything here.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for packet in part.as_bytes().chunks(device.packet) {
            channel.data_bytes(packet.to_vec()).await?;
        }
    }
    Ok(())
}
