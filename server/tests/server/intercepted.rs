//! An engine somebody stands before: calls may be counted, held up or refused.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use backwire::change::{Attributes, Id, Position, Resource, Room};
use backwire::criteria::Criteria;
use backwire::engine::{
    Acked, Asked, Batch, Cascades, Committed, Device, Edit, Engine, Error, Held, Memory, Outcome,
    Post, Posted, Queues, ReadOptions, Record, Sessions, Since, Snapshot, Tail, Window,
};
use backwire::messages::flake::{Flake, Node};
use backwire::messages::rules::Ttl;
use backwire::write::Write;
use serde_json::Value;

/// What is asked of the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'a> {
    /// To write to this resource.
    Commit(&'a Resource),
    Find,
    FindOne,
    Since,
    LoadSession,
    EditSession,
    /// To let a device with this name be there.
    Connect(&'a str),
    /// To note that it is gone.
    Disconnect,
    /// To store a message for people.
    Post,
    /// To take what was acked off a queue.
    Ack,
}

/// Who stands before the engine.
#[async_trait]
pub(crate) trait Interceptor: Send + Sync + 'static {
    /// Before it is done; an error is the answer, and nothing is done.
    async fn before(&self, _: Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// When it has been done, before it is answered.
    async fn after(&self, _: Call<'_>) {}
}

struct Intercepted<I> {
    memory: Memory,
    by: Arc<I>,
}

/// Opens such an engine, which keeps everything in memory.
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
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.by.before(call).await?;
        let outcome = deed.await?;
        self.by.after(call).await;
        Ok(outcome)
    }
}

#[async_trait]
impl<I: Interceptor> Engine for Intercepted<I> {
    async fn commit(&self, write: Write) -> Result<Committed, Error> {
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

    async fn since(&self, room: &Room, position: Position) -> Result<Since, Error> {
        self.pass(Call::Since, self.memory.since(room, position)).await
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        self.memory.reaches(of, positions).await
    }

    async fn keys(&self) -> Result<HashMap<Resource, String>, Error> {
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

    async fn load(&self, id: &str, now: u64) -> Result<Option<Held>, Error> {
        self.pass(Call::LoadSession, self.memory.sessions().load(id, now)).await
    }

    async fn holding(&self, key: &str, value: &Value, now: u64) -> Result<Vec<Arc<str>>, Error> {
        self.memory.sessions().holding(key, value, now).await
    }

    async fn edit(&self, edit: Edit) -> Result<(), Error> {
        self.pass(Call::EditSession, self.memory.sessions().edit(edit)).await
    }
}

#[async_trait]
impl<I: Interceptor> Queues for Intercepted<I> {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        self.memory.queues().begin(node, at).await
    }

    async fn post(&self, post: Post) -> Result<Posted, Error> {
        self.pass(Call::Post, self.memory.queues().post(post)).await
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

    async fn ack(&self, device: Device, acked: Acked, at: u64) -> Result<Outcome, Error> {
        self.pass(Call::Ack, self.memory.queues().ack(device, acked, at)).await
    }

    async fn waiting(&self, device: Device, asked: Asked) -> Result<Batch, Error> {
        self.memory.queues().waiting(device, asked).await
    }
}
