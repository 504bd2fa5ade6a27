//! A client that keeps its cookie, like a browser.

use backwire::Server;
use reqwest::{Client, Method, Response};
use serde_json::Value;

use crate::client::{RUNTIME, Socket};

/// A client that sends the last cookie that it received.
pub(crate) struct Browser {
    pub(crate) server: String,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn new(server: &Server) -> Self {
        Self { server: format!("http://{}", server.addr()), cookie: None }
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response {
        let mut request = Client::new().request(method, format!("{}{path}", self.server));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        if let Some(given) = response.headers().get("set-cookie") {
            let (cookie, _) = given.to_str().unwrap().split_once(';').unwrap();
            self.cookie = Some(cookie.to_owned());
        }
        response
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        self.send(Method::GET, path, None).await.json().await.unwrap()
    }

    pub(crate) async fn keep(&mut self, key: &str, value: Value) {
        let kept = self.send(Method::PUT, &format!("/session/{key}"), Some(value)).await;
        assert_eq!(kept.status(), 200);
    }

    /// Connects a stock client of a page in this browser.
    pub(crate) async fn socket(&self, server: &Server) -> Socket {
        let cookie = self.cookie.as_deref().map(|cookie| ("cookie", cookie));
        Socket::connect_with(server, "", cookie.as_slice(), "").await
    }

    /// Connects the runtime of a page in this browser.
    pub(crate) async fn runtime(&self, server: &Server) -> Socket {
        let cookie = self.cookie.as_deref().map(|cookie| ("cookie", cookie));
        Socket::connect_with(server, "", cookie.as_slice(), RUNTIME).await
    }
}
