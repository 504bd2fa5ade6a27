//! Requests over HTTP and connections of Socket.IO, as an attacker makes them: by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The address of all attackers. It is of this machine, as all that begin with 127 are.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 6, 6, 6);

/// The addresses of a client and of the server.
#[derive(Clone)]
pub(crate) struct Client {
    from: Ipv4Addr,
    address: Arc<str>,
    /// Bytes that the kernel may hold for it unread, if they are few.
    receive_buffer: Option<u32>,
}

/// A connection of Socket.IO that has joined the main namespace.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    requests: u64,
}

impl Client {
    pub(crate) fn innocent(address: &str) -> Self {
        Self { from: Ipv4Addr::LOCALHOST, address: address.into(), receive_buffer: None }
    }

    pub(crate) fn attacker(address: &str) -> Self {
        Self { from: ATTACKER, ..Self::innocent(address) }
    }

    /// The same on a machine that takes in little that is not read.
    pub(crate) fn slow(&self) -> Self {
        Self { receive_buffer: Some(4096), ..self.clone() }
    }

    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(SocketAddr::new(self.from.into(), 0))?;
        let stream = socket.connect(self.address.parse()?).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The bytes of a request. `headers` are whole lines.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &str, length: usize) -> String {
        let host = &self.address;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
    }

    /// Sends a request on a connection of its own, reads the whole answer, and returns the status.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<u16> {
        Ok(self.answer(method, path, headers, body).await?.0)
    }

    /// The same, with the body.
    pub(crate) async fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<(u16, Vec<u8>)> {
        let mut stream = self.connect().await?;
        let headers = format!("{headers}Connection: close\r\n");
        stream.write_all(self.head(method, path, &headers, body.len()).as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut stream = BufReader::new(stream);
        let status = status(&mut stream).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4);
        Ok((status, answer.split_off(body)))
    }

    /// Connects and joins the main namespace, with this auth.
    pub(crate) async fn socket(&self, auth: &str) -> Result<Socket> {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", self.address);
        let (stream, _) = client_async(url, self.connect().await?).await?;
        let mut socket = Socket { stream, requests: 0 };
        socket.until("0").await?;
        socket.send(format!("40{auth}")).await?;
        socket.until("40").await?;
        Ok(socket)
    }

    /// Begins a session that polls, and returns its path.
    pub(crate) async fn polling(&self) -> Result<String> {
        const PATH: &str = "/socket.io/?EIO=4&transport=polling";
        let (status, answer) = self.answer("GET", PATH, "", "").await?;
        ensure!(status == 200, "handshake: {status}");
        let answer = String::from_utf8_lossy(&answer);
        let sid = answer.split('"').nth(3).context("an id of a session")?;
        Ok(format!("{PATH}&sid={sid}"))
    }
}

/// The status of an answer that begins here.
pub(crate) async fn status(stream: &mut BufReader<TcpStream>) -> Result<u16> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).await? > 0, "closed without an answer");
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")
}

impl Socket {
    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: String) -> Result<()> {
        Ok(self.stream.send(Message::text(frame)).await?)
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn request(&mut self, verb: &str, request: &str) -> Result<u64> {
        self.requests += 1;
        let number = self.requests;
        self.send(format!("42{number}[\"{verb}\",{request}]")).await?;
        Ok(number)
    }

    /// Sends a request and returns the status of its answer.
    pub(crate) async fn ask(&mut self, verb: &str, request: &str) -> Result<u16> {
        let number = self.request(verb, request).await?;
        let answer = self.until(&format!("43{number}[")).await?;
        status_in(&answer).with_context(|| answer.chars().take(200).collect::<String>())
    }

    /// The status of the next answer, to whichever request.
    pub(crate) async fn answered(&mut self) -> Result<u16> {
        let answer = self.until("43").await?;
        // An answer without a status is to something that is no request, such as `resume`.
        Ok(status_in(&answer).unwrap_or(200))
    }

    /// Skips frames up to one that begins so. Pings are answered.
    pub(crate) async fn until(&mut self, begin: &str) -> Result<String> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(frame))) if frame.as_str() == "2" => {
                    self.send("3".into()).await?;
                }
                Some(Ok(Message::Text(frame))) if frame.starts_with(begin) => {
                    return Ok(frame.to_string());
                }
                Some(Ok(Message::Text(frame))) if frame.starts_with("44") => {
                    bail!("refused: {frame}")
                }
                Some(Ok(Message::Close(_))) | None => bail!("closed"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Reads until the connection ends.
    pub(crate) async fn until_closed(&mut self) {
        while self.until("nothing begins so").await.is_ok() {}
    }
}

/// The status in an answer of the server.
fn status_in(answer: &str) -> Option<u16> {
    let (_, rest) = answer.rsplit_once(r#""statusCode":"#)?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_from_a_response() {
        let answer = r#"431[{"body":{"id":1},"statusCode":404,"headers":{}}]"#;
        assert_eq!(status_in(answer), Some(404));
        assert_eq!(status_in("431[[]]"), None);
    }
}
