//! Cascades in Redis.

use async_trait::async_trait;
use backwire_records::change::{Id, Resource};
use redis::cmd;

use super::Redis;
use super::encoding;
use super::indexes;
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{StoredRecord, cascade, cascade_field};
use crate::{Cascade, Cascades, Error};

/// The number of records that are looked at in one round trip.
const MAX_RECORDS: usize = 200;

#[async_trait]
impl Cascades for Redis {
    async fn unfinished(&self) -> Result<Vec<Cascade>, Error> {
        let (reply, _) = self.reads.run(&Call::new(&script::CASCADES)).await?;
        let mut cascades = Vec::new();
        for stored in Reply::list(reply)? {
            let mut stored = Reply::list(stored)?;
            let resource = Resource::internal(&stored.text()?);
            let (field, value) = (stored.bytes()?, stored.bytes()?);
            cascades.push(cascade(resource, &field, value)?);
        }
        Ok(cascades)
    }

    async fn dangling(
        &self,
        cascade: &Cascade,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Id>, Error> {
        let Cascade { reference, id, .. } = cascade;
        indexes::ensure(&self.reads, &self.known, &reference.resource, &reference.attribute)
            .await?;
        let mut all = Vec::new();
        for form in encoding::forms(id) {
            let first = match after {
                Some(after) => [b"(", &form[..], &encoding::id(after)].concat(),
                None => [b"[", &form[..]].concat(),
            };
            all.extend(self.dangling_of(cascade, &form, first, limit).await?);
        }
        all.sort();
        all.truncate(limit);
        Ok(all)
    }

    async fn finish(&self, cascade: &Cascade) -> Result<(), Error> {
        let Cascade { reference, id, until, .. } = cascade;
        let call = Call::new(&script::CASCADES)
            .with(reference.resource.as_str())
            .with(cascade_field(&reference.attribute, &encoding::id(id)))
            .with(*until);
        self.steps.run(call).await.map(drop)
    }
}

impl Redis {
    /// Returns the ids of records whose reference dangles and has this form.
    async fn dangling_of(
        &self,
        cascade: &Cascade,
        form: &[u8],
        mut low: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<Id>, Error> {
        let Cascade { reference, id, until, .. } = cascade;
        let (prefix, resource) = (&self.reads.link.prefix, &reference.resource);
        let index = format!("{prefix}:index:{resource}:{}", reference.attribute);
        let high = [b"(", form, b"u"].concat();
        let mut found = Vec::new();
        while found.len() < limit {
            let mut range = cmd("ZRANGEBYLEX");
            range.arg(&index).arg(&low[..]).arg(&high[..]).arg("LIMIT").arg(0).arg(MAX_RECORDS);
            let members = self.reads.query::<Vec<Vec<u8>>>([range]).await?.concat();
            let Some(last) = members.last() else { break };
            low = [b"(", &last[..]].concat();
            let mut get = cmd("HMGET");
            get.arg(format!("{prefix}:records:{resource}"));
            for member in &members {
                get.arg(&member[form.len()..]);
            }
            let records = self.reads.query::<Vec<Option<Vec<u8>>>>([get]).await?.concat();
            for (member, stored) in members.iter().zip(records) {
                let Some(stored) = stored.map(StoredRecord::read).transpose()? else { continue };
                let record = stored.parse()?.unwrap_or_default();
                let held = record.get(&reference.attribute).and_then(Id::from_json);
                if held.as_ref() == Some(id) && stored.changed <= *until {
                    found.push(encoding::decode_id(&member[form.len()..])?);
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
