//! Connections to the sites of a push service. Each site has a namespace. Our runtime has one
//! connection for everything, and names its site in the auth of its CONNECT.
//!
//! Clients send nothing to the namespace of a site but acks, so there is no inbox. The site decides
//! on a connection in the connect middleware, before the CONNECT is answered.

use std::sync::Arc;

use backwire_records::json_size::parse_small;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::Sockets;
use super::adapter::socket::Socket;
use super::adapter::{ConnectionHandler, Event, Namespace};
use super::connection::{Client, Connection};
use super::site_connection::SiteConnection;
use crate::delivery::connected_devices::{ConnectDevicesError, ConnectedDevices};
use crate::delivery::rejection::Rejection;
use crate::delivery::service::DeliveryService;
use crate::delivery::site_client::{ConnectRequest, SiteClient};
use crate::http::address::client_address;
use crate::http::origin::SiteOrigin;
use crate::rooms;
use crate::sites::Name;

/// The connections to one site.
struct SiteNamespace {
    site: Name,
    delivery_service: DeliveryService,
}

/// One connection to a site.
struct SiteHandler {
    site: Name,
    delivery_service: DeliveryService,
    /// The request, and the receiver for the delivery task, until they are used.
    request: Mutex<Option<(ConnectRequest, oneshot::Receiver<()>)>>,
    /// Dropped when the connection is gone, which notifies its delivery task.
    gone_sender: Mutex<Option<oneshot::Sender<()>>>,
    pending: PendingConnection,
}

/// The parts of a connection that wait until its CONNECT is answered.
#[derive(Default)]
pub(super) struct PendingConnection(Mutex<Option<PendingParts>>);

/// The client, its connected devices, and a receiver that ends when the connection is gone.
type PendingParts = (SiteClient, ConnectedDevices, oneshot::Receiver<()>);

impl PendingConnection {
    /// Reserves a slot for the device of a client. An error is the message of the refused CONNECT.
    pub(super) async fn reserve(
        &self,
        socket: &Arc<dyn Socket>,
        delivery_service: &DeliveryService,
        site_client: SiteClient,
        gone: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        let devices = match delivery_service.connect_devices(&site_client).await {
            Ok(devices) => devices,
            Err(connect_error) => {
                if let ConnectDevicesError::Store(error) = &connect_error {
                    tracing::error!(%error, "store failed: the connection of a client is ended, and it connects again");
                    Arc::clone(socket).end().await;
                }
                return Err(match (&connect_error, site_client.is_runtime) {
                    (ConnectDevicesError::TooMany { .. }, true) => {
                        format!("{connect_error}: close one of them, or try again later")
                    }
                    _ => connect_error.to_string(),
                });
            }
        };
        *self.0.lock() = Some((site_client, devices, gone));
        Ok(())
    }

    /// Starts the delivery task of the connection.
    pub(super) fn start_delivery(
        &self,
        delivery_service: &DeliveryService,
        connection: SiteConnection,
    ) {
        let Some((site_client, devices, gone)) = self.0.lock().take() else { return };
        let (id, site) = (connection.id(), &site_client.name);
        tracing::debug!(connection = %id, %site, "a client has connected");
        let session = delivery_service.clone().run_session(site_client, devices, connection, gone);
        delivery_service.environment().spawn(session);
    }
}

impl Sockets {
    /// Accepts connections to a site.
    pub(crate) fn open_site(&self, site: Name, delivery_service: DeliveryService) {
        let namespace = site.namespace();
        self.adapter.open(namespace, Arc::new(SiteNamespace { site, delivery_service }));
    }

    /// Ends the transports of the clients of a removed site. They connect again, and wait for the
    /// site to be added again. A client whose namespace is disconnected would stay away.
    pub(crate) fn close_site(&self, site: &Name) {
        let stock = self.adapter.sockets(&site.namespace());
        stock.into_iter().for_each(|socket| drop(socket.end()));
        self.within(vec![rooms::site_name(site)], None).iter().for_each(Client::disconnect);
    }
}

