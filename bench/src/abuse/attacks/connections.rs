//! Connections that are opened, and requests that are sent in part or whose answers are not read.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::common::{count_answer, count_end, text};
use crate::attack::Target;

pub(super) async fn be_silent(target: Target) -> Result<()> {
    let stream = target.client.connect().await?;
    target.got("connected");
    count_end(&target, stream).await;
    Ok(())
}

pub(super) async fn send_half_header(target: Target) -> Result<()> {
    let head = target.client.head("POST", "/todo", "", 2);
    send_and_wait(&target, &head[..head.len() / 2]).await
}

pub(super) async fn send_half_body(target: Target) -> Result<()> {
    let body = r#"{"title":"#;
    let head = target.client.head("POST", "/todo", "", 2 * body.len());
    send_and_wait(&target, &(head + body)).await
}

/// The bytes that a connection may send before it uses memory that others could use.
const HELD_BYTES: usize = 8 << 10;

pub(super) async fn hold_input(target: Target) -> Result<()> {
    let header = |number| format!("X-{number}: {}\r\n", text(80));
    let headers: String = (0..HELD_BYTES / 90).map(header).collect();
    let head = target.client.head("POST", "/todo", &headers, HELD_BYTES);
    let body = format!("[{}", "1,".repeat(HELD_BYTES / 2 - 1));
    send_and_wait(&target, &(head + &body)).await
}

async fn send_and_wait(target: &Target, bytes: &str) -> Result<()> {
    let mut stream = target.client.connect().await?;
    stream.write_all(bytes.as_bytes()).await?;
    target.got("sent");
    count_end(target, stream).await;
    Ok(())
}

pub(super) async fn read_slowly(target: Target) -> Result<()> {
    let mut stream = target.client.slow().connect().await?;
    stream.write_all(target.client.head("GET", "/big", "", 0).as_bytes()).await?;
    let mut part = [0; 4096];
    while stream.read(&mut part).await? > 0 {
        target.got("read 4 KB");
        sleep(Duration::from_secs(1)).await;
    }
    target.got("closed");
    Ok(())
}

pub(super) async fn begin_polling(target: Target) -> Result<()> {
    let handshake = "/socket.io/?EIO=4&transport=polling";
    count_answer(&target, target.client.request("GET", handshake, "", "")).await
}

pub(super) async fn request_without_polling(target: Target) -> Result<()> {
    let path = target.client.polling().await?;
    target.client.request("POST", &path, "", "40").await?;
    let request = r#"["get",{"method":"get","headers":{},"data":{},"url":"/big"}]"#;
    let packets: Vec<_> = (0..16).map(|number| format!("42{number}{request}")).collect();
    count_answer(&target, target.client.request("POST", &path, "", &packets.join("\x1e"))).await?;
    // Longer than the session takes to answer.
    sleep(Duration::from_secs(10)).await;
    Ok(())
}
