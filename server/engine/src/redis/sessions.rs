//! Sessions in Redis: a hash for each, with a field for each value.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backwire_records::change::Attributes;
use redis::{Value as RedisValue, cmd};
use serde_json::Value;

use super::Redis;
use super::events::MAX_EVENTS;
use super::operation::json;
use super::reply::{Reply, parse};
use super::script::{self, Call};
use super::stored::unreadable;
use crate::{Error, PERSON_KEY, SessionEdit, Sessions, StoredSession};

/// The number of sessions in one round trip of a scan.
const MAX_SESSIONS: usize = 500;

#[async_trait]
impl Sessions for Redis {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        let mut command = cmd("HGET");
        command.arg(format!("{}:meta", self.reads.link.prefix)).arg("secret");
        let secret = self.reads.query::<Vec<u8>>([command]).await?.concat();
        secret.try_into().map_err(|_| unreadable("the secret is malformed"))
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error> {
        let sessions = self.load_all(&[id.as_bytes().to_vec()]).await?;
        let session = sessions.into_iter().flatten().next();
        Ok(session.filter(|session| now < session.until))
    }

    async fn find_by_value(
        &self,
        key: &str,
        value: &Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error> {
        let (mut found, mut first) = (Vec::new(), 0);
        loop {
            let ids = self.session_ids(first).await?;
            let sessions = self.load_all(&ids).await?;
            for (id, session) in ids.iter().zip(sessions) {
                let is_meant =
                    |it: &StoredSession| now < it.until && it.values.get(key) == Some(value);
                if session.as_ref().is_some_and(is_meant) {
                    found.push(String::from_utf8_lossy(id).as_ref().into());
                }
            }
            first += ids.len();
            if ids.len() < MAX_SESSIONS {
                return Ok(found);
            }
        }
    }

    async fn edit(&self, edit: SessionEdit) -> Result<(), Error> {
        let SessionEdit { id, clear, set, new_id, at, until, max } = edit;
        let may_change_rights = clear || new_id.is_some() || set.keys().any(|it| is_of_rights(it));
        // A removed value, such as that of a sign-out, needs no memory.
        let script = match set.values().any(Option::is_some) {
            true => &script::SESSION,
            false => &script::SESSION_WITHOUT_ROOM,
        };
        let mut call = Call::new(script)
            .with(&*id)
            .with(new_id.as_deref().unwrap_or(&id))
            .with(u8::from(clear))
            .with(at);
        call.add_optional((until < u64::MAX).then_some(until)).add_optional(max).add(PERSON_KEY);
        let values: BTreeMap<String, Option<Value>> = set;
        call.add(values.len());
        for (name, value) in values {
            call.add(name).add(value.map(|value| json(&value)).unwrap_or_default());
        }
        call.add_optional(may_change_rights.then_some(MAX_EVENTS));
        match (self.steps.run(call).await?, max) {
            (RedisValue::Int(0), Some(limit)) => Err(Error::TooManySessions { limit }),
            _ => Ok(()),
        }
    }
}

/// Whether the rights of a session may depend on this key.
fn is_of_rights(key: &str) -> bool {
    key.starts_with("backwire.")
}

impl Redis {
    /// Loads sessions, also expired ones.
    async fn load_all(&self, ids: &[Vec<u8>]) -> Result<Vec<Option<StoredSession>>, Error> {
        let mut call = Call::new(&script::LOAD_SESSION);
        for id in ids {
            call.add(&id[..]);
        }
        let mut sessions = Vec::new();
        for session in Reply::list(self.reads.run(&call).await?.0)? {
            let mut session = Reply::list(session)?;
            let (mut list, until) = (session.next_list()?, session.optional_text()?);
            let mut values = Attributes::new();
            while let Ok(name) = list.text() {
                let value = serde_json::from_str(&list.text()?).map_err(unreadable)?;
                values.insert(name[1..].to_owned(), value);
            }
            let until = match until.as_deref() {
                None => None,
                Some("inf") => Some(u64::MAX),
                Some(until) => Some(parse(until)?),
            };
            sessions.push(until.map(|until| StoredSession { values: Arc::new(values), until }));
        }
        Ok(sessions)
    }

    async fn session_ids(&self, first: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut command = cmd("ZRANGE");
        command.arg(format!("{}:sessions", self.reads.link.prefix));
        command.arg(first).arg(first + MAX_SESSIONS - 1);
        Ok(self.reads.query::<Vec<Vec<u8>>>([command]).await?.concat())
    }
}
