//! `backwire send`: what a back end does with `POST /send`, from a shell.

use std::fmt;
use std::io;
use std::time::Duration;

use axum::body::Bytes;
use clap::Args;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use crate::settings::ApiKey;
use crate::sites::{Name, Outgoing};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const LARGEST_ANSWER: usize = 4 << 20;

/// Lines in one request, which is what a server takes.
const MOST_LINES: usize = 1000;

/// Bytes in one request after which no more lines go into it: half of what a server takes by itself.
const MANY_BYTES: usize = 512 << 10;

/// `backwire send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Where the server is
    #[arg(long, env = "BACKWIRE_URL", default_value = "http://localhost:1337")]
    url: Url,

    /// The site whose people are meant
    #[arg(long, env = "BACKWIRE_SITE", value_name = "NAME")]
    site: Name,

    /// Its key
    #[arg(
        long,
        env = "BACKWIRE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        required_unless_present = "api_key_file"
    )]
    api_key: Option<ApiKey>,

    /// File with its key, which others on the machine do not see on the command line
    #[arg(long, env = "BACKWIRE_API_KEY_FILE", value_name = "FILE", value_parser = ApiKey::read)]
    api_key_file: Option<ApiKey>,

    /// Rooms to send to. Without --rooms and --event, messages are read from the standard input, one a
    /// line: {"rooms": ["a"], "event": "e", "args": [1]}
    #[arg(long, value_delimiter = ',', requires = "event")]
    rooms: Vec<String>,

    /// Name of the event
    #[arg(long, requires = "rooms")]
    event: Option<String>,

    /// Has a device that acks it out of order start over
    #[arg(long)]
    resync: bool,

    /// By which the server knows a repeat
    #[arg(long, value_name = "KEY", requires = "event")]
    idempotency_key: Option<String>,

    /// What the event says, each as JSON: '"a text"' 7 '{"id":1}'
    #[arg(value_name = "JSON", requires = "event", value_parser = json)]
    args: Vec<Box<RawValue>>,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    let not_json =
        |error| format!("{error}; JSON is meant, a text has quotes of its own: '\"a text\"'");
    serde_json::from_str(text).map_err(not_json)
}

/// As it goes out.
#[derive(Serialize)]
struct Message<'a> {
    rooms: &'a [String],
    event: &'a str,
    /// None at all are one that is null, as for every sender.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    args: &'a [Box<RawValue>],
}

/// What is answered to one message of many.
#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Refusal>,
}

/// The server's words.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    field: Option<String>,
}

impl Send {
    /// Sends what was said, or what is read. An error says why something was not sent.
    pub(super) async fn run(self) -> io::Result<()> {
        // Large enough that many lines of a file are there at once.
        const AHEAD: usize = 256 << 10;
        self.send(BufReader::with_capacity(AHEAD, tokio::io::stdin())).await
    }

    async fn send(self, input: impl AsyncBufRead + Unpin) -> io::Result<()> {
        let sender = Sender::new(&self)?;
        match &self.event {
            Some(event) => {
                let message = Message { rooms: &self.rooms, event, args: &self.args };
                let json = serde_json::to_vec(&message)?;
                sender.ask("application/json", json).await.map(drop)
            }
            None => sender.send_lines(input.lines()).await,
        }
    }
}

/// One request after the other.
struct Sender {
    url: String,
    headers: http::HeaderMap,
    http: Outgoing,
}

