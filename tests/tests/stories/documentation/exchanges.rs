//! Requests and answers that pages of the documentation show.

use backwire_tests::Server;
use backwire_tests::documentation::page;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A request and its answer in the documentation: `POST /todo {"title":"Milk"} → 201 {…}`.
struct Exchange<'a> {
    line: &'a str,
    method: Method,
    path: &'a str,
    body: Option<Value>,
    status: u16,
    answer: Value,
}

impl<'a> Exchange<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (request, answer) = line.split_once(" → ")?;
        let (status, answer) = answer.split_once(' ')?;
        let mut request = request.splitn(3, ' ');
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("{line}"));
        Some(Self {
            line,
            method: request.next()?.parse().ok()?,
            path: request.next()?,
            body: request.next().map(json),
            status: status.parse().ok()?,
            answer: json(answer),
        })
    }

    /// Sends the request and compares the answer: the code of a refusal, or the records without
    /// times.
    async fn is_answered_by(&self, server: &Server) {
        let url = format!("{}{}", server.origin(), self.path);
        let mut request = Client::new().request(self.method.clone(), url);
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), self.status, "{}", self.line);
        let answer: Value = response.json().await.expect("the answer is JSON");
        let answer = match self.status {
            400.. => json!({ "code": answer["code"] }),
            _ => without_times(answer),
        };
        assert_eq!(answer, self.answer, "{}", self.line);
    }
}

fn without_times(mut answer: Value) -> Value {
    match &mut answer {
        Value::Array(records) => records.iter().cloned().map(without_times).collect(),
        Value::Object(record) => {
            record.retain(|name, _| name != "createdAt" && name != "updatedAt");
            answer
        }
        _ => answer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exchange_is_answered_as_shown() {
    for name in ["criteria.md", "error-codes.md", "http-and-socket-api.md"] {
        let page = page(&format!("reference/{name}"));
        let server = Server::start();
        let exchanges: Vec<_> = page.lines().filter_map(Exchange::parse).collect();
        assert!(exchanges.len() > 5, "{name} has fewer exchanges");
        for exchange in exchanges {
            exchange.is_answered_by(&server).await;
        }
    }
}
