//! A client that does as little as possible: text frames over a WebSocket.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// One connection, joined to one namespace.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// As in frames: empty for the main namespace, and `/name,` for others.
    namespace: String,
    requests: u64,
}

/// Created records that one frame announces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) count: usize,
    /// The sum of their ids.
    pub(crate) ids: u64,
}

/// The one argument of an ack.
#[derive(Deserialize)]
struct Reply<T> {
    body: T,
    #[serde(rename = "statusCode")]
    status: u16,
}

impl Socket {
    /// Joins a namespace, with an auth in JSON (or nothing).
    pub(crate) async fn connect(address: &str, namespace: &str, auth: &str) -> Result<Self> {
        let tcp = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = client_async(url, tcp).await?;
        let mut socket = Self { stream, namespace: namespace.into(), requests: 0 };
        while !socket.frame().await?.starts_with('0') {}
        socket.send(format!("40{namespace}{auth}")).await?;
        loop {
            let frame = socket.frame().await?;
            ensure!(!frame.starts_with("44"), "refused: {frame}");
            if frame.starts_with("40") {
                return Ok(socket);
            }
        }
    }

    /// Sends a request without waiting for its reply.
    pub(crate) async fn request(&mut self, verb: &str, request: &str) -> Result<()> {
        self.requests += 1;
        self.send(format!("42{}{}[\"{verb}\",{request}]", self.namespace, self.requests)).await
    }

    /// The body of the next reply, to whichever request. Other frames are skipped.
    pub(crate) async fn reply<T: DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            let frame = self.frame().await?;
            let Some(ack) = frame.strip_prefix("43") else { continue };
            let start = ack.find('[').context("an ack has arguments")?;
            let reply = serde_json::from_str::<(Reply<T>,)>(&ack[start..]);
            let (reply,) = reply.with_context(|| format!("unexpected reply: {frame}"))?;
            ensure!(reply.status < 300, "refused: {frame}");
            return Ok(reply.body);
        }
    }

    /// The created records of the next push. Other frames are skipped.
    pub(crate) async fn created(&mut self) -> Result<Created> {
        loop {
            let frame = self.frame().await?;
            if let Some(created) = created(&frame).with_context(|| format!("push: {frame}"))? {
                return Ok(created);
            }
        }
    }

    /// The number of messages in the next event that needs an ack. Acks it.
    pub(crate) async fn messages(&mut self) -> Result<usize> {
        loop {
            let frame = self.frame().await?;
            let Some(event) =
                frame.strip_prefix("42").and_then(|it| it.strip_prefix(&*self.namespace))
            else {
                continue;
            };
            let start = event.find('[').context("an event has arguments")?;
            ensure!(start > 0, "an event without an ack: {frame}");
            let ack = format!("43{}{}[]", self.namespace, &event[..start]);
            let parts: Vec<&RawValue> = serde_json::from_str(&event[start..])?;
            let count = match parts[..] {
                // Messages that waited for the client, all at once.
                [name, messages] if name.get() == "\"batch\"" => {
                    serde_json::from_str::<Vec<&RawValue>>(messages.get())?.len()
                }
                _ => 1,
            };
            self.send(ack).await?;
            return Ok(count);
        }
    }

    /// Reads until the connection ends, and returns why it did.
    pub(crate) async fn answer_heartbeats(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.frame().await {
                return error;
            }
        }
    }

    async fn send(&mut self, frame: String) -> Result<()> {
        Ok(self.stream.send(Message::text(frame)).await?)
    }

    /// The next frame that is not a ping. Pings are answered.
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
                None => bail!("the server closed the connection"),
            }
        }
    }
}

/// A change as stock clients and the peers' clients get it.
#[derive(Deserialize)]
struct Change<'a> {
    verb: &'a str,
    id: u64,
}

/// Offset, verb, id, data, mark.
type RuntimeChange = (u64, u8, u64, IgnoredAny, IgnoredAny);

/// The created records that a frame announces, or `None` if it is no push.
fn created(frame: &str) -> Result<Option<Created>> {
    let Some(event) = frame.strip_prefix("42") else { return Ok(None) };
    let change = if event.starts_with(r#"["todo","#) {
        serde_json::from_str::<(IgnoredAny, Change<'_>)>(event)?.1
    } else if event.starts_with(r#"["push","todo",{"#) {
        serde_json::from_str::<(IgnoredAny, IgnoredAny, Change<'_>)>(event)?.2
    } else if event.starts_with(r#"["push","#) {
        let (.., changes): (IgnoredAny, IgnoredAny, u64, u64, Vec<RuntimeChange>) =
            serde_json::from_str(event)?;
        ensure!(changes.iter().all(|&(_, verb, ..)| verb != 2), "no update is expected");
        let creates = changes.iter().filter(|&&(_, verb, ..)| verb == 1);
        let ids: Vec<_> = creates.map(|&(_, _, id, ..)| id).collect();
        return Ok(Some(Created { count: ids.len(), ids: ids.iter().sum() }));
    } else {
        return Ok(None);
    };
    Ok(match change.verb {
        "created" => Some(Created { count: 1, ids: change.id }),
        "destroyed" => None,
        verb => bail!("no {verb} is expected"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_of_every_server_are_counted_by_record() {
        let count = |frame| created(frame).unwrap();
        let two = r#"42["push","todo",5,3,[[4,1,9,{"id":9},0],[5,1,8,{"id":8},12]]]"#;
        assert_eq!(count(two), Some(Created { count: 2, ids: 17 }));
        let toy = r#"42["push","todo",{"verb":"created","id":7,"data":{"id":7}}]"#;
        assert_eq!(count(toy), Some(Created { count: 1, ids: 7 }));
        let stock = r#"42["todo",{"verb":"created","id":6,"data":{"id":6}}]"#;
        assert_eq!(count(stock), Some(Created { count: 1, ids: 6 }));
        assert_eq!(count("431[{}]"), None);
        let destroyed = r#"42["push","todo",5,3,[[4,3,9,null,0]]]"#;
        assert_eq!(count(destroyed), Some(Created { count: 0, ids: 0 }));
        assert_eq!(count(r#"42["todo",{"verb":"destroyed","id":6}]"#), None);
        assert!(created(r#"42["push","todo",5,3,[[4,2,9,{},0]]]"#).is_err());
    }
}
