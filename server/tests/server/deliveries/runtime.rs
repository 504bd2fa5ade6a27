//! The runtime, which has one connection for everything.

use backwire::access::Access;
use backwire::model::Model;
use serde_json::{Value, json};

use super::push_service::PushService;
use crate::client::Socket;

/// Connects a runtime to the site `shop`.
pub(super) async fn runtime(service: &PushService, query: &str) -> Result<Socket, String> {
    runtime_at(service, "shop", query).await
}

pub(super) async fn runtime_at(
    service: &PushService,
    site: &str,
    query: &str,
) -> Result<Socket, String> {
    let mut auth = json!({ "backwire": 1, "site": site });
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        auth[&*name] = value.into();
    }
    let mut socket = Socket::open(&service.server, &[]).await.unwrap();
    socket.send(format!("40{auth}")).await;
    let answer = socket.next_frame().await;
    if answer.starts_with("40{") { Ok(socket) } else { Err(answer) }
}

/// Receives the next push to a person: the id and content of each message.
async fn receive_messages(socket: &mut Socket) -> Vec<(Option<u64>, Value)> {
    let push = socket.event().await;
    assert_eq!((&push[0], &push[1]), (&json!("push"), &json!("")));
    let changes = push[4].as_array().unwrap().iter();
    let id = |change: &Value| change[2].as_str().map(|id| id.parse().unwrap());
    changes.map(|change| (id(change), change[3].clone())).collect()
}

#[tokio::test]
async fn runtime_receives_messages_and_acks_up_to_an_id() {
    let service = PushService::open().await;
    for number in 1..=2 {
        service.send(json!(["user_1"]), "news", number).await;
    }
    let query = "token=user_1%2Bstaff&deviceId=tab";
    let mut ann = runtime(&service, query).await.unwrap();
    let waited = receive_messages(&mut ann).await;
    let contents = |messages: &[(Option<u64>, Value)]| -> Vec<_> {
        messages.iter().map(|(_, content)| content.clone()).collect()
    };
    assert_eq!(contents(&waited), [json!(["news", 1]), json!(["news", 2])]);
    ann.send(format!(r#"42["delivered","{}"]"#, waited[1].0.unwrap())).await;
    service.send(json!(["user_1"]), "news", 3).await;
    let one = receive_messages(&mut ann).await;
    assert_eq!(contents(&one), [json!(["news", 3])]);
    assert!(one[0].0 > waited[1].0);
    service.send(json!(["staff"]), "lunch", 4).await;
    assert_eq!(receive_messages(&mut ann).await, [(None, json!(["lunch", 4]))]);
    ann.send("1").await;
    ann.wait_for_close().await;
    let mut again = runtime(&service, query).await.unwrap();
    assert_eq!(contents(&receive_messages(&mut again).await), [json!(["news", 3])]);
    assert_eq!(again.get("/todo").await["statusCode"], 200);
    service.server.shutdown().await;
}

#[tokio::test]
async fn runtime_is_refused_with_a_code_and_a_reason() {
    let service = PushService::open().await;
    let long = format!("token=user_1&deviceId={}", "x".repeat(257));
    let shown = format!("E_SITE: this server has no site {:?}: ", "x".repeat(64));
    for (site, query, start) in [
        ("shop", "token=stranger", "E_TOKEN: the authUrl of site \"shop\" refused the token"),
        ("shop", "", "E_TOKEN: site \"shop\" needs a token"),
        ("nowhere", "token=user_1", "E_SITE: this server has no site \"nowhere\""),
        ("", "token=user_1", "E_SITE: this server has no site \"\""),
        (&"x".repeat(300), "", &shown),
        ("shop", &long, "E_DEVICE: "),
    ] {
        let refusal = runtime_at(&service, site, query).await.err().unwrap();
        let refusal: Value = serde_json::from_str(refusal.strip_prefix("44").unwrap()).unwrap();
        let message = refusal["message"].as_str().unwrap();
        assert!(message.starts_with(start), "{message}");
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn auth_in_the_url_of_the_runtime_is_ignored() {
    let service = PushService::open().await;
    service.send(json!(["user_1"]), "news", 1).await;
    let mut socket = Socket::open_with_query(&service.server, "&site=shop&token=user_1").await;
    socket.send(r#"40{"backwire":1}"#).await;
    assert!(socket.next_frame().await.starts_with("40{"));
    assert_eq!(socket.pushes().await, [""; 0]);
    let mut socket = Socket::open_with_query(&service.server, "&token=user_1").await;
    socket.send(r#"40{"backwire":1,"site":"shop"}"#).await;
    assert!(socket.next_frame().await.starts_with(r#"44{"message":"E_TOKEN: "#));
    service.server.shutdown().await;
}

#[tokio::test]
async fn access_rules_know_the_persons_of_their_own_site_only() {
    let access: Access =
        serde_json::from_value(json!({ "owner": "by", "read": ["owner", { "role": "staff" }] }))
            .unwrap();
    let service = PushService::with_resource("note", Model { access, ..Model::default() }).await;
    let mut ann = runtime(&service, "token=user_7").await.unwrap();
    let created = ann.post("/note", json!({ "text": "Milk" })).await;
    assert_eq!((&created["statusCode"], &created["body"]["by"]), (&json!(201), &json!(7)));
    let mut bob = runtime(&service, "token=user_8").await.unwrap();
    assert_eq!(bob.get("/note").await["body"], json!([]));
    let mut boss = runtime(&service, "token=user_9%2Bstaff").await.unwrap();
    assert_eq!(boss.get("/note").await["body"][0]["text"], "Milk");
    let nobody = Socket::runtime(&service.server).await;
    // The site `blog` has a person and a room with the same names.
    let namesake = runtime_at(&service, "blog", "token=user_7%2Bstaff").await.unwrap();
    for mut stranger in [nobody, namesake] {
        assert_eq!(stranger.get("/note").await["statusCode"], 401);
        assert_eq!(stranger.post("/note", json!({})).await["statusCode"], 401);
        let ask = json!(["resume", [["note", 1, 0]]]);
        assert_eq!(stranger.ask(ask).await, json!([["note", null]]));
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn runtime_is_told_first_when_its_token_expires() {
    let service = PushService::open().await;
    service.send(json!(["user_1"]), "news", 1).await;
    let query = "token=user_1;300&deviceId=tab";
    let mut ann = runtime(&service, query).await.unwrap();
    let expires = (None, json!(["backwire:expires", 300]));
    assert_eq!(receive_messages(&mut ann).await, [expires]);
    assert_eq!(receive_messages(&mut ann).await[0].1, json!(["news", 1]));
    // A back end that does not say when a token expires, and a stock client.
    let mut bob = runtime(&service, "token=user_2").await.unwrap();
    let mut stock = service.connect("user_2;300").await;
    service.send(json!(["user_2"]), "news", 2).await;
    assert_eq!(receive_messages(&mut bob).await[0].1, json!(["news", 2]));
    assert_eq!(stock.next().await.1, json!(["news", 2]));
    service.server.shutdown().await;
}
