//! The sites of a push service, and the authentication of their clients.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use backwire::sites::{Authenticator, HttpClient, Site};
use futures_util::{FutureExt, stream};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

/// The response of a back end.
enum Answer {
    Rooms(Value),
    Text(u16, &'static str),
    /// Closes the connection in the middle of the answer.
    Cut,
    Never,
    /// Waits for a permit.
    Later(Arc<Semaphore>, Value),
    Redirect(String),
}

/// A site's back end, which authenticates tokens.
struct BackEnd {
    url: String,
    /// The path and `Authorization` header of each request.
    asked: mpsc::UnboundedReceiver<(String, String)>,
}

type Script = (mpsc::UnboundedSender<(String, String)>, Mutex<VecDeque<Answer>>);

impl BackEnd {
    /// Starts a back end that gives these answers and expects no more requests.
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let script = Arc::new((sender, Mutex::new(answers.into_iter().collect())));
        let app = Router::new().fallback(answer).with_state(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, asked }
    }

    fn authenticator(&self, change: impl FnOnce(&mut Site)) -> Authenticator {
        authenticator(&format!("{}/rooms", self.url), change)
    }

    fn times_asked(&mut self) -> usize {
        std::iter::from_fn(|| self.asked.try_recv().ok()).count()
    }
}