impl Sender {
    fn new(said: &Send) -> io::Result<Self> {
        let mut url = said.url.clone();
        let path = format!("{}/send", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut().append_pair("site", said.site.as_str());
        if said.resync {
            url.query_pairs_mut().append_pair("resync", "true");
        }
        let key = said.api_key_file.as_ref().or(said.api_key.as_ref()).and_then(ApiKey::bearer);
        let key = key.ok_or_else(|| io::Error::other("the key can not be in a header"))?;
        let mut headers = http::HeaderMap::from_iter([(header::AUTHORIZATION, key)]);
        if let Some(key) = &said.idempotency_key {
            let key = key.parse().map_err(|_| io::Error::other("--idempotency-key: no header"))?;
            headers.insert("idempotency-key", key);
        }
        Ok(Self { url: url.into(), headers, http: Outgoing::default() })
    }

    /// As many in a request as are there without waiting. What is refused is told, and the others are sent
    /// all the same.
    async fn send_lines(&self, mut lines: Lines<impl AsyncBufRead + Unpin>) -> io::Result<()> {
        let (mut number, mut refused) = (0, 0);
        while let Some(line) = lines.next_line().await? {
            let mut request = Lined::default();
            let mut next = Some(line);
            while let Some(line) = next {
                number += 1;
                request.add(number, &line);
                let may_more =
                    request.numbers.len() < MOST_LINES && request.body.len() < MANY_BYTES;
                let more = may_more.then(|| lines.next_line().now_or_never()).flatten();
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
    async fn ask(&self, kind: &str, body: Vec<u8>) -> io::Result<Bytes> {
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

/// How long to wait until the same is to be sent again, of which nothing is stored.
fn later(answer: &Response<Bytes>) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(seconds))
}

/// Lines for one request, each with its number: empty ones are none.
#[derive(Default)]
struct Lined {
    numbers: Vec<usize>,
    body: String,
}

impl Lined {
    fn add(&mut self, number: usize, line: &str) {
        if !line.trim().is_empty() {
            self.numbers.push(number);
            self.body.push_str(line);
            self.body.push('\n');
        }
    }
}

fn good(response: Response<Bytes>) -> io::Result<Bytes> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::MULTI_STATUS) {
        return Ok(response.into_body());
    }
    let told = match serde_json::from_slice::<Refusal>(response.body()) {
        Ok(refusal) => refusal.to_string(),
        Err(_) => String::from_utf8_lossy(response.body()).chars().take(200).collect(),
    };
    Err(io::Error::other(format!("{} {told}", status.as_u16())))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use clap::Parser;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::delivery;
    use crate::http::send::{Letter, Post, router};
    use crate::sites::{Site, Sites};
    use crate::write::Key;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        send: Send,
    }

    /// What a message says, and its key.
    type Sent = (delivery::message::Message, Option<Key>);

    /// A server with one site, and what was sent to it.
    async fn server() -> (String, Arc<Mutex<Vec<Sent>>>) {
        let sites = Sites::default();
        let auth_url = "http://localhost/".parse().unwrap();
        let site = Site::new(auth_url, "54321".parse().unwrap());
        sites.replace([("newsite".parse().unwrap(), site)]);
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        let post: Post = Arc::new(move |Letter { message, key, .. }| {
            kept.lock().unwrap().push((message, key));
            async { Ok(()) }.boxed()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = router(sites, post);
        tokio::spawn(async { axum::serve(listener, app).await });
        (url, letters)
    }

    async fn send(url: &str, said: &[&str], input: &str) -> Result<(), String> {
        let place = ["backwire", "--url", url, "--site", "newsite"];
        let Line { send } = Line::try_parse_from([&place, said].concat()).unwrap();
        send.send(input.as_bytes()).await.map_err(|error| error.to_string())
    }

    fn came(letters: &Mutex<Vec<Sent>>) -> Value {
        let letters = std::mem::take(&mut *letters.lock().unwrap());
        let told = letters.into_iter().map(|(message, key)| {
            let key = key.map(|key| key.key.to_string());
            json!([message.rooms, message.event, message.args, message.resync, key])
        });
        told.collect()
    }

    const KEY: [&str; 2] = ["--api-key", "54321"];

    #[tokio::test]
    async fn an_event_is_sent_with_its_arguments() {
        let (url, letters) = server().await;
        let said = [&KEY[..], &["--rooms", "a,b", "--event", "e"]].concat();
        send(&url, &said, "").await.unwrap();
        assert_eq!(came(&letters), json!([[["a", "b"], "e", [null], false, null]]));
        let more = ["--resync", "--idempotency-key", "k", "\"user\"", "{\"id\":1}"];
        send(&url, &[&said, &more[..]].concat(), "").await.unwrap();
        assert_eq!(came(&letters), json!([[["a", "b"], "e", ["user", { "id": 1 }], true, "k"]]));
    }

    #[tokio::test]
    async fn lines_are_sent_in_their_order_and_empty_ones_are_none() {
        let (url, letters) = server().await;
        let lines: String = (0..2500)
            .map(|it| format!("{{\"rooms\":\"a\",\"event\":\"e\",\"args\":{it}}}\n\n"))
            .collect();
        send(&url, &KEY, &lines).await.unwrap();
        let came: Vec<_> = letters
            .lock()
            .unwrap()
            .iter()
            .map(|(message, _)| message.args[0].get().to_owned())
            .collect();
        assert_eq!(came, (0..2500).map(|it| it.to_string()).collect::<Vec<_>>());
        send(&url, &KEY, "\n").await.unwrap();
    }

    #[tokio::test]
    async fn what_is_to_come_later_is_sent_again() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = axum::routing::post(async move |body: String| {
            let mut seen = seen.lock().unwrap();
            seen.push(body);
            let status = match seen.len() {
                1 => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::OK,
            };
            (status, [(header::RETRY_AFTER, "0")], r#"[{"status":200}]"#)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/send", answer);
        tokio::spawn(async { axum::serve(listener, app).await });
        let line = "{\"rooms\":\"a\",\"event\":\"e\"}\n";
        send(&url, &KEY, line).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), [line, line]);
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_server() {
        let (url, letters) = server().await;
        let event = ["--rooms", "a", "--event"];
        for (said, told) in [
            ([&KEY[..], &event, &["batch"]].concat(), "400 event: this is an event of the push"),
            ([&["--api-key", "5"][..], &event, &["e"]].concat(), "401 apiKey: this is no site"),
        ] {
            let refused = send(&url, &said, "").await.unwrap_err();
            assert!(refused.starts_with(told), "{refused}");
        }
        let line = "{\"rooms\":\"a\",\"event\":\"e\"}";
        let refused = send(&url, &KEY, &format!("{line}\n{{}}\n{line}\n")).await.unwrap_err();
        assert_eq!(refused, "1 of 3 lines were not sent");
        assert_eq!(came(&letters).as_array().unwrap().len(), 2);
        let refused = send(&url, &["--api-key", "5"], &format!("\n{line}\n")).await.unwrap_err();
        assert!(refused.starts_with("lines 2 to 2: 401 apiKey: "), "{refused}");
    }

    #[tokio::test]
    async fn a_key_may_be_in_a_file() {
        let (url, letters) = server().await;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key").display().to_string();
        std::fs::write(&file, "54321\n").unwrap();
        let said = ["--api-key-file", &file, "--rooms", "a", "--event", "e"];
        send(&url, &said, "").await.unwrap();
        assert_eq!(came(&letters).as_array().unwrap().len(), 1);
    }

    /// What a shell makes of a line.
    fn words(line: &str) -> Vec<String> {
        let printed = format!("printf '%s\\n' {line}");
        let words = std::process::Command::new("sh").args(["-c", &printed]).output().unwrap();
        String::from_utf8(words.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn the_documented_line_sends_what_the_documented_request_does() {
        let (url, letters) = server().await;
        let page = include_str!("../../../docs/push-service.md");
        let line = page.lines().find_map(|line| line.strip_prefix("backwire send --")).unwrap();
        let words = words(&format!("--{line}"));
        let said = KEY.into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>();
        send(&url, &said, "").await.unwrap();
        let sent = json!([["user_1", "staff"], "update_store", ["user", { "id": 1, "name": "Ann" }], false, null]);
        assert_eq!(came(&letters), json!([sent]));
    }

    #[test]
    fn what_is_said_halfway_is_refused() {
        let place = ["backwire", "--site", "newsite", "--api-key", "k"];
        for said in [
            &["--rooms", "a"][..],
            &["--event", "e"],
            &["1"],
            &["--idempotency-key", "k"],
            &["--rooms", "a", "--event", "e", "user"],
        ] {
            assert!(Line::try_parse_from([&place, said].concat()).is_err(), "{said:?}");
        }
        assert!(Line::try_parse_from(["backwire", "--site", "newsite"]).is_err());
        assert!(Line::try_parse_from(["backwire", "--site", "/", "--api-key", "k"]).is_err());
    }
}
