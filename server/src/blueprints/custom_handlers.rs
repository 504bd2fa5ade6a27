//! Methods of [`Context`] for custom handlers, which answer as the built-in routes do.

use backwire_engine::{ReadOptions, Record};
use backwire_records::access::Operation;
use backwire_records::change::{Attributes, Resource, ToId};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::write::{Action, WriteError};
use serde_json::Value;

use super::Reply;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::subscription;

impl Context {
    /// Returns records that the caller may read. The criteria are those of `GET /todo`, as a JSON
    /// object, and so are the defaults and limits. The caller is not subscribed to anything.
    ///
    /// ```
    /// use axum::Json;
    /// use axum::routing::get;
    /// use backwire::change::Attributes;
    /// use backwire::{Context, Error, Server};
    /// use serde_json::json;
    ///
    /// async fn overdue(cx: Context) -> Result<Json<Vec<Attributes>>, Error> {
    ///     let criteria = json!({ "where": { "due": { "<": 1700000000 } }, "sort": "due" });
    ///     Ok(Json(cx.find("todo", criteria).await?))
    /// }
    ///
    /// let server = Server::builder().route("/overdue", get(overdue));
    /// ```
    pub async fn find(&self, resource: &str, criteria: Value) -> Result<Vec<Attributes>> {
        let Value::Object(criteria) = criteria else {
            return Err(Error::BadBody("criteria have to be a JSON object"));
        };
        let resource = parse_resource(resource)?;
        let model = self.model(&resource)?;
        let access_scope = self.access_scope(&resource, Operation::Read).await?;
        let parameters = Parameters::read(Vec::new(), criteria)?;
        let criteria = Criteria::read_for(&model, parameters, Language::Current)?;
        let criteria = Criteria { within: access_scope.filter(), ..criteria };
        let found = self.engine().find_for(&resource, &criteria, self.reads()).await?;
        let record = |record: &Record| Ok(Attributes::clone(&*record.attributes()?));
        found.value.iter().map(record).collect()
    }

    /// Returns the record with this id, or `None` if there is none that the caller may read. The
    /// caller is not subscribed to it.
    pub async fn find_one(&self, resource: &str, id: impl ToId) -> Result<Option<Attributes>> {
        let (resource, id) = (parse_resource(resource)?, id.to_id().ok_or(WriteError::BadId)?);
        self.model(&resource)?;
        let record = subscription::find_one_without_subscription(self, &resource, &id).await?;
        Ok(record.map(|record| Attributes::clone(&record)))
    }

    /// Answers as `GET /todo` does, with records that are stored elsewhere. The caller is
    /// subscribed to the resource before the records are read, so that it misses nothing that is
    /// published meanwhile. The records may be read twice.
    ///
    /// Publish a change of the resource only after it has happened where the records are stored. If
    /// the records cannot be read, [`Unavailable`](backwire_engine::Error::Unavailable) is the best
    /// error.
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
    ///     cx.find_external("user", from_the_old_database).await
    /// }
    ///
    /// let server = Server::builder().override_route("/user", get(users));
    /// ```
    pub async fn find_external<R>(
        &self,
        resource: &str,
        records: impl Fn() -> R + Sync,
    ) -> Result<Reply>
    where
        R: Future<Output = Result<Vec<Attributes>>> + Send,
    {
        let resource = parse_resource(resource)?;
        let read = subscription::find_external(self, &resource, records).await?;
        Reply::records(self, read, &self.external_read_options())
    }

    /// Answers as `GET /todo/7` does, with a record that is stored elsewhere; see
    /// [`find_external`](Self::find_external).
    pub async fn find_one_external(
        &self,
        resource: &str,
        id: impl ToId,
        record: impl Future<Output = Result<Option<Attributes>>> + Send,
    ) -> Result<Reply> {
        let (resource, id) = (parse_resource(resource)?, id.to_id().ok_or(WriteError::BadId)?);
        let read = subscription::find_one_external(self, &resource, &id, record).await?;
        Reply::one_record(self, (resource, id), read, &self.external_read_options())
    }

    /// Returns the options for records of a handler, which knows how many there are.
    fn external_read_options(&self) -> ReadOptions {
        ReadOptions { memory: self.reads().memory.clone(), ..ReadOptions::default() }
    }

    /// Creates a record in the caller's name, and answers as `POST /todo` does.
    pub async fn create(&self, resource: &str, record: Attributes) -> Result<Reply> {
        self.set_writing(true);
        let change = self.commit(parse_resource(resource)?, Action::Create(record)).await?;
        Reply::written(self, &change).await
    }

    /// Sets attributes of a record in the caller's name, and answers as `PUT /todo/7` does.
    pub async fn update(&self, resource: &str, id: impl ToId, set: Attributes) -> Result<Reply> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        self.set_writing(true);
        let change = self.commit(parse_resource(resource)?, Action::Update(id, set)).await?;
        Reply::written(self, &change).await
    }

    /// Destroys a record in the caller's name, and answers as `DELETE /todo/7` does.
    pub async fn destroy(&self, resource: &str, id: impl ToId) -> Result<Reply> {
        let id = id.to_id().ok_or(WriteError::BadId)?;
        self.set_writing(true);
        let change = self.commit(parse_resource(resource)?, Action::Destroy(id)).await?;
        Reply::written(self, &change).await
    }
}

fn parse_resource(resource: &str) -> Result<Resource> {
    Resource::parse(resource).ok_or_else(|| Error::InvalidResourceName(resource.to_owned()))
}