async fn answer(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap) -> Response {
    let shown = headers["authorization"].to_str().unwrap().to_owned();
    script.0.send((uri.path().to_owned(), shown)).unwrap();
    let next = script.1.lock().unwrap().pop_front();
    match next.expect("it is not asked more often") {
        Answer::Rooms(rooms) => axum::Json(rooms).into_response(),
        Answer::Text(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Answer::Cut => {
            let parts = [Ok("[\"user_"), Err(std::io::Error::other("cut"))];
            Body::from_stream(stream::iter(parts)).into_response()
        }
        Answer::Never => std::future::pending().await,
        Answer::Later(gate, rooms) => {
            gate.acquire().await.unwrap().forget();
            axum::Json(rooms).into_response()
        }
        Answer::Redirect(url) => Redirect::temporary(&url).into_response(),
    }
}

fn site(auth_url: &str) -> Site {
    Site::new(auth_url.parse().unwrap(), "54321".parse().unwrap())
}

fn authenticator(auth_url: &str, change: impl FnOnce(&mut Site)) -> Authenticator {
    let mut site = site(auth_url);
    change(&mut site);
    Authenticator::new("newsite".parse().unwrap(), Arc::new(site), HttpClient::default())
}

async fn refusal(authenticator: &Authenticator) -> String {
    authenticator.rooms(Some("secret"), None).await.unwrap_err().to_string()
}

#[tokio::test]
async fn two_sites_authenticate_each_against_its_own_url_with_its_own_scheme() {
    let mut one = BackEnd::start([Answer::Rooms(json!(["user_1", "staff"]))]).await;
    let mut other = BackEnd::start([Answer::Rooms(json!(["person_1"]))]).await;
    let first = one.authenticator(|site| site.user_room_prefix = Some("user_".to_owned()));
    let second = authenticator(&format!("{}/other?a=b", other.url), |site| {
        site.auth_scheme = "Token".parse().unwrap();
        site.user_room_prefix = Some("person_".to_owned());
    });
    let (a, b) = tokio::join!(first.rooms(Some("T"), None), second.rooms(Some("T"), None));
    assert_eq!(&*a.unwrap(), ["user_1", "staff"]);
    assert_eq!(&*b.unwrap(), ["person_1"]);
    assert_eq!(one.asked.recv().await.unwrap(), ("/rooms".to_owned(), "Bearer T".to_owned()));
    assert_eq!(other.asked.recv().await.unwrap(), ("/other".to_owned(), "Token T".to_owned()));
    assert_eq!((one.times_asked(), other.times_asked()), (0, 0));
}

#[tokio::test]
async fn concurrent_connects_with_one_token_share_one_auth_request() {
    let gate = Arc::new(Semaphore::new(0));
    let rooms = |room| Answer::Later(Arc::clone(&gate), json!([room]));
    let mut back_end = BackEnd::start([rooms("a"), rooms("b")]).await;
    let authenticator = back_end.authenticator(|_| {});
    let mut first = pin!(authenticator.rooms(Some("T"), None));
    let mut second = pin!(authenticator.rooms(Some("T"), None));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    gate.add_permits(1);
    let (first, second) = tokio::join!(first, second);
    assert_eq!(
        (&*first.unwrap(), &*second.unwrap()),
        (&["a".to_owned()][..], &["a".to_owned()][..])
    );
    assert_eq!(back_end.times_asked(), 1);
    gate.add_permits(1);
    assert_eq!(&*authenticator.rooms(Some("T"), None).await.unwrap(), ["b"]);
    assert_eq!(back_end.times_asked(), 1);
}

#[tokio::test]
async fn cancelled_connect_does_not_cancel_the_shared_auth_request() {
    let gate = Arc::new(Semaphore::new(0));
    let mut back_end = BackEnd::start([Answer::Later(Arc::clone(&gate), json!(["a"]))]).await;
    let authenticator = back_end.authenticator(|_| {});
    let mut stays = pin!(authenticator.rooms(Some("T"), None));
    {
        let mut leaves = pin!(authenticator.rooms(Some("T"), None));
        assert!(
            leaves.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none()
        );
    }
    gate.add_permits(1);
    assert_eq!(&*stays.await.unwrap(), ["a"]);
    assert_eq!(back_end.times_asked(), 1);
}

#[tokio::test]
async fn concurrent_auth_requests_of_a_site_are_limited() {
    let gate = Arc::new(Semaphore::new(0));
    let rooms = || Answer::Later(Arc::clone(&gate), json!(["a"]));
    let mut back_end = BackEnd::start([Answer::Never, rooms(), rooms()]).await;
    let authenticator = back_end.authenticator(|site| site.auth_at_once = 1);
    let mut waits = Box::pin(authenticator.rooms(Some("1"), None));
    {
        let mut leaves = pin!(authenticator.rooms(Some("0"), None));
        assert!(
            leaves.as_mut().now_or_never().is_none() && waits.as_mut().now_or_never().is_none()
        );
        tokio::select! {
            asked = back_end.asked.recv() => assert_eq!(asked.unwrap().1, "Bearer 0"),
            _ = &mut leaves => panic!("it is never answered"),
        }
        assert!(waits.as_mut().now_or_never().is_none());
    }
    let (waits, asked) = tokio::join!(waits, async {
        let asked = back_end.asked.recv().await.unwrap().1;
        gate.add_permits(1);
        asked
    });
    assert_eq!((&*waits.unwrap(), &*asked), (&["a".to_owned()][..], "Bearer 1"));
    assert_eq!(back_end.times_asked(), 0);
}

#[tokio::test]
async fn temporary_failure_is_retried_once_and_other_answers_are_not() {
    let good = || Answer::Rooms(json!(["a"]));
    for passing in [Answer::Text(503, "no"), Answer::Cut, Answer::Never] {
        let mut back_end = BackEnd::start([passing, good()]).await;
        let authenticator =
            back_end.authenticator(|site| site.auth_timeout = Duration::from_secs(1));
        assert_eq!(&*authenticator.rooms(Some("T"), None).await.unwrap(), ["a"]);
        assert_eq!(back_end.times_asked(), 2);
    }
    for (first, second, message) in [
        (Answer::Text(500, ""), Answer::Text(500, ""), "Auth 500 error"),
        (Answer::Cut, Answer::Cut, "Auth error: the authUrl cannot be reached"),
        (Answer::Cut, Answer::Text(401, ""), "Authentication error"),
    ] {
        let mut back_end = BackEnd::start([first, second]).await;
        assert_eq!(refusal(&back_end.authenticator(|_| {})).await, message);
        assert_eq!(back_end.times_asked(), 2);
    }
    let large = Answer::Rooms(json!("x".repeat(2 << 20)));
    for (answer, message) in [
        (Answer::Text(401, "[]"), "Authentication error"),
        (Answer::Text(403, "[]"), "Auth 403 error"),
        (Answer::Text(204, ""), "Auth 204 error"),
        (Answer::Text(200, "hello"), "Auth error: the answer is no JSON array of strings"),
        (Answer::Rooms(json!([1])), "Auth error: the answer is no JSON array of strings"),
        (Answer::Rooms(json!({})), "Auth error: the answer is no JSON array of strings"),
        (Answer::Rooms(json!([""])), "Auth error: the name of a room has 1 to 256 bytes"),
        (Answer::Rooms(json!(["staff"])), "User is missing a private room"),
        (Answer::Rooms(json!([])), "User is missing a private room"),
        (
            Answer::Rooms((0..1001).map(|room| format!("user_{room}")).collect()),
            "Auth error: the answer has more than 1000 rooms",
        ),
        (large, "Auth error: the answer is too large"),
    ] {
        let mut back_end = BackEnd::start([answer]).await;
        let authenticator =
            back_end.authenticator(|site| site.user_room_prefix = Some("user_".to_owned()));
        assert_eq!(refusal(&authenticator).await, message);
        assert_eq!(back_end.times_asked(), 1, "{message}");
    }
}

#[tokio::test]
async fn duplicate_room_of_an_auth_response_is_joined_once() {
    let back_end = BackEnd::start([Answer::Rooms(json!(["b", "a", "b"]))]).await;
    assert_eq!(&*back_end.authenticator(|_| {}).rooms(Some("T"), None).await.unwrap(), ["b", "a"]);
}

#[tokio::test]
async fn unreachable_back_end_and_bad_token_are_different_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let message = "Auth error: the authUrl cannot be reached";
    assert_eq!(refusal(&authenticator(&format!("http://{addr}/"), |_| {})).await, message);
    let plain = BackEnd::start([]).await.url.replace("http:", "https:");
    assert_eq!(refusal(&authenticator(&plain, |_| {})).await, message);
}

