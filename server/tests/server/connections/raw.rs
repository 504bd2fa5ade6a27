//! A TCP connection with raw bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection for consecutive requests.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer: status, head and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), received: Vec::new() }
    }

    /// Connects from this local address.
    pub async fn connect_from(own: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((own, 0))).unwrap();
        Self { stream: socket.connect(addr).await.unwrap(), received: Vec::new() }
    }

    pub async fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    /// Sends a GET and returns the answer, or an error if the connection is closed.
    pub async fn get(&mut self, url: &str) -> io::Result<Answer> {
        self.write(&format!("GET {url} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await?;
        self.answer().await
    }

    /// Receives the next answer, which must have a `Content-Length`.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.take_until("\r\n\r\n").await?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        while self.received.len() < length {
            self.read().await?;
        }
        let body = self.received.drain(..length).collect();
        Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    /// Waits until the server closes the connection, and returns what it sent before.
    pub async fn is_closed(&mut self) -> String {
        while self.read().await.is_ok() {}
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    async fn take_until(&mut self, end: &str) -> io::Result<String> {
        loop {
            let mut windows = self.received.windows(end.len());
            if let Some(at) = windows.position(|window| window == end.as_bytes()) {
                let head = self.received.drain(..at + end.len()).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
