//! Attacks by connections of Socket.IO: what they hold, send and do not read.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::common::{PATIENCE, next_number, text};
use crate::attack::Target;
use crate::wire::Socket;

const RUNTIME: &str = r#"{"backwire":1}"#;

/// Bytes of a frame: four times the limit of a body.
const FRAME: usize = 4 << 20;

pub(super) async fn be_idle(target: Target) -> Result<()> {
    let mut socket = target.client.socket(RUNTIME).await?;
    target.got("connected");
    socket.until_closed().await;
    target.got("closed");
    Ok(())
}

pub(super) async fn resume(target: Target) -> Result<()> {
    let mut socket = target.client.socket(RUNTIME).await?;
    socket.request("get", r#"{"url":"/todo","data":{"where":{"number":-1}}}"#).await?;
    let answer = socket.until("43").await?;
    let header = |name: &str| {
        let (_, rest) = answer.split_once(&format!(r#""{name}":""#))?;
        // The name of a room has quotes in it, which are escaped.
        let end = rest.match_indices('"').find(|(at, _)| !rest[..*at].ends_with('\\'))?.0;
        Some(&rest[..end])
    };
    let room = header("backwire-room").context("a room")?;
    let epoch = header("backwire-position").and_then(|it| it.split(':').next());
    let entry = format!(r#"["{room}",{},0]"#, epoch.context("a position")?);
    let entries = vec![&*entry; (FRAME - 100) / (entry.len() + 1)].join(",");
    socket.request("resume", &format!("[{entries}]")).await?;
    match timeout(PATIENCE, socket.until("43")).await {
        Ok(Ok(answer)) if answer.contains("E_") => target.got("refused"),
        Ok(Ok(_)) => target.got("resumed"),
        Ok(Err(_)) => target.got("closed"),
        Err(_) => target.got("no answer in 30 s"),
    }
    Ok(())
}

pub(super) async fn follow_and_write(target: Target) -> Result<()> {
    let mut socket = target.client.socket("").await?;
    let request = |method: &str, url: &str, data: &str| {
        format!(r#"{{"method":"{method}","url":"{url}","headers":{{}},"data":{data}}}"#)
    };
    target.got(format!("read: {}", socket.ask("get", &request("get", "/junk/1", "{}")).await?));
    loop {
        let data = format!(r#"{{"number":{}}}"#, next_number());
        let status = socket.ask("put", &request("put", "/junk/1", &data)).await?;
        target.got(format!("write: {status}"));
    }
}

pub(super) async fn follow_filters(target: Target) -> Result<()> {
    let mut socket = target.client.socket(RUNTIME).await?;
    follow(&target, &mut socket, 100, |number| format!(r#"{{"number":{number}}}"#)).await?;
    for _ in 0..100 {
        let todo = format!(r#"{{"url":"/todo","data":{{"number":{}}}}}"#, next_number());
        target.got(format!("write: {}", socket.ask("post", &todo).await?));
    }
    Ok(())
}

pub(super) async fn follow_long_filters(target: Target) -> Result<()> {
    let mut socket = target.client.socket(RUNTIME).await?;
    let filter = |number| format!(r#"{{"title":"{}{number}"}}"#, text(1_980));
    follow(&target, &mut socket, 10_000, filter).await?;
    socket.until_closed().await;
    Ok(())
}

/// Follows so many filters, each another.
async fn follow(
    target: &Target,
    socket: &mut Socket,
    count: usize,
    filter: impl Fn(u64) -> String,
) -> Result<()> {
    for _ in 0..count {
        let criteria = format!(r#"{{"where":{}}}"#, filter(next_number()));
        let request = format!(r#"{{"url":"/todo","data":{criteria}}}"#);
        target.got(format!("read: {}", socket.ask("get", &request).await?));
    }
    Ok(())
}

pub(super) async fn join_instance_rooms(target: Target) -> Result<()> {
    let mut socket = target.client.socket("").await?;
    let request = r#"{"method":"get","headers":{},"data":{},"url":"/todo"}"#;
    target.got(format!("read: {}", socket.ask("get", request).await?));
    socket.until_closed().await;
    target.got("closed");
    Ok(())
}

pub(super) async fn leave_pushes_unread(target: Target) -> Result<()> {
    let mut reader = target.client.slow().socket(RUNTIME).await?;
    reader.ask("get", r#"{"url":"/big/1"}"#).await?;
    let mut writer = target.client.socket(RUNTIME).await?;
    writer.ask("post", r#"{"url":"/big","data":{"id":1}}"#).await?;
    reader.ask("get", r#"{"url":"/big/1"}"#).await?;
    let text = text(900_000);
    for _ in 0..20 {
        let data = format!(r#"{{"number":{},"text":"{text}"}}"#, next_number());
        let write = format!(r#"{{"url":"/big/1","data":{data}}}"#);
        target.got(format!("write: {}", writer.ask("put", &write).await?));
    }
    // The reader keeps its connection, and reads nothing.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

pub(super) async fn send_large_writes(target: Target) -> Result<()> {
    let mut socket = target.client.socket(RUNTIME).await?;
    let text = text(1_000_000);
    for _ in 0..16 {
        let write = format!(r#"{{"url":"/big","data":{{"text":"{text}"}}}}"#);
        socket.request("post", &write).await?;
    }
    for _ in 0..16 {
        target.got(socket.answered().await?);
    }
    Ok(())
}