#[tokio::test]
async fn auth_request_ends_at_its_timeout() {
    let mut back_end = BackEnd::start([Answer::Never, Answer::Never]).await;
    let authenticator =
        back_end.authenticator(|site| site.auth_timeout = Duration::from_millis(50));
    assert_eq!(
        refusal(&authenticator).await,
        "Auth error: the authUrl did not answer within authTimeout"
    );
    assert!(back_end.times_asked() <= 2);
}

#[tokio::test]
async fn back_end_that_does_not_answer_is_a_temporary_refusal_and_another_answer_is_not() {
    for (answers, is_temporary) in [
        ([Answer::Cut, Answer::Cut], true),
        ([Answer::Never, Answer::Never], true),
        ([Answer::Text(502, ""), Answer::Text(502, "")], true),
        ([Answer::Text(500, ""), Answer::Text(503, "")], true),
        ([Answer::Text(504, ""), Answer::Text(504, "")], true),
        // The server does not repeat the request at once.
        ([Answer::Text(429, ""), Answer::Text(401, "")], true),
        ([Answer::Text(503, ""), Answer::Text(500, "")], false),
        ([Answer::Text(503, ""), Answer::Text(401, "")], false),
        ([Answer::Text(503, ""), Answer::Text(200, "hello")], false),
    ] {
        let back_end = BackEnd::start(answers).await;
        let authenticator =
            back_end.authenticator(|site| site.auth_timeout = Duration::from_millis(100));
        let refused = authenticator.rooms(Some("T"), None).await.unwrap_err();
        assert_eq!(refused.is_temporary(), is_temporary, "{refused}");
    }
}

#[tokio::test]
async fn refused_token_is_refused_again_without_a_request_and_others_are_not() {
    let answers = [Answer::Text(401, ""), Answer::Rooms(json!(["a"])), Answer::Text(500, "")];
    let answers = answers.into_iter().chain([Answer::Text(500, ""), Answer::Rooms(json!(["b"]))]);
    let mut back_end = BackEnd::start(answers).await;
    let authenticator = back_end.authenticator(|_| {});
    for _ in 0..100 {
        let refused = authenticator.rooms(Some("bad"), None).await.unwrap_err();
        assert_eq!(refused.to_string(), "Authentication error");
    }
    assert_eq!(back_end.times_asked(), 1);
    assert_eq!(&*authenticator.rooms(Some("good"), None).await.unwrap(), ["a"]);
    // An answer that does not decide about the token is not cached.
    assert!(authenticator.rooms(Some("other"), None).await.is_err());
    assert_eq!(&*authenticator.rooms(Some("other"), None).await.unwrap(), ["b"]);
    assert_eq!(back_end.times_asked(), 4);
}

#[tokio::test]
async fn token_is_not_sent_to_a_redirect_target() {
    let mut elsewhere = BackEnd::start([]).await;
    let mut back_end = BackEnd::start([Answer::Redirect(elsewhere.url.clone())]).await;
    assert_eq!(refusal(&back_end.authenticator(|_| {})).await, "Auth 307 error");
    assert_eq!((back_end.times_asked(), elsewhere.times_asked()), (1, 0));
}

#[tokio::test]
async fn missing_or_invalid_token_is_refused_without_an_auth_request() {
    let mut back_end = BackEnd::start([]).await;
    let authenticator = back_end.authenticator(|_| {});
    let long = "t".repeat(8193);
    for token in [None, Some(""), Some("a\r\nHost: b"), Some(long.as_str())] {
        let refused = authenticator.rooms(token, None).await.unwrap_err();
        assert_eq!(refused.to_string(), "Authentication error");
    }
    assert_eq!(back_end.times_asked(), 0);
    assert!(!format!("{authenticator:?}").contains("54321"));
}
