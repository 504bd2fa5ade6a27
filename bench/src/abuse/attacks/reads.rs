//! Reads that take long, or have long answers.

use anyhow::Result;

use super::common::{count_answer, store, text};
use crate::attack::Target;

/// Bytes of the text that is searched for. A url has 64 KB at most.
const OPERAND: usize = 60_000;

pub(super) async fn store_texts(target: Target) -> Result<()> {
    for _ in 0..4 {
        store(&target, "/text", &format!(r#"{{"text":"{}"}}"#, text(1_000_000))).await?;
    }
    Ok(())
}

pub(super) async fn search(target: Target) -> Result<()> {
    let operand = text(OPERAND) + "b";
    let path = format!("/text?where=%7B%22text%22:%7B%22contains%22:%22{operand}%22%7D%7D");
    get(target, path).await
}

pub(super) async fn get(target: Target, path: String) -> Result<()> {
    count_answer(&target, target.client.request("GET", &path, "", "")).await
}
