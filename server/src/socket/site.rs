//! Connections to the sites of a push service. Each site has a namespace. Our runtime has one
//! connection for everything, and names its site in the auth of its CONNECT.
//!
//! Clients send nothing to the namespace of a site but acks, so there is no inbox. The site decides
//! on a connection in the connect middleware, before the CONNECT is answered.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use backwire_records::json_size::parse_small;
use parking_lot::Mutex;
use serde_json::Value as Json;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::oneshot;

use super::site_connection::SiteConnection;
use super::{ShutdownFlag, Sockets, session, transport};
use crate::delivery::connected_devices::{ConnectDevicesError, ConnectedDevices};
use crate::delivery::rejection::Rejection;
use crate::delivery::service::DeliveryService;
use crate::delivery::site_client::{ConnectRequest, SiteClient};
use crate::http::origin::SiteOrigin;
use crate::rooms;
use crate::sites::Name;

/// Accepts the connections to one site.
#[derive(Clone)]
struct SiteConnectHandler {
    site: Name,
    delivery_service: DeliveryService,
    shutdown: ShutdownFlag,
}

/// What a socket keeps until its CONNECT is answered.
#[derive(Clone)]
pub(super) struct PendingConnection(Arc<Mutex<Option<PendingParts>>>);

/// The client, its connected devices, and a receiver that ends when the connection is gone.
type PendingParts = (SiteClient, ConnectedDevices, oneshot::Receiver<()>);

impl PendingConnection {
    /// Reserves a slot for the device of a client. An error is the message of the refused CONNECT.
    pub(super) async fn reserve(
        socket: &Arc<Socket>,
        delivery_service: &DeliveryService,
        site_client: SiteClient,
        gone: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        let devices = match delivery_service.connect_devices(&site_client).await {
            Ok(devices) => devices,
            Err(connect_error) => {
                if let ConnectDevicesError::Store(error) = &connect_error {
                    tracing::error!(%error, "store failed: the connection of a client is ended, and it connects again");
                    transport::end(socket).await;
                }
                return Err(match (&connect_error, site_client.is_runtime) {
                    (ConnectDevicesError::TooMany { .. }, true) => {
                        format!("{connect_error}: close one of them, or try again later")
                    }
                    _ => connect_error.to_string(),
                });
            }
        };
        socket.extensions.insert(Self(Arc::new(Mutex::new(Some((site_client, devices, gone))))));
        Ok(())
    }

    /// Starts the delivery task of the connection.
    pub(super) fn start_delivery(
        socket: &Socket,
        delivery_service: &DeliveryService,
        connection: impl FnOnce() -> Option<SiteConnection>,
    ) {
        let Some(Self(pending)) = socket.extensions.get::<Self>() else { return };
        let pending = pending.lock().take();
        if let Some(((site_client, devices, gone), connection)) = pending.zip(connection()) {
            let (id, site) = (socket.id, &site_client.name);
            tracing::debug!(connection = %id, %site, "a client has connected");
            let session =
                delivery_service.clone().run_session(site_client, devices, connection, gone);
            drop(delivery_service.environment().spawn(session));
        }
    }
}

impl Sockets {
    /// Accepts connections to a site.
    pub(crate) fn open_site(&self, site: Name, delivery_service: DeliveryService) {
        let shutdown = self.shutdown.clone();
        self.io.ns(site.namespace(), SiteConnectHandler { site, delivery_service, shutdown });
    }

    /// Ends the transports of the clients of a removed site. They connect again, and wait for the
    /// site to be added again. A client whose namespace is disconnected would stay away.
    pub(crate) fn close_site(&self, site: &Name) {
        let stock = self.io.of(site.namespace()).map(BroadcastOperators::sockets);
        let runtimes = self.io.of("/").map(|it| it.within(rooms::site_name(site)).sockets());
        for socket in stock.into_iter().chain(runtimes).flatten() {
            drop(transport::begin_end(&socket));
        }
    }
}

