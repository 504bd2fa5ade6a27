//! A client that does next to nothing: text frames over a WebSocket.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// One connection, joined to one namespace.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// As frames name it: nothing for the main one, and `/name,` for others.
    namespace: String,
    asked: u64,
}

impl Socket {
    /// Joins a namespace, with an auth in JSON.
    pub(crate) async fn connect(address: &str, namespace: &str, auth: &str) -> Result<Self> {
        let tcp = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = client_async(url, tcp).await?;
        let mut socket = Self { stream, namespace: namespace.into(), asked: 0 };
        while !socket.frame().await?.starts_with('0') {}
        socket.send(format!("40{namespace}{auth}")).await?;
        loop {
            let frame = socket.frame().await?;
            ensure!(!frame.starts_with("44"), "not let in: {frame}");
            if frame.starts_with("40") {
                return Ok(socket);
            }
        }
    }

    /// Asks without waiting.
    pub(crate) async fn ask(&mut self, verb: &str, rest: &str) -> Result<()> {
        self.asked += 1;
        self.send(format!("42{}{}[\"{verb}\",{{{rest}}}]", self.namespace, self.asked)).await
    }

    /// The next answer, whichever it is of; what else comes is passed over.
    pub(crate) async fn answer(&mut self) -> Result<Value> {
        loop {
            let frame = self.frame().await?;
            let Some(ack) = frame.strip_prefix("43") else { continue };
            let start = ack.find('[').context("an ack has arguments")?;
            let mut arguments: Vec<Value> = serde_json::from_str(&ack[start..])?;
            let answer = arguments.pop().context("an ack has an argument")?;
            ensure!(answer["statusCode"].as_u64().is_some_and(|code| code < 300), "{answer}");
            return Ok(answer);
        }
    }

    /// How many changes the next push tells of.
    pub(crate) async fn deliveries(&mut self) -> Result<usize> {
        loop {
            let frame = self.frame().await?;
            let Some(event) =
                frame.strip_prefix("42").filter(|event| event.starts_with("[\"push\""))
            else {
                continue;
            };
            let parts: Vec<&RawValue> = serde_json::from_str(event)?;
            // Backwire's has five parts, and the last is a list of changes; the others' is a change.
            return match parts[..] {
                [_, _, _, _, changes] => {
                    Ok(serde_json::from_str::<Vec<&RawValue>>(changes.get())?.len())
                }
                _ => Ok(1),
            };
        }
    }

    /// How many messages the next event that is to be acked tells of. It is acked.
    pub(crate) async fn messages(&mut self) -> Result<usize> {
        loop {
            let frame = self.frame().await?;
            let Some(event) =
                frame.strip_prefix("42").and_then(|it| it.strip_prefix(&*self.namespace))
            else {
                continue;
            };
            let start = event.find('[').context("an event has arguments")?;
            ensure!(start > 0, "nothing that is to be acked: {frame}");
            let ack = format!("43{}{}[]", self.namespace, &event[..start]);
            let parts: Vec<&RawValue> = serde_json::from_str(&event[start..])?;
            let count = match parts[..] {
                // What waited, all at once.
                [name, messages] if name.get() == "\"batch\"" => {
                    serde_json::from_str::<Vec<&RawValue>>(messages.get())?.len()
                }
                _ => 1,
            };
            self.send(ack).await?;
            return Ok(count);
        }
    }

    async fn send(&mut self, frame: String) -> Result<()> {
        Ok(self.stream.send(Message::text(frame)).await?)
    }

    /// The next frame that is not a ping, which is answered.
    async fn frame(&mut self) -> Result<Utf8Bytes> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(frame))) if frame.as_str() == "2" => {
                    self.send("3".into()).await?;
                }
                Some(Ok(Message::Text(frame))) => return Ok(frame),
                Some(Ok(Message::Close(reason))) => bail!("the server closed: {reason:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the server went away"),
            }
        }
    }
}
