//! A push service with two sites, and connections of devices to them.

use backwire::Server;
use backwire::model::Model;
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use backwire::sites::{Site, Sites};
use reqwest::Client;
use serde_json::{Value, json};

use crate::back_end::back_end;
use crate::client::{Socket, builder, start};

pub(crate) async fn site(change: impl FnOnce(&mut Site)) -> Site {
    let mut site = Site::new(back_end().await.parse().unwrap(), "54321".parse().unwrap());
    site.user_room_prefix = Some("user_".to_owned());
    change(&mut site);
    site
}

/// A server with the sites `shop` and `blog`.
pub(crate) struct PushService {
    pub(crate) server: Server,
    pub(crate) sites: Sites,
}

impl PushService {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}, Store::Memory).await
    }

    pub(crate) async fn with_resource(name: &str, model: Model) -> Self {
        let build = |builder: Builder| builder.store(Store::Memory).resource(name, model).unwrap();
        Self::build(|site| site.resources = true, build).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Site), store: Store) -> Self {
        Self::build(change, |builder| builder.store(store)).await
    }

    pub(crate) async fn build(
        change: impl FnOnce(&mut Site),
        build: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let sites = Sites::default();
        let (shop, blog) = (site(change).await, site(|_| {}).await);
        sites.replace([("shop".parse().unwrap(), shop), ("blog".parse().unwrap(), blog)]);
        let settings = Settings { port: 0, sites: sites.clone(), ..Settings::default() };
        Self { server: start(build(builder().settings(settings))).await, sites }
    }

    pub(crate) async fn post(
        &self,
        query: &str,
        key: Option<&str>,
        message: Value,
    ) -> (u16, String) {
        let url = format!("http://{}/send?apiKey=54321&site={query}", self.server.addr());
        let mut request = Client::new().post(url).json(&message);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends an event with a number to rooms of the site `shop`.
    pub(crate) async fn send(&self, rooms: Value, event: &str, number: usize) {
        let message = json!({ "rooms": rooms, "event": event, "args": [number] });
        assert_eq!(self.post("shop", None, message).await, (200, "OK".to_owned()));
    }

    pub(crate) async fn connect(&self, token: &str) -> DeviceConnection {
        let token = token.replace('+', "%2B");
        self.connect_to("shop", &format!("token={token}")).await.unwrap()
    }

    pub(crate) async fn connect_to(
        &self,
        site: &str,
        auth: &str,
    ) -> Result<DeviceConnection, Value> {
        let query = format!("&{auth}");
        let mut socket = Socket::open_with_query(&self.server, &query).await;
        socket.send(format!("40/{site},")).await;
        Self::finish_connect(socket, site).await
    }

    /// Connects a client of Socket.IO 2, which sends its auth in the name of the site.
    pub(crate) async fn connect_old_client_to(
        &self,
        site: &str,
        auth: &str,
    ) -> Result<DeviceConnection, Value> {
        let mut socket = Socket::socket_io_2(&self.server).await;
        socket.send(format!("40/{site}?{auth},")).await;
        Self::finish_connect(socket, site).await
    }

    async fn finish_connect(mut socket: Socket, site: &str) -> Result<DeviceConnection, Value> {
        let start = format!("/{site},");
        let answer = socket.next_frame().await;
        match answer.strip_prefix(&format!("44{start}")) {
            Some(refusal) => Err(serde_json::from_str(refusal).unwrap()),
            None => Ok(DeviceConnection { socket, start }),
        }
    }
}

/// The connection of a device to a site.
pub(crate) struct DeviceConnection {
    pub(crate) socket: Socket,
    start: String,
}

impl DeviceConnection {
    /// Receives the next event: its ack id, if it has one, and its name and arguments.
    pub(crate) async fn next(&mut self) -> (Option<u64>, Value) {
        let frame = self.socket.next_frame().await;
        let packet = frame.strip_prefix(&format!("42{}", self.start)).expect("it is an event");
        let list = packet.find('[').unwrap();
        (packet[..list].parse().ok(), serde_json::from_str(&packet[list..]).unwrap())
    }

    /// Receives the next event and acks it.
    pub(crate) async fn take(&mut self) -> Value {
        let (ack, event) = self.next().await;
        self.ack(ack).await;
        event
    }

    pub(crate) async fn ack(&mut self, ack: Option<u64>) {
        let ack = ack.expect("it is to be acked");
        self.socket.send(format!("43{}{ack}[]", self.start)).await;
    }

    /// Acks all events, and disconnects after the server has handled the acks. It handles acks in
    /// order.
    pub(crate) async fn leave(mut self, service: &PushService, own: &str) {
        service.send(json!([own]), "bye", 0).await;
        loop {
            let (ack, event) = self.next().await;
            self.ack(ack).await;
            if event == json!(["bye", 0]) {
                break;
            }
        }
        self.disconnect().await;
    }

    /// Disconnects after the server has handled all acks.
    pub(crate) async fn disconnect(mut self) {
        self.socket.send(format!("41{}", self.start)).await;
        self.socket.send("1").await;
        self.socket.wait_for_close().await;
    }
}