impl Namespace for SiteNamespace {
    fn begin(
        &self,
        socket: &Arc<dyn Socket>,
        auth: Option<&str>,
    ) -> Result<Arc<dyn ConnectionHandler>, String> {
        let (sender, gone) = oneshot::channel();
        Ok(Arc::new(SiteHandler {
            site: self.site.clone(),
            delivery_service: self.delivery_service.clone(),
            request: Mutex::new(Some((stock_request(&**socket, auth), gone))),
            gone_sender: Mutex::new(Some(sender)),
            pending: PendingConnection::default(),
        }))
    }
}

impl ConnectionHandler for SiteHandler {
    fn connection(&self) -> Option<&Arc<Connection>> {
        None
    }

    fn admit(&self, socket: Arc<dyn Socket>) -> BoxFuture<'_, Result<(), String>> {
        let request = self.request.lock().take();
        Box::pin(async move {
            let Some((request, gone)) = request else { return Ok(()) };
            let admission = self.delivery_service.authenticate(&self.site, request);
            let admitted = admit(&socket, admission).await;
            let site_client = admitted.map_err(|rejection| rejection.for_stock())?;
            self.pending.reserve(&socket, &self.delivery_service, site_client, gone).await
        })
    }

    fn connected(&self, socket: Arc<dyn Socket>) {
        self.pending.start_delivery(&self.delivery_service, SiteConnection::Stock(socket));
    }

    fn received(&self, _: Arc<dyn Socket>, _: Event) {}

    fn disconnected(&self, _: Arc<dyn Socket>, _: bool) {
        // The delivery task is notified by this.
        drop(self.gone_sender.lock().take());
    }
}

/// Waits for an admission as long as the client does. If the client should connect again, its
/// transport is ended before it could receive the rejection.
pub(super) async fn admit(
    socket: &Arc<dyn Socket>,
    admission: impl Future<Output = Result<SiteClient, Rejection>>,
) -> Result<SiteClient, Rejection> {
    let admitted = tokio::select! {
        biased;
        admitted = admission => admitted,
        () = socket.ended() => Err(Rejection::Disconnected),
    };
    if let Err(rejection) = &admitted {
        let (connection, reason) = (socket.id(), rejection.for_stock());
        if rejection.ends_transport() {
            tracing::debug!(%connection, reason, "the transport of a client is ended");
            Arc::clone(socket).end().await;
        } else {
            tracing::debug!(%connection, reason, "a client is refused");
        }
    }
    admitted
}

/// The introduction of a stock client: the values in the auth of its CONNECT, or else in the url of
/// its handshake.
fn stock_request(socket: &dyn Socket, auth: Option<&str>) -> ConnectRequest {
    let auth: Option<Json> = auth.and_then(|text| parse_small(text).ok());
    let value = |name: &str| {
        let in_auth = auth.as_ref().and_then(|auth| text_in(auth, name));
        in_auth.or_else(|| query_parameter(socket, name))
    };
    let (token, device) = (value("token"), value("deviceId"));
    let (address, page) = (client_address(&socket.handshake().extensions), page(socket));
    ConnectRequest { token, device, is_runtime: false, address, page }
}

/// The site, token and device in the auth of a CONNECT of our runtime. They are never in its url,
/// because urls end up in logs.
pub(super) fn runtime_request(
    socket: &dyn Socket,
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
    let (address, page) = (client_address(&socket.handshake().extensions), page(socket));
    let request = ConnectRequest { token, device, is_runtime: true, address, page };
    Some((site, request))
}

/// The page that opened the connection, if it may use nothing but sites.
pub(super) fn page(socket: &dyn Socket) -> Option<SiteOrigin> {
    socket.handshake().extensions.get::<SiteOrigin>().cloned()
}

/// Returns a text of the auth. A number counts as its text: `{token: 12345}`.
fn text_in(auth: &Json, name: &str) -> Option<String> {
    match auth.get(name)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn query_parameter(socket: &dyn Socket, name: &str) -> Option<String> {
    let query = socket.handshake().uri.query()?.as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
