//! Connections to the sites of a push service: a namespace each. Our runtime has one connection for all, and
//! names its site in the auth of its CONNECT.
//!
//! Nobody sends anything to a site's namespace but acks, so there is no inbox. Who connects is let in by the
//! site, in the connect middleware: before the CONNECT is answered.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use backwire_records::json_size::parse_small;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide::{AckError, SocketError};
use tokio::sync::oneshot;

use super::{Client, Entrance, LARGE_PACKET, Sockets, large_packets, session, transport};
use crate::delivery::courier::Courier;
use crate::delivery::guest::{Guest, Introduction, Saying};
use crate::delivery::present::{Present, Unseated};
use crate::delivery::rejection::Rejection;
use crate::http::origin::SitePage;
use crate::rooms;
use crate::sites::Name;

/// Meets whoever connects to one site.
#[derive(Clone)]
struct SiteDoors {
    site: Name,
    courier: Courier,
    entrance: Entrance,
}

/// A connection to a site.
#[derive(Clone)]
pub(crate) enum Line {
    /// In the site's namespace.
    Stock(Arc<Socket>),
    /// Our runtime's.
    Runtime(Client),
}

/// Resolves when something has been acked, to whether it was: nobody acks once the connection is gone.
pub(crate) type Acked = BoxFuture<'static, bool>;

/// Why an event was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The send buffer is full. There may be room later.
    NoRoom,
    /// The connection is closed.
    Closed,
}

impl From<socketioxide::SendError> for SendError {
    fn from(error: socketioxide::SendError) -> Self {
        match error {
            socketioxide::SendError::Socket(SocketError::InternalChannelFull) => Self::NoRoom,
            _ => Self::Closed,
        }
    }
}

/// Arguments of an event, however many.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a>(pub(crate) &'a [Box<RawValue>]);

/// Kept by a socket until its CONNECT is answered.
#[derive(Clone)]
pub(super) struct Met(Arc<Mutex<Option<Arrived>>>);

/// Somebody, their devices, and what ends when they are gone.
type Arrived = (Guest, Present, oneshot::Receiver<()>);

impl Met {
    /// An error is what its CONNECT is refused with.
    pub(super) async fn seat(
        socket: &Arc<Socket>,
        courier: &Courier,
        guest: Guest,
        gone: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        let present = match courier.seat(&guest).await {
            Ok(present) => present,
            Err(unseated) => {
                if let Unseated::Store(error) = &unseated {
                    tracing::error!(%error, "store failed: the connection of a client is ended, and it connects again");
                    transport::end(socket).await;
                }
                return Err(match (&unseated, guest.is_runtime) {
                    (Unseated::TooMany { .. }, true) => {
                        format!("{unseated}: close one of them, or try again later")
                    }
                    _ => unseated.to_string(),
                });
            }
        };
        socket.extensions.insert(Self(Arc::new(Mutex::new(Some((guest, present, gone))))));
        Ok(())
    }

    /// Has it attended to, from now on.
    pub(super) fn attend(socket: &Socket, courier: &Courier, line: impl FnOnce() -> Option<Line>) {
        let Some(Self(met)) = socket.extensions.get::<Self>() else { return };
        let met = met.lock().take();
        if let Some(((guest, present, gone), line)) = met.zip(line()) {
            let (connection, site) = (socket.id, &guest.name);
            tracing::debug!(%connection, %site, "a client has connected");
            tokio::spawn(courier.clone().attend(guest, present, line, gone));
        }
    }
}

impl Sockets {
    /// Lets people in to a site.
    pub(crate) fn open_site(&self, site: Name, courier: Courier) {
        let entrance = self.entrance.clone();
        self.io.ns(site.namespace(), SiteDoors { site, courier, entrance });
    }

    /// Ends the transports of a removed site's clients, which then connect again and wait for the
    /// site to be added again. A client whose namespace is disconnected would stay away.
    pub(crate) fn close_site(&self, site: &Name) {
        let stock = self.io.of(site.namespace()).map(BroadcastOperators::sockets);
        let runtimes = self.io.of("/").map(|it| it.within(rooms::all_of_site(site)).sockets());
        for socket in stock.into_iter().chain(runtimes).flatten() {
            drop(tokio::spawn(transport::end(&socket)));
        }
    }
}

impl Line {
    fn socket(&self) -> &Arc<Socket> {
        match self {
            Self::Stock(socket) => socket,
            Self::Runtime(client) => &client.socket,
        }
    }

    /// Lets [`Sockets::close_site`] find a connection of our runtime.
    pub(crate) fn join(&self, site: &Name) {
        if let Self::Runtime(client) = self {
            client.socket.join(rooms::all_of_site(site));
        }
    }

    /// Is in no room any more. To be called when it is gone, too: it may have joined after that.
    pub(crate) fn leave(&self) {
        self.socket().leave_all();
    }

    /// Sends an event.
    pub(crate) fn send(&self, event: &str, arguments: Arguments<'_>) -> Result<(), SendError> {
        let socket = self.socket();
        let sent = match arguments.large() {
            Some(text) => large_packets::emit(socket, event, text),
            None => socket.emit(event, &arguments),
        };
        sent.map_err(SendError::from)
    }

