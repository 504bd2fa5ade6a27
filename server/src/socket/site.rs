//! Connections to the sites of a push service: a namespace each.
//!
//! Nobody sends anything here but acks, so there is no inbox. Who connects is let in by the site, in the
//! connect middleware: before the CONNECT is answered.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use socketioxide::AckError;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::oneshot;

use super::{Sockets, connection};
use crate::delivery::courier::Courier;
use crate::delivery::guest::{Guest, Introduction};
use crate::dialect::Dialect;
use crate::sites::Name;

/// Meets whoever connects to one site.
#[derive(Clone)]
struct SiteDoors {
    site: Name,
    courier: Courier,
}

/// A connection to a site.
#[derive(Clone)]
pub(crate) struct Line(Arc<Socket>);

/// Resolves when something has been acked, to whether it was: nobody acks once the connection is gone.
pub(crate) type Acked = BoxFuture<'static, bool>;

/// Arguments of an event, however many.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a>(pub(crate) &'a [Box<RawValue>]);

/// Kept by a socket until its CONNECT is answered.
#[derive(Clone)]
struct Met(Arc<Mutex<Option<Arrived>>>);

/// Somebody, and what ends when they are gone.
type Arrived = (Guest, oneshot::Receiver<()>);

impl Sockets {
    /// Lets people in to a site.
    pub(crate) fn open_site(&self, site: Name, courier: Courier) {
        self.io.ns(site.namespace(), SiteDoors { site, courier });
    }

    /// Sends everyone away from a site that is no more.
    pub(crate) fn close_site(&self, site: &Name) {
        if let Some(namespace) = self.io.of(site.namespace()) {
            // To take the namespace away alone does not tell them.
            namespace.sockets().into_iter().for_each(|socket| drop(socket.disconnect()));
        }
        self.io.delete_ns(site.namespace());
    }

    /// Says something once to each who is in one of these rooms of a site, but in none of the others.
    /// Nobody will find out that they missed it: who can not take it is disconnected.
    pub(crate) fn say_at(
        &self,
        site: &Name,
        (rooms, but_not): (Vec<String>, Vec<String>),
        event: &str,
        arguments: Arguments<'_>,
    ) {
        let Some(namespace) = self.io.of(site.namespace()) else { return };
        for socket in namespace.within(rooms).except(but_not).sockets() {
            if socket.emit(event, &arguments).is_err() {
                match connection::plug(&socket) {
                    Some(plug) => plug.pull(),
                    None => drop(socket.disconnect()),
                }
            }
        }
    }
}

impl Line {
    /// Is in these rooms from here on, until it is gone.
    pub(crate) fn join(&self, rooms: Vec<String>) {
        self.0.join(rooms);
    }

    /// Is in no room any more. To be called when it is gone, too: it may have joined after that.
    pub(crate) fn leave(&self) {
        self.0.leave_all();
    }

    /// Says something. `false` if it can not be told anything.
    pub(crate) fn tell(&self, event: &str, arguments: Arguments<'_>) -> bool {
        self.0.emit(event, &arguments).is_ok()
    }

    /// Says something that is to be acked.
    pub(crate) fn ask(&self, event: &str, arguments: Arguments<'_>) -> Option<Acked> {
        let acked = self.0.emit_with_ack::<_, Json>(event, &arguments).ok()?;
        // An ack without anything in it is one.
        Some(acked.map(|ack| matches!(ack, Ok(_) | Err(AckError::Decode(_)))).boxed())
    }

    /// Ends the connection, also one whose buffers are full.
    pub(crate) fn hang_up(&self) {
        match connection::plug(&self.0) {
            Some(plug) => plug.pull(),
            None => drop(self.0.clone().disconnect()),
        }
    }
}

impl Serialize for Arguments<'_> {
    /// Socket.IO makes each item of an array of a fixed length an argument.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|argument| arguments.serialize_element(argument))?;
        arguments.end()
    }
}

impl SiteDoors {
    async fn meet(&self, socket: Arc<Socket>, auth: Option<&Value>) -> Result<(), String> {
        let introduction = introduction(&socket, auth)?;
        let (leaving, gone) = oneshot::channel();
        socket.on_disconnect(Exit(Arc::new(Mutex::new(Some(leaving)))));
        let guest = self.courier.admit(&self.site, introduction).await?;
        socket.extensions.insert(Met(Arc::new(Mutex::new(Some((guest, gone))))));
        Ok(())
    }
}

impl ConnectHandler<LocalAdapter, Self> for SiteDoors {
    /// Its CONNECT has been answered: it can be told something.
    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        let met = socket.extensions.get::<Met>();
        let met =
            met.and_then(|Met(met)| met.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some((guest, gone)) = met {
            tokio::spawn(self.courier.clone().attend(guest, Line(socket), gone));
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        let met = self.meet(socket, auth.as_ref());
        Box::pin(async { met.await.map_err(|refusal| Box::new(refusal) as _) })
    }
}

/// What a client says of itself: in the auth of its CONNECT, or else on the url it connected by.
fn introduction(socket: &Socket, auth: Option<&Value>) -> Result<Introduction, String> {
    let text = auth.and_then(Value::as_str).map(|auth| auth.as_str());
    let dialect = Dialect::of_auth(text)?;
    let auth: Option<Json> = text.and_then(|text| serde_json::from_str(text).ok());
    let query = socket.req_parts().uri.query().unwrap_or_default().as_bytes();
    let said = |name: &str| {
        let in_auth = auth.as_ref().and_then(|auth| auth.get(name)?.as_str().map(str::to_owned));
        let in_query = || {
            let mut pairs = url::form_urlencoded::parse(query);
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        in_auth.or_else(in_query)
    };
    let is_runtime = dialect == Some(Dialect::Runtime);
    Ok(Introduction { token: said("token"), device: said("deviceId"), is_runtime })
}

/// Sees a connection off.
struct Exit(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl DisconnectHandler<LocalAdapter, SiteDoors> for Exit {
    fn call_with_defer(&self, socket: Arc<Socket>, _: DisconnectReason, defer: fn(Arc<Socket>)) {
        // Whoever attends to it hears of it by this.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        defer(socket);
    }
}
