//! A back end that sends: HTTP over one connection, one request after the other.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::site::{API_KEY, NAME};

/// One connection.
pub(super) struct BackEnd {
    stream: BufReader<TcpStream>,
    address: String,
    line: String,
    body: Vec<u8>,
}

impl BackEnd {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address.replace("localhost", "127.0.0.1")).await?;
        stream.set_nodelay(true)?;
        let stream = BufReader::new(stream);
        Ok(Self { stream, address: address.into(), line: String::new(), body: Vec::new() })
    }

    /// Sends, and waits until the message is stored.
    pub(super) async fn send(&mut self, body: &str) -> Result<()> {
        let request = format!(
            "POST /send?site={NAME}&apiKey={API_KEY} HTTP/1.1\r\nHost: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let is_done = self.line().await?.contains(" 200 ");
        let mut length = None;
        while !self.line().await?.is_empty() {
            if let Some(("content-length", value)) = self.line.split_once(": ") {
                length = Some(value.parse()?);
            }
        }
        self.body.resize(length.context("an answer has a length")?, 0);
        self.stream.read_exact(&mut self.body).await?;
        ensure!(is_done, "{}", String::from_utf8_lossy(&self.body));
        Ok(())
    }

    /// The next line, in lower case and without its end.
    async fn line(&mut self) -> Result<&str> {
        self.line.clear();
        ensure!(
            self.stream.read_line(&mut self.line).await? > 0,
            "the server closed the connection"
        );
        self.line.truncate(self.line.trim_end().len());
        self.line.make_ascii_lowercase();
        Ok(&self.line)
    }
}
