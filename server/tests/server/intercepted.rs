//! An engine with an interceptor that may count, block or refuse calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backwire::change::{Attributes, Id, Position, Resource, Room};
use backwire::criteria::Criteria;
use backwire::engine::{
    Ack, AckOutcome, Batch, Cascades, ChangesSince, CommitOutcome, Device, Engine, Enqueue,
    Enqueued, Error, KeyLookup, LedgerEntry, Memory, QueueRange, Queues, ReadOptions, Record,
    SessionEdit, Sessions, Snapshot, StoredSession, Tail, Window,
};
use backwire::messages::flake::{Flake, Node};
use backwire::messages::rules::Ttl;
use backwire::write::Write;
use serde_json::Value;

/// A call of the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'a> {
    /// A write to this resource.
    Commit(&'a Resource),
    Find,
    FindOne,
    /// A read of a log with these options.
    Since(&'a ReadOptions),
    LoadSession,
    EditSession,
    /// The connect of a device with this name.
    Connect(&'a str),
    /// The disconnect of a device.
    Disconnect,
    /// The post of a message.
    Post,
    /// An ack, which removes messages from a queue.
    Ack,
}

/// Intercepts the calls of an engine.
#[async_trait]
pub(crate) trait Interceptor: Send + Sync + 'static {
    /// Runs before the call. An error replaces the call.
    async fn before(&self, _: Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Runs after the call, before its result is returned.
    async fn after(&self, _: Call<'_>) {}
}

struct Intercepted<I> {
    memory: Memory,
    by: Arc<I>,
}

/// Opens a memory engine with this interceptor.
pub(crate) fn intercepted_by<I: Interceptor>(
    interceptor: &Arc<I>,
) -> impl FnOnce(Tail) -> Result<Arc<dyn Engine>, Error> + Send + use<I> {
    let by = Arc::clone(interceptor);
    |tail| Ok(Arc::new(Intercepted { memory: Memory::new(Window::default(), tail), by }))
}

impl<I: Interceptor> Intercepted<I> {
    async fn pass<T>(
        &self,
        call: Call<'_>,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.by.before(call).await?;
        let outcome = operation.await?;
        self.by.after(call).await;
        Ok(outcome)
    }
}

#[async_trait]
impl<I: Interceptor> Engine for Intercepted<I> {
    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        let resource = write.resource.clone();
        self.pass(Call::Commit(&resource), self.memory.commit(write)).await
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        self.pass(Call::Find, self.memory.find_for(resource, criteria, options)).await
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        self.pass(Call::FindOne, self.memory.find_one(resource, id)).await
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        self.memory.ledger_entry(lookup).await
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        self.memory.head(resource).await
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        self.pass(Call::Since(options), self.memory.changes_since_for(room, position, options))
            .await
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        self.memory.reaches(of, positions).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        self.memory.keys().await
    }

    fn cascades(&self) -> &dyn Cascades {
        self.memory.cascades()
    }

    fn sessions(&self) -> &dyn Sessions {
        self
    }

    fn queues(&self) -> &dyn Queues {
        self
    }
}

#[async_trait]
impl<I: Interceptor> Sessions for Intercepted<I> {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        self.memory.sessions().secret().await
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error> {
        self.pass(Call::LoadSession, self.memory.sessions().load(id, now)).await
    }

    async fn find_by_value(
        &self,
        key: &str,
        value: &Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error> {
        self.memory.sessions().find_by_value(key, value, now).await
    }

    async fn edit(&self, edit: SessionEdit) -> Result<(), Error> {
        self.pass(Call::EditSession, self.memory.sessions().edit(edit)).await
    }
}

#[async_trait]
impl<I: Interceptor> Queues for Intercepted<I> {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        self.memory.queues().begin(node, at).await
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        self.pass(Call::Post, self.memory.queues().enqueue(post)).await
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        most: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        let name = Arc::clone(&device.name);
        self.pass(Call::Connect(&name), self.memory.queues().connect(device, ttl, most, at)).await
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        self.pass(Call::Disconnect, self.memory.queues().disconnect(device, at)).await
    }

    async fn ack(&self, device: Device, acked: Ack, at: u64) -> Result<AckOutcome, Error> {
        self.pass(Call::Ack, self.memory.queues().ack(device, acked, at)).await
    }

    async fn waiting(&self, device: Device, asked: QueueRange) -> Result<Batch, Error> {
        self.memory.queues().waiting(device, asked).await
    }
}