    /// Sends an event that is to be acked: by a stock client each by itself, by our runtime up to
    /// the last.
    pub(crate) fn send_for_ack(
        &self,
        Saying { event, arguments, last }: &Saying,
    ) -> Result<Acked, SendError> {
        let arguments = Arguments(arguments);
        match self {
            Self::Stock(socket) => {
                let acked = match arguments.large() {
                    Some(text) => large_packets::emit_by(socket, text, |token| {
                        socket.emit_with_ack::<_, Json>(event, token)
                    })?,
                    None => socket.emit_with_ack::<_, Json>(event, &arguments)?,
                };
                // An ack without anything in it is one.
                Ok(acked.map(|ack| matches!(ack, Ok(_) | Err(AckError::Decode(_)))).boxed())
            }
            Self::Runtime(client) => {
                // The ack may arrive as soon as the event is sent.
                let done = client.expects(*last);
                self.send(event, arguments).inspect_err(|_| client.expects_no_longer(*last))?;
                Ok(done.map(|it| it.is_ok()).boxed())
            }
        }
    }

    /// Ends the connection, also one whose buffers are full. The client connects again. What this returns
    /// may be waited for, and need not be.
    pub(crate) fn hang_up(&self) -> impl Future<Output = ()> + use<> {
        // An error would be a panic, which has been logged.
        tokio::spawn(transport::end(self.socket())).map(drop)
    }
}

impl Arguments<'_> {
    /// Their text, if it is large.
    fn large(&self) -> Option<Bytes> {
        let size = self.0.iter().map(|argument| argument.get().len()).sum();
        let text = (size >= LARGE_PACKET).then(|| large_packets::arguments(self, size));
        text?.ok()
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
        let introduction = introduction(&socket, auth);
        let (leaving, gone) = oneshot::channel();
        socket.on_disconnect(Exit(Arc::new(Mutex::new(Some(leaving)))));
        let admission = self.courier.admit(&self.site, introduction);
        let admitted = admitted(&socket, admission).await;
        let guest = admitted.map_err(|rejection| rejection.for_stock())?;
        Met::seat(&socket, &self.courier, guest, gone).await
    }
}

impl ConnectHandler<LocalAdapter, Self> for SiteDoors {
    /// Its CONNECT has been answered: it can be told something.
    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        if self.entrance.lets_in(&socket) {
            Met::attend(&socket.clone(), &self.courier, || Some(Line::Stock(socket)));
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let met = self.meet(socket.clone(), auth.as_ref());
            session::connect(&socket, met).await.map_err(|refusal| Box::new(refusal) as _)
        })
    }
}

/// Waits for an admission as long as the client does. If the client should connect again, its
/// transport is ended before it could receive the rejection.
pub(super) async fn admitted(
    socket: &Arc<Socket>,
    admission: impl Future<Output = Result<Guest, Rejection>>,
) -> Result<Guest, Rejection> {
    let admitted = tokio::select! {
        admitted = admission => admitted,
        () = transport::ended(socket) => Err(Rejection::Gone),
    };
    if let Err(rejection) = &admitted {
        let (connection, reason) = (socket.id, rejection.for_stock());
        if rejection.ends_transport() {
            tracing::debug!(%connection, reason, "the transport of a client is ended");
            transport::end(socket).await;
        } else {
            tracing::debug!(%connection, reason, "a client is refused");
        }
    }
    admitted
}

/// What a stock client says of itself: in the auth of its CONNECT, or else on the url it connected by.
fn introduction(socket: &Socket, auth: Option<&Value>) -> Introduction {
    let text = auth.and_then(Value::as_str).map(|auth| auth.as_str());
    let auth: Option<Json> = text.and_then(|text| parse_small(text).ok());
    let said = |name: &str| {
        let in_auth = auth.as_ref().and_then(|auth| text_in(auth, name));
        in_auth.or_else(|| on_url(socket, name))
    };
    let (token, device) = (said("token"), said("deviceId"));
    let (address, page) = (transport::address(socket), page(socket));
    Introduction { token, device, is_runtime: false, address, page }
}

/// The site, token and device in the auth of a CONNECT of our runtime. They are never on its url,
/// because urls end up in logs.
pub(super) fn named(socket: &Socket, auth: Option<&str>) -> Option<(String, Introduction)> {
    let auth: Json = parse_small(auth?).ok()?;
    let text = |name: &str| text_in(&auth, name);
    let site = match auth.get("site")? {
        Json::Null => return None,
        Json::String(site) => site.clone(),
        other => other.to_string(),
    };
    let (token, device) = (text("token"), text("deviceId"));
    let (address, page) = (transport::address(socket), page(socket));
    let introduction = Introduction { token, device, is_runtime: true, address, page };
    Some((site, introduction))
}

/// The page that opened the connection, if it may use nothing but sites.
pub(super) fn page(socket: &Socket) -> Option<SitePage> {
    socket.req_parts().extensions.get::<SitePage>().cloned()
}

/// A text of the auth. A number counts as its text: `{token: 12345}`.
fn text_in(auth: &Json, name: &str) -> Option<String> {
    match auth.get(name)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn on_url(socket: &Socket, name: &str) -> Option<String> {
    let query = socket.req_parts().uri.query()?.as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Sees a connection off.
struct Exit(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl DisconnectHandler<LocalAdapter, SiteDoors> for Exit {
    fn call_with_defer(&self, socket: Arc<Socket>, _: DisconnectReason, defer: fn(Arc<Socket>)) {
        // Whoever attends to it hears of it by this.
        drop(self.0.lock().take());
        defer(socket);
    }
}
