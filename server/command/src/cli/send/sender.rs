//! Messages on their way to a server.

use std::io;
use std::time::Duration;

use backwire::settings::ApiKey;
use backwire::sites::Outgoing;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use tokio::io::{AsyncBufRead, Lines};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Outcome, good, later};
use super::lined::Lined;
use super::options::Send;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const LARGEST_ANSWER: usize = 4 << 20;

/// One request after the other.
pub(super) struct Sender {
    url: String,
    headers: HeaderMap,
    http: Outgoing,
}

impl Sender {
    pub(super) fn new(said: &Send) -> io::Result<Self> {
        let mut url = said.url.clone();
        let path = format!("{}/send", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut().append_pair("site", said.site.as_str());
        if said.resync {
            url.query_pairs_mut().append_pair("resync", "true");
        }
        let key = said.api_key_file.as_ref().or(said.api_key.as_ref()).and_then(ApiKey::bearer);
        let key = key.ok_or_else(|| io::Error::other("the key cannot be in a header"))?;
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, key)]);
        if let Some(key) = &said.idempotency_key {
            let key = key.parse().map_err(|_| io::Error::other("--idempotency-key: no header"))?;
            headers.insert("idempotency-key", key);
        }
        Ok(Self { url: url.into(), headers, http: Outgoing::default() })
    }

    /// As many in a request as are there without waiting. What is refused is told, and the others are sent
    /// all the same.
    pub(super) async fn send_lines(
        &self,
        mut lines: Lines<impl AsyncBufRead + Unpin>,
    ) -> io::Result<()> {
        let (mut number, mut refused) = (0, 0);
        while let Some(line) = lines.next_line().await? {
            let mut request = Lined::default();
            let mut next = Some(line);
            while let Some(line) = next {
                number += 1;
                request.add(number, &line);
                let more = request.takes_more().then(|| lines.next_line().now_or_never()).flatten();
                next = more.transpose()?.flatten();
            }
            refused += self.send_many(request).await?;
        }
        match refused {
            0 => Ok(()),
            _ => Err(io::Error::other(format!("{refused} of {number} lines were not sent"))),
        }
    }

    /// Tells which are refused, and how many.
    async fn send_many(&self, Lined { numbers, body }: Lined) -> io::Result<usize> {
        if numbers.is_empty() {
            return Ok(0);
        }
        let last = numbers.last().copied().unwrap_or_default();
        let answer = self.ask("application/x-ndjson", body.into_bytes()).await;
        let answer = answer.map_err(|error| {
            io::Error::other(format!("lines {} to {last}: {error}", numbers[0]))
        })?;
        let outcomes: Vec<Outcome> = serde_json::from_slice(&answer)?;
        let refused = numbers.iter().zip(outcomes).filter(|(_, outcome)| outcome.status != 200);
        let told = refused.map(|(number, Outcome { status, error })| match error {
            Some(refusal) => tracing::error!("line {number}: {status} {refusal}"),
            None => tracing::error!("line {number}: {status}"),
        });
        Ok(told.count())
    }

    /// The body of a good answer. What is to come later does.
    pub(super) async fn ask(&self, kind: &str, body: Vec<u8>) -> io::Result<Bytes> {
        let (body, end) = (Bytes::from(body), Instant::now() + PATIENCE);
        loop {
            let answer = self.ask_once(kind, body.clone()).await?;
            match later(&answer).map(|wait| Instant::now() + wait) {
                Some(then) if then < end => sleep_until(then).await,
                _ => return good(answer),
            }
        }
    }

    async fn ask_once(&self, kind: &str, body: Bytes) -> io::Result<Response<Bytes>> {
        let mut request = Request::post(&self.url).header(header::CONTENT_TYPE, kind);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.body(Full::from(body)).map_err(io::Error::other)?;
        let asked = timeout(PATIENCE, self.http.ask(request, LARGEST_ANSWER)).await;
        let answer = asked.map_err(|_| io::Error::other("no answer in time"))?;
        answer.map_err(io::Error::other)
    }
}
