//! A server with sites, and people at them.

use backwire::Server;
use backwire::model::Model;
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use backwire::sites::{Site, Sites};
use reqwest::Client;
use serde_json::{Value, json};

use crate::back_end::back_end;
use crate::client::{Socket, builder, start};

pub(super) async fn site(change: impl FnOnce(&mut Site)) -> Site {
    let mut site = Site::new(back_end().await.parse().unwrap(), "54321".parse().unwrap());
    site.user_room_prefix = Some("user_".to_owned());
    change(&mut site);
    site
}

/// A server with the sites `shop` and `blog`.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(super) sites: Sites,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}, Store::Memory).await
    }

    pub(super) async fn with_resource(name: &str, model: Model) -> Self {
        let build = |builder: Builder| builder.store(Store::Memory).resource(name, model).unwrap();
        Self::built(|site| site.resources = true, build).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Site), store: Store) -> Self {
        Self::built(change, |builder| builder.store(store)).await
    }

    pub(super) async fn built(
        change: impl FnOnce(&mut Site),
        build: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let sites = Sites::default();
        let (shop, blog) = (site(change).await, site(|_| {}).await);
        sites.replace([("shop".parse().unwrap(), shop), ("blog".parse().unwrap(), blog)]);
        let settings = Settings { port: 0, sites: sites.clone(), ..Settings::default() };
        Self { server: start(build(builder().settings(settings))).await, sites }
    }

    pub(super) async fn post(
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

    /// Sends an event with its number to somebody at the shop.
    pub(super) async fn send(&self, rooms: Value, event: &str, number: usize) {
        let message = json!({ "rooms": rooms, "event": event, "args": [number] });
        assert_eq!(self.post("shop", None, message).await, (200, "OK".to_owned()));
    }

    pub(super) async fn phone(&self, token: &str) -> Phone {
        let token = token.replace('+', "%2B");
        self.phone_at("shop", &format!("token={token}")).await.unwrap()
    }

    pub(super) async fn phone_at(&self, site: &str, said: &str) -> Result<Phone, Value> {
        let query = format!("&{said}");
        let mut socket = Socket::unjoined(&self.server, &query).await;
        socket.send(format!("40/{site},")).await;
        Self::let_in(socket, site).await
    }

    /// A client of Socket.IO 2 that says something in the name of the site.
    pub(super) async fn old_phone_at(&self, site: &str, said: &str) -> Result<Phone, Value> {
        let mut socket = Socket::old(&self.server).await;
        socket.send(format!("40/{site}?{said},")).await;
        Self::let_in(socket, site).await
    }

    async fn let_in(mut socket: Socket, site: &str) -> Result<Phone, Value> {
        let start = format!("/{site},");
        let answer = socket.next_frame().await;
        match answer.strip_prefix(&format!("44{start}")) {
            Some(refusal) => Err(serde_json::from_str(refusal).unwrap()),
            None => Ok(Phone { socket, start }),
        }
    }
}

/// Somebody's connection to a site.
pub(super) struct Phone {
    pub(super) socket: Socket,
    start: String,
}

impl Phone {
    /// The next event: by which it is to be acked, if it is, and what it says.
    pub(super) async fn next(&mut self) -> (Option<u64>, Value) {
        let frame = self.socket.next_frame().await;
        let said = frame.strip_prefix(&format!("42{}", self.start)).expect("it is an event");
        let list = said.find('[').unwrap();
        (said[..list].parse().ok(), serde_json::from_str(&said[list..]).unwrap())
    }

    /// The next event, which is acked.
    pub(super) async fn take(&mut self) -> Value {
        let (ack, said) = self.next().await;
        self.ack(ack).await;
        said
    }

    pub(super) async fn ack(&mut self, ack: Option<u64>) {
        let ack = ack.expect("it is to be acked");
        self.socket.send(format!("43{}{ack}[]", self.start)).await;
    }

    /// Leaves when the server has taken all that was sent: acks are taken in their order.
    pub(super) async fn leave(mut self, house: &House, own: &str) {
        house.send(json!([own]), "bye", 0).await;
        loop {
            let (ack, said) = self.next().await;
            self.ack(ack).await;
            if said == json!(["bye", 0]) {
                break;
            }
        }
        self.hang_up().await;
    }

    /// Leaves, when the server has taken all acks that were sent.
    pub(super) async fn hang_up(mut self) {
        self.socket.send(format!("41{}", self.start)).await;
        self.socket.send("1").await;
        self.socket.is_ended().await;
    }
}
