//! Sends requests with messages to a server.

use std::io;
use std::time::Duration;

use backwire::settings::ApiKey;
use backwire::sites::HttpClient;
use backwire_records::counted::counted;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use tokio::io::{AsyncBufRead, Lines};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Outcome, body_or_error, retry_after};
use super::line_batch::LineBatch;
use super::options::Send;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that an answer may have.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Sends one request after the other.
pub(super) struct Sender {
    url: String,
    headers: HeaderMap,
    http: HttpClient,
}

impl Sender {
    pub(super) fn new(options: &Send) -> io::Result<Self> {
        let mut url = options.url.clone();
        let path = format!("{}/send", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut().append_pair("site", options.site.as_str());
        if options.resync {
            url.query_pairs_mut().append_pair("resync", "true");
        }
        let key = options.api_key_file.as_ref().or(options.api_key.as_ref());
        let invalid = "--api-key: it cannot be sent in a header: use visible ASCII characters";
        let key = key.and_then(ApiKey::bearer).ok_or_else(|| io::Error::other(invalid))?;
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, key)]);
        if let Some(key) = &options.idempotency_key {
            let invalid =
                "--idempotency-key: it cannot be sent in a header: use visible ASCII characters";
            let key = key.parse().map_err(|_| io::Error::other(invalid))?;
            headers.insert("idempotency-key", key);
        }
        Ok(Self { url: url.into(), headers, http: HttpClient::default() })
    }

    /// Sends lines. Each request has as many as can be read without waiting. Refused lines are
    /// logged, and the others are sent all the same.
    pub(super) async fn send_lines(
        &self,
        mut lines: Lines<impl AsyncBufRead + Unpin>,
    ) -> io::Result<()> {
        let (mut number, mut refused) = (0, 0);
        while let Some(line) = lines.next_line().await? {
            let mut request = LineBatch::default();
            let mut next = Some(line);
            while let Some(line) = next {
                number += 1;
                request.add(number, &line);
                let more = request.has_room().then(|| lines.next_line().now_or_never()).flatten();
                next = more.transpose()?.flatten();
            }
            refused += self.send_batch(request).await?;
        }
        match refused {
            0 => Ok(()),
            _ => {
                let lines = counted(number, "line");
                Err(io::Error::other(format!("{refused} of {lines} could not be sent")))
            }
        }
    }

    /// Sends one request, logs the refused lines, and returns how many there are.
    async fn send_batch(&self, LineBatch { numbers, body }: LineBatch) -> io::Result<usize> {
        if numbers.is_empty() {
            return Ok(0);
        }
        let last = numbers.last().copied().unwrap_or_default();
        let answer = self.post("application/x-ndjson", body.into_bytes()).await;
        let answer = answer.map_err(|error| {
            let lines = match numbers[..] {
                [line] => format!("line {line}"),
                _ => format!("lines {} to {last}", numbers[0]),
            };
            io::Error::other(format!("{lines}: {error}"))
        })?;
        let outcomes: Vec<Outcome> = serde_json::from_slice(&answer)?;
        let refused = numbers.iter().zip(outcomes).filter(|(_, outcome)| outcome.status != 200);
        let logged = refused.map(|(number, Outcome { status, error })| match error {
            Some(refusal) => tracing::error!("line {number}: {status} {refusal}"),
            None => tracing::error!("line {number}: {status}"),
        });
        Ok(logged.count())
    }

    /// Sends a request, repeats it while the server asks for that, and returns the body of a
    /// successful answer.
    pub(super) async fn post(&self, kind: &str, body: Vec<u8>) -> io::Result<Bytes> {
        let (body, end) = (Bytes::from(body), Instant::now() + ANSWER_TIMEOUT);
        loop {
            let answer = self.post_once(kind, body.clone()).await?;
            match retry_after(&answer).map(|wait| Instant::now() + wait) {
                Some(then) if then < end => sleep_until(then).await,
                _ => return body_or_error(answer),
            }
        }
    }

    async fn post_once(&self, kind: &str, body: Bytes) -> io::Result<Response<Bytes>> {
        let mut request = Request::post(&self.url).header(header::CONTENT_TYPE, kind);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.body(Full::from(body)).map_err(io::Error::other)?;
        let outcome = timeout(ANSWER_TIMEOUT, self.http.send(request, MAX_ANSWER_BYTES)).await;
        let answer = outcome.map_err(|_| io::Error::other("no answer in time"))?;
        answer.map_err(io::Error::other)
    }
}
