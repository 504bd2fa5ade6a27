//! What the ready-made routes answer, for handlers of one's own.

use backwire_engine::ReadOptions;
use backwire_records::change::{Attributes, Resource, ToId};
use backwire_records::write::{Action, Refused};

use super::Reply;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::subscription;

impl Context {
    /// Answers as `GET /todo` does, with records that are kept elsewhere: the caller listens to the
    /// resource from before they are read, so that nothing that is published meanwhile is missed. They may
    /// be read twice.
    ///
    /// What is published of the resource has to have happened already where the records are kept. A
    /// failure to read them is best told as [`Unavailable`](backwire_engine::Error::Unavailable).
    ///
    /// ```
    /// use axum::routing::get;
    /// use backwire::blueprints::Reply;
    /// use backwire::change::Attributes;
    /// use backwire::{Context, Error, Server};
    ///
    /// async fn from_the_old_database() -> Result<Vec<Attributes>, Error> {
    ///     Ok(Vec::new())
    /// }
    ///
    /// async fn users(cx: Context) -> Result<Reply, Error> {
    ///     cx.find("user", from_the_old_database).await
    /// }
    ///
    /// let server = Server::builder().instead("/user", get(users));
    /// ```
    pub async fn find<R>(&self, resource: &str, records: impl Fn() -> R + Sync) -> Result<Reply>
    where
        R: Future<Output = Result<Vec<Attributes>>> + Send,
    {
        let resource = named(resource)?;
        let read = subscription::find_elsewhere(self, &resource, records).await?;
        Reply::records(self, read, &self.reads_elsewhere())
    }

    /// Answers as `GET /todo/7` does, with a record that is kept elsewhere; see [`find`](Self::find).
    pub async fn find_one(
        &self,
        resource: &str,
        id: impl ToId,
        record: impl Future<Output = Result<Option<Attributes>>> + Send,
    ) -> Result<Reply> {
        let (resource, id) = (named(resource)?, id.to_id().ok_or(Refused::BadId)?);
        let read = subscription::find_one_elsewhere(self, &resource, &id, record).await?;
        Reply::record(self, (resource, id), read, &self.reads_elsewhere())
    }

    /// The records are the handler's, which knows how many there are.
    fn reads_elsewhere(&self) -> ReadOptions {
        ReadOptions { memory: self.reads().memory.clone(), ..ReadOptions::default() }
    }

    /// Creates a record in the caller's name, and answers as `POST /todo` does.
    pub async fn create(&self, resource: &str, record: Attributes) -> Result<Reply> {
        self.set_writing(true);
        let change = self.commit(named(resource)?, Action::Create(record)).await?;
        Reply::written(self, &change).await
    }

    /// Sets attributes of a record in the caller's name, and answers as `PUT /todo/7` does.
    pub async fn update(&self, resource: &str, id: impl ToId, set: Attributes) -> Result<Reply> {
        let id = id.to_id().ok_or(Refused::BadId)?;
        self.set_writing(true);
        let change = self.commit(named(resource)?, Action::Update(id, set)).await?;
        Reply::written(self, &change).await
    }

    /// Destroys a record in the caller's name, and answers as `DELETE /todo/7` does.
    pub async fn destroy(&self, resource: &str, id: impl ToId) -> Result<Reply> {
        let id = id.to_id().ok_or(Refused::BadId)?;
        self.set_writing(true);
        let change = self.commit(named(resource)?, Action::Destroy(id)).await?;
        Reply::written(self, &change).await
    }
}

fn named(resource: &str) -> Result<Resource> {
    Resource::parse(resource).ok_or_else(|| Error::NoResource(resource.to_owned()))
}
