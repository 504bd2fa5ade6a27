//! Data and requests that attacks have in common, and how their outcomes are counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attack::Target;

/// An attacker that gets no answer for so long counts that, and goes on.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A number that no other call has got.
pub(super) fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A text of so many bytes.
pub(super) fn text(bytes: usize) -> String {
    "a".repeat(bytes)
}

/// Counts the status of an answer, or that none came.
pub(super) async fn count_answer(
    target: &Target,
    request: impl Future<Output = Result<u16>>,
) -> Result<()> {
    match timeout(PATIENCE, request).await {
        Ok(status) => target.got(status?),
        Err(_) => target.got("no answer in 30 s"),
    }
    Ok(())
}

/// Stores something, or fails.
pub(super) async fn store(target: &Target, path: &str, body: &str) -> Result<()> {
    let status = target.client.request("POST", path, "", body).await?;
    ensure!(status < 300, "POST {path}: {status}");
    Ok(())
}

/// Waits until the server answers or closes, and counts which.
pub(super) async fn count_end(target: &Target, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    match crate::wire::status(&mut stream).await {
        Ok(status) => target.got(status),
        Err(_) => target.got("closed"),
    }
    // The rest of the answer.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}
