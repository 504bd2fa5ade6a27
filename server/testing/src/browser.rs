//! A visitor with a browser: plain requests over HTTP, and clients with the same cookies.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use backwire_client_native::Connector;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::client::Client;
use crate::handshake::Handshake;
use crate::network::Network;
use crate::response::Response;
use crate::stock::StockClient;

/// The path of the route that signs browsers in.
pub(crate) const SIGN_IN: &str = "/backwire-testing/sign-in";

/// A browser: requests over HTTP, which keep the cookies that they get, and clients of Socket.IO
/// with these cookies. It does not follow redirects.
#[derive(Debug, Clone)]
pub struct Browser {
    network: Network,
    cookies: BTreeMap<String, String>,
    headers: HeaderMap,
    address: IpAddr,
}

impl Browser {
    pub(crate) fn new(network: Network) -> Self {
        let (cookies, headers) = Default::default();
        Self { network, cookies, headers, address: Ipv4Addr::LOCALHOST.into() }
    }

    /// Sets the address of the visitor. Without it, the address is 127.0.0.1. Limits count clients
    /// by their address.
    #[must_use]
    pub fn at(self, address: impl Into<IpAddr>) -> Self {
        Self { address: address.into(), ..self }
    }

    /// Sets a header of all later requests and handshakes, such as `origin` or `x-csrf-token`. It
    /// replaces an earlier header with the same name.
    ///
    /// # Panics
    ///
    /// If the name or the value is not one that a header can have.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("it is the name of a header");
        let value = HeaderValue::from_str(value).expect("it is the value of a header");
        self.headers.insert(name, value);
        self
    }

    /// Sends a `GET`. `url` is the path and the query.
    pub async fn get(&mut self, url: &str) -> Response {
        self.request("GET", url, None).await
    }

    /// Sends a `POST` with a body of JSON.
    pub async fn post(&mut self, url: &str, body: Value) -> Response {
        self.request("POST", url, Some(body)).await
    }

    /// Sends a `PUT` with a body of JSON.
    pub async fn put(&mut self, url: &str, body: Value) -> Response {
        self.request("PUT", url, Some(body)).await
    }

    /// Sends a `PATCH` with a body of JSON.
    pub async fn patch(&mut self, url: &str, body: Value) -> Response {
        self.request("PATCH", url, Some(body)).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&mut self, url: &str) -> Response {
        self.request("DELETE", url, None).await
    }

    /// Sends a request with any method, and a body of JSON if there is one.
    ///
    /// # Panics
    ///
    /// If the method or the url is not one that a request can have.
    pub async fn request(&mut self, method: &str, url: &str, body: Option<Value>) -> Response {
        let method = Method::from_bytes(method.as_bytes()).expect("it is a method");
        let mut request = Request::builder().method(method).uri(url);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| body.to_string().into());
        self.send(request.body(body).expect("it is a url")).await
    }

    /// Sends any request. The cookies and headers of the browser are added to its own headers.
    pub async fn send(&mut self, mut request: Request<Body>) -> Response {
        for (name, value) in &self.common_headers() {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        let response = self.network.request(request, self.address).await;
        for cookie in response.headers.get_all(header::SET_COOKIE) {
            self.store_cookie(&String::from_utf8_lossy(cookie.as_bytes()));
        }
        response
    }

    fn store_cookie(&mut self, cookie: &str) {
        let pair = cookie.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            let is_removed = cookie.to_ascii_lowercase().contains("max-age=0") || value.is_empty();
            match is_removed {
                true => self.cookies.remove(name.trim()),
                false => self.cookies.insert(name.trim().to_owned(), value.to_owned()),
            };
        }
    }

    /// Returns the value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Signs the visitor in, as `session.sign_in(person, roles)` in a handler does. This needs no
    /// route of your server.
    pub async fn sign_in<'a>(&mut self, person: &str, roles: impl IntoIterator<Item = &'a str>) {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut url = format!("{}{SIGN_IN}?person={}", self.network.path, encoded(person));
        for role in roles {
            url.push_str(&format!("&role={}", encoded(role)));
        }
        self.get(&url).await.ok();
    }

    /// Signs the visitor out.
    pub async fn sign_out(&mut self) {
        self.get(&format!("{}{SIGN_IN}", self.network.path)).await.ok();
    }

    /// Connects a client like Backwire's runtime in a page of this browser.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn client(&self) -> Client {
        let connected = self.connect(Handshake::new()).await;
        connected.unwrap_or_else(|reason| panic!("the server refuses the client: {reason}"))
    }

    /// Connects a client with a query, headers or an auth. If the server refuses the client, the
    /// error is the server's message.
    pub async fn connect(&self, handshake: Handshake) -> Result<Client, String> {
        let (network, from) = (self.network.clone(), self.address);
        let mut connector = Connector::new("ws://localhost").path(&self.socket_path(&handshake));
        let mut headers = self.common_headers();
        headers.extend(handshake.headers.clone());
        for (name, value) in &headers {
            let value = value.to_str().expect("the headers of a test are text");
            connector = connector.header(name.as_str(), value);
        }
        let connector = connector.over(move || network.clone().open(from));
        Client::connect(self.network.clone(), connector, &handshake.auth).await
    }

    /// Connects a stock client of Socket.IO.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn stock_client(&self) -> StockClient {
        let connected = self.connect_stock(Handshake::new()).await;
        connected.unwrap_or_else(|reason| panic!("the server refuses the client: {reason}"))
    }

    /// Connects a stock client with a query, headers or an auth. If the server refuses the client,
    /// the error is the server's message.
    pub async fn connect_stock(&self, handshake: Handshake) -> Result<StockClient, String> {
        let path = self.socket_path(&handshake);
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!("ws://localhost{path}{separator}EIO=4&transport=websocket");
        let opened = self.network.clone().open(self.address).await;
        let stream = opened.map_err(|error| error.to_string())?;
        let mut headers = self.common_headers();
        headers.extend(handshake.headers);
        StockClient::connect(self.network.clone(), stream, &url, headers, &handshake.auth).await
    }

    fn socket_path(&self, handshake: &Handshake) -> String {
        format!("{}/socket.io/{}", self.network.path, handshake.query_text())
    }

    /// Returns the headers that each request and each handshake has.
    fn common_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        if let Ok(cookies) = HeaderValue::from_str(&cookies) {
            headers.insert(header::COOKIE, cookies);
        }
        headers
    }
}
