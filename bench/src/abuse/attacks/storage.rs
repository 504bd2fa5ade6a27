//! Attacks that store and remove records.

use anyhow::{Context, Result};

use super::common::{count_answer, next_number, store, text};
use crate::attack::Target;

/// Records of one list.
const LIST: usize = 1000;

pub(super) async fn store_junk(target: Target) -> Result<()> {
    store(&target, "/junk", r#"{"number":0}"#).await
}

pub(super) async fn store_todos(target: Target, count: usize) -> Result<()> {
    let record = r#"{"title":"Ask the neighbours whether they have seen the cat","number":1}"#;
    let list = format!("[{}]", vec![record; LIST].join(","));
    for _ in 0..count / LIST {
        store(&target, "/todo", &list).await?;
    }
    Ok(())
}

/// Records of 900 KB.
pub(super) async fn store_big(target: Target, count: usize) -> Result<()> {
    let record = format!(r#"{{"text":"{}"}}"#, text(900_000));
    for _ in 0..count {
        store(&target, "/big", &record).await?;
    }
    Ok(())
}

pub(super) async fn store_pets_of_big_user(target: Target) -> Result<()> {
    store(&target, "/user", &format!(r#"{{"id":1,"text":"{}"}}"#, text(900_000))).await?;
    store(&target, "/pet", &pets(1, 300)).await
}

fn pets(owner: u64, count: usize) -> String {
    format!("[{}]", vec![format!(r#"{{"name":"Rex","owner":{owner}}}"#); count].join(","))
}

pub(super) async fn destroy_associated(target: Target) -> Result<()> {
    let (_, user) = target.client.answer("POST", "/user", "", r#"{"name":"Ann"}"#).await?;
    let user = String::from_utf8_lossy(&user);
    let id = user.rsplit_once(r#""id":"#).context("the id of a user")?.1;
    let id: u64 = id.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?;
    let list = pets(id, LIST);
    for _ in 0..40 {
        store(&target, "/pet", &list).await?;
    }
    count_answer(&target, target.client.request("DELETE", &format!("/user/{id}"), "", "")).await
}

pub(super) async fn write_undeclared(target: Target) -> Result<()> {
    let path = format!("/r{}", next_number());
    count_answer(&target, target.client.request("POST", &path, "", "{}")).await
}

pub(super) async fn begin_session(target: Target) -> Result<()> {
    let page = target.client.request("GET", "/__getcookie", "Accept: text/html\r\n", "");
    count_answer(&target, page).await
}
