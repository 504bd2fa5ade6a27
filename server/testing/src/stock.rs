//! A stock client of Socket.IO with the requests of Sails 1.x.

use std::collections::VecDeque;

use futures_util::{FutureExt, SinkExt, StreamExt};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::TEST_TIMEOUT;
use crate::network::Network;
use crate::response::Response;

/// A stock client of Socket.IO 4, such as `socket.io-client` or `sails.io.js`. Its requests are
/// those of Sails 1.x.
#[derive(Debug)]
pub struct StockClient {
    network: Network,
    stream: WebSocketStream<DuplexStream>,
    last_ack: u64,
    /// Events that have been received and not yet returned.
    events: VecDeque<StockEvent>,
}

/// An event that a stock client has received.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StockEvent {
    /// The name of the event. For a change it is the name of the resource.
    pub name: String,
    /// The arguments. A change has one argument: `{verb, id, data, previous}`.
    pub arguments: Vec<Value>,
    /// The number to [ack](StockClient::ack) the event with, if the server expects an ack.
    pub ack: Option<u64>,
}

/// A packet of Socket.IO.
enum Packet {
    Event(StockEvent),
    Ack(u64, Value),
    Refused(String),
    Connected,
    Closed,
}

impl StockClient {
    pub(crate) async fn connect(
        network: Network,
        stream: DuplexStream,
        url: &str,
        headers: HeaderMap,
        auth: &Map<String, Value>,
    ) -> Result<Self, String> {
        let mut request = url.into_client_request().map_err(|error| error.to_string())?;
        request.headers_mut().extend(headers);
        let opened = client_async(request, stream).await;
        let (stream, _) = opened.map_err(|error| error.to_string())?;
        let (last_ack, events) = Default::default();
        let mut client = Self { network, stream, last_ack, events };
        let auth = if auth.is_empty() { String::new() } else { json!(auth).to_string() };
        client.send(format!("40{auth}")).await;
        loop {
            match client.receive_packet("answer to the connect").await {
                Packet::Connected => return Ok(client),
                Packet::Refused(message) => return Err(message),
                Packet::Closed => return Err("the server has closed the connection".to_owned()),
                Packet::Event(event) => client.events.push_back(event),
                Packet::Ack(..) => {}
            }
        }
    }

    /// Sends a `GET`. `url` is the path and the query.
    pub async fn get(&mut self, url: &str) -> Response {
        self.request("get", url, Value::Null).await
    }

    /// Sends a `POST`.
    pub async fn post(&mut self, url: &str, data: Value) -> Response {
        self.request("post", url, data).await
    }

    /// Sends a `PUT`.
    pub async fn put(&mut self, url: &str, data: Value) -> Response {
        self.request("put", url, data).await
    }

    /// Sends a `PATCH`.
    pub async fn patch(&mut self, url: &str, data: Value) -> Response {
        self.request("patch", url, data).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&mut self, url: &str) -> Response {
        self.request("delete", url, Value::Null).await
    }

    async fn request(&mut self, verb: &str, url: &str, data: Value) -> Response {
        let mut request = json!({ "method": verb, "url": url });
        if !data.is_null() {
            request["data"] = data;
        }
        let answer = self.emit_with_ack(verb, [request]).await;
        let status = answer["statusCode"].as_u64().and_then(|status| status.try_into().ok());
        let status = status.unwrap_or_else(|| panic!("{answer} is not the answer to a request"));
        Response::over_a_socket(status, answer.get("headers"), answer["body"].clone())
    }

    /// Sends an event.
    pub async fn emit(&mut self, event: &str, arguments: impl IntoIterator<Item = Value>) {
        self.send(format!("42{}", event_packet(event, arguments))).await;
    }

    /// Sends an event, and waits for the first value of its ack.
    ///
    /// # Panics
    ///
    /// If there is none within 10 seconds.
    pub async fn emit_with_ack(
        &mut self,
        event: &str,
        arguments: impl IntoIterator<Item = Value>,
    ) -> Value {
        self.last_ack += 1;
        let expected = self.last_ack;
        self.send(format!("42{expected}{}", event_packet(event, arguments))).await;
        loop {
            match self.receive_packet("ack").await {
                Packet::Ack(number, value) if number == expected => return value,
                Packet::Event(event) => self.events.push_back(event),
                Packet::Closed => panic!("the server has closed the connection"),
                Packet::Ack(..) | Packet::Connected | Packet::Refused(_) => {}
            }
        }
    }

    /// Acks an event.
    ///
    /// # Panics
    ///
    /// If the server expects no ack of this event.
    pub async fn ack(&mut self, event: &StockEvent, value: Value) {
        let number = event.ack.expect("the server expects an ack of this event");
        self.send(format!("43{number}{}", json!([value]))).await;
    }

    /// Waits for the next event.
    ///
    /// # Panics
    ///
    /// If there is none within 10 seconds.
    pub async fn next_event(&mut self) -> StockEvent {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        loop {
            match self.receive_packet("event").await {
                Packet::Event(event) => return event,
                Packet::Closed => panic!("the server has closed the connection"),
                Packet::Ack(..) | Packet::Connected | Packet::Refused(_) => {}
            }
        }
    }

    /// Waits until the server is idle, and returns all events that have arrived.
    pub async fn received_events(&mut self) -> Vec<StockEvent> {
        self.network.wait_until_idle().await;
        while let Some(Packet::Event(event)) = self.next_packet().now_or_never() {
            self.events.push_back(event);
        }
        self.events.drain(..).collect()
    }

    /// Waits until the server has closed the connection.
    ///
    /// # Panics
    ///
    /// If it is open after 10 seconds.
    pub async fn wait_until_closed(mut self) {
        while !matches!(self.receive_packet("end of the connection").await, Packet::Closed) {}
    }

    async fn send(&mut self, frame: String) {
        // An error means that the connection has ended. The next read returns `Closed`.
        let _ = self.stream.send(Message::text(frame)).await;
    }

    async fn receive_packet(&mut self, what: &str) -> Packet {
        let packet = timeout(TEST_TIMEOUT, self.next_packet()).await;
        packet.unwrap_or_else(|_| panic!("there is no {what} within {TEST_TIMEOUT:?}"))
    }

    async fn next_packet(&mut self) -> Packet {
        loop {
            let Some(Ok(message)) = self.stream.next().await else { return Packet::Closed };
            let Message::Text(text) = message else { continue };
            match text.as_str() {
                "2" => self.send("3".to_owned()).await,
                "1" | "41" => return Packet::Closed,
                text => {
                    if let Some(packet) = parse_packet(text) {
                        return packet;
                    }
                }
            }
        }
    }
}

fn event_packet(event: &str, arguments: impl IntoIterator<Item = Value>) -> Value {
    [Value::from(event)].into_iter().chain(arguments).collect()
}

fn parse_packet(frame: &str) -> Option<Packet> {
    let kind = frame.get(..2)?;
    let rest = &frame[2..];
    let digits = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    let value: Value = serde_json::from_str(rest).ok()?;
    match kind {
        "40" => Some(Packet::Connected),
        "44" => Some(Packet::Refused(value["message"].as_str().unwrap_or_default().to_owned())),
        "42" => {
            let mut parts = value.as_array()?.iter().cloned();
            let name = parts.next()?.as_str()?.to_owned();
            let (arguments, ack) = (parts.collect(), number.parse().ok());
            Some(Packet::Event(StockEvent { name, arguments, ack }))
        }
        "43" => Some(Packet::Ack(number.parse().ok()?, value[0].clone())),
        _ => None,
    }
}
