//! A proxy in front of Redis that can be slow, silent or closed.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// The state of the simulated network, which decides about the bytes of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NetworkState {
    /// It passes them on this much later.
    Open(Duration),
    /// It keeps them until the network is open again, and the connections stay.
    Silent,
    /// It ends all connections, and accepts no others.
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct State {
    network: NetworkState,
    /// The port that new connections lead to.
    to: u16,
}

/// A proxy to a port of this machine, which ends with the process.
pub(super) struct Proxy {
    pub(super) port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, state) =
            watch::channel(State { network: NetworkState::Open(Duration::ZERO), to });
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, state.clone()));
            }
        });
        Self { port, state: sender }
    }

    /// Ends all connections, and accepts no others.
    pub(super) fn close(&self) {
        self.set(NetworkState::Closed);
    }

    /// Passes nothing on until it is open again. No connection ends.
    pub(super) fn silence(&self) {
        self.set(NetworkState::Silent);
    }

    pub(super) fn open(&self) {
        self.set(NetworkState::Open(Duration::ZERO));
    }

    /// Passes everything on this much later, in both directions.
    pub(super) fn delay(&self, time: Duration) {
        self.set(NetworkState::Open(time));
    }

    /// Leads new connections to another port. The proxy has to be closed.
    pub(super) fn set_target_port(&self, to: u16) {
        self.state.send_modify(|state| state.to = to);
    }

    fn set(&self, network: NetworkState) {
        self.state.send_modify(|state| state.network = network);
    }
}

async fn connect(client: TcpStream, state: watch::Receiver<State>) {
    let State { network, to } = *state.borrow();
    if network == NetworkState::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let mut closed = state.clone();
    tokio::select! {
        _ = closed.wait_for(|state| state.network == NetworkState::Closed) => {}
        () = pass(from_client, to_server, state.clone()) => {}
        () = pass(from_server, to_client, state.clone()) => {}
    }
}

/// Passes bytes on until one side ends.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let is_open = |state: &State| matches!(state.network, NetworkState::Open(_));
        let Ok(state) = state.wait_for(is_open).await.map(|state| *state) else { return };
        if let NetworkState::Open(time) = state.network {
            sleep(time).await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
