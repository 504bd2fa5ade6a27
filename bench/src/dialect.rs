//! The requests of clients: of Backwire's own runtime, and of a stock client.

use anyhow::Result;
use serde::de::IgnoredAny;

use crate::socket::Socket;

/// A title of usual length.
pub(crate) const TITLE: &str =
    "Ask the neighbours whether they have seen the cat, and put up a note";

/// How a client speaks to the server. The peers understand both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Backwire's runtime: every write has an idempotency key.
    Runtime,
    /// A client of Sails 1.x, as `sails.io.js` sends its requests.
    Stock,
}

/// A write of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Create,
    /// Of the record with this id.
    Update(u64),
    Destroy(u64),
}

impl Dialect {
    /// Connects to the main namespace.
    pub(crate) async fn connect(self, address: &str) -> Result<Socket> {
        let auth = match self {
            Self::Runtime => r#"{"backwire":1}"#,
            Self::Stock => "",
        };
        Socket::connect(address, "", auth).await
    }

    /// Connects and reads `/todo`, which subscribes. The criteria are JSON, or empty.
    pub(crate) async fn subscribe(self, address: &str, criteria: &str) -> Result<Socket> {
        let mut socket = self.connect(address).await?;
        socket.request("get", &self.read(criteria)).await?;
        socket.reply::<IgnoredAny>().await?;
        Ok(socket)
    }

    /// A read of `/todo` with these criteria.
    pub(crate) fn read(self, criteria: &str) -> String {
        match (self, criteria) {
            (Self::Runtime, "") => r#"{"url":"/todo"}"#.to_owned(),
            (Self::Runtime, _) => format!(r#"{{"url":"/todo","data":{criteria}}}"#),
            (Self::Stock, "") => stock("get", "/todo", "{}"),
            (Self::Stock, _) => stock("get", "/todo", criteria),
        }
    }

    /// Sends a write, with the key of a runtime and this number among the attributes.
    pub(crate) async fn write(
        self,
        socket: &mut Socket,
        write: Write,
        key: &str,
        number: usize,
    ) -> Result<()> {
        let attributes = format!(r#"{{"title":"{TITLE}","done":false,"number":{number}}}"#);
        let (verb, url, data) = match write {
            Write::Create => ("post", "/todo".to_owned(), &*attributes),
            Write::Update(id) => ("put", format!("/todo/{id}"), &*attributes),
            Write::Destroy(id) => ("delete", format!("/todo/{id}"), "{}"),
        };
        let request = match self {
            Self::Runtime => {
                let data = match write {
                    Write::Destroy(_) => String::new(),
                    _ => format!(r#","data":{data}"#),
                };
                format!(r#"{{"url":"{url}","headers":{{"idempotency-key":"{key}"}}{data}}}"#)
            }
            Self::Stock => stock(verb, &url, data),
        };
        socket.request(verb, &request).await
    }
}

/// A request as `sails.io.js` sends it.
fn stock(verb: &str, url: &str, data: &str) -> String {
    format!(r#"{{"method":"{verb}","headers":{{}},"data":{data},"url":"{url}"}}"#)
}

/// The first part of a page's keys: as long as the runtime makes it, and different for every page.
pub(crate) fn key_prefix(page: usize) -> String {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    format!("{:032x}", (page as u128 + 1).wrapping_mul(SPREAD))
}