impl SiteConnectHandler {
    async fn accept(&self, socket: Arc<Socket>, auth: Option<&Value>) -> Result<(), String> {
        let request = stock_request(&socket, auth);
        let (sender, gone) = oneshot::channel();
        socket.on_disconnect(SiteDisconnectHandler(Arc::new(Mutex::new(Some(sender)))));
        let admission = self.delivery_service.authenticate(&self.site, request);
        let admitted = admit(&socket, admission).await;
        let site_client = admitted.map_err(|rejection| rejection.for_stock())?;
        PendingConnection::reserve(&socket, &self.delivery_service, site_client, gone).await
    }
}

impl ConnectHandler<LocalAdapter, Self> for SiteConnectHandler {
    /// Runs when the CONNECT has been answered: from now on the client can be sent events.
    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        if self.shutdown.accept(&socket) {
            PendingConnection::start_delivery(&socket.clone(), &self.delivery_service, || {
                Some(SiteConnection::Stock(socket))
            });
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let outcome = self.accept(socket.clone(), auth.as_ref());
            session::connect(&socket, outcome).await.map_err(|refusal| Box::new(refusal) as _)
        })
    }
}

/// Waits for an admission as long as the client does. If the client should connect again, its
/// transport is ended before it could receive the rejection.
pub(super) async fn admit(
    socket: &Arc<Socket>,
    admission: impl Future<Output = Result<SiteClient, Rejection>>,
) -> Result<SiteClient, Rejection> {
    let admitted = tokio::select! {
        biased;
        admitted = admission => admitted,
        () = transport::ended(socket) => Err(Rejection::Disconnected),
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

/// The introduction of a stock client: the values in the auth of its CONNECT, or else in the url of
/// its handshake.
fn stock_request(socket: &Socket, auth: Option<&Value>) -> ConnectRequest {
    let text = auth.and_then(Value::as_str).map(|auth| auth.as_str());
    let auth: Option<Json> = text.and_then(|text| parse_small(text).ok());
    let value = |name: &str| {
        let in_auth = auth.as_ref().and_then(|auth| text_in(auth, name));
        in_auth.or_else(|| query_parameter(socket, name))
    };
    let (token, device) = (value("token"), value("deviceId"));
    let (address, page) = (transport::address(socket), page(socket));
    ConnectRequest { token, device, is_runtime: false, address, page }
}

/// The site, token and device in the auth of a CONNECT of our runtime. They are never in its url,
/// because urls end up in logs.
pub(super) fn runtime_request(
    socket: &Socket,
    auth: Option<&str>,
) -> Option<(String, ConnectRequest)> {
    let auth: Json = parse_small(auth?).ok()?;
    let text = |name: &str| text_in(&auth, name);
    let site = match auth.get("site")? {
        Json::Null => return None,
        Json::String(site) => site.clone(),
        other => other.to_string(),
    };
    let (token, device) = (text("token"), text("deviceId"));
    let (address, page) = (transport::address(socket), page(socket));
    let request = ConnectRequest { token, device, is_runtime: true, address, page };
    Some((site, request))
}

/// The page that opened the connection, if it may use nothing but sites.
pub(super) fn page(socket: &Socket) -> Option<SiteOrigin> {
    socket.req_parts().extensions.get::<SiteOrigin>().cloned()
}

/// Returns a text of the auth. A number counts as its text: `{token: 12345}`.
fn text_in(auth: &Json, name: &str) -> Option<String> {
    match auth.get(name)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn query_parameter(socket: &Socket, name: &str) -> Option<String> {
    let query = socket.req_parts().uri.query()?.as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Notifies the delivery task when a connection has ended.
struct SiteDisconnectHandler(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl DisconnectHandler<LocalAdapter, SiteConnectHandler> for SiteDisconnectHandler {
    fn call_with_defer(&self, socket: Arc<Socket>, _: DisconnectReason, defer: fn(Arc<Socket>)) {
        // The delivery task is notified by this.
        drop(self.0.lock().take());
        defer(socket);
    }
}
