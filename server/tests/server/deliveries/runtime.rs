//! Our runtime, which has one connection for everything.

use backwire::access::Access;
use backwire::model::Model;
use serde_json::{Value, json};

use super::house::House;
use crate::client::Socket;

/// Somebody at the shop.
pub(super) async fn runtime(house: &House, said: &str) -> Result<Socket, String> {
    runtime_at(house, "shop", said).await
}

pub(super) async fn runtime_at(house: &House, site: &str, said: &str) -> Result<Socket, String> {
    let mut auth = json!({ "backwire": 1, "site": site });
    for (name, value) in url::form_urlencoded::parse(said.as_bytes()) {
        auth[&*name] = value.into();
    }
    let mut socket = Socket::open(&house.server, &[]).await.unwrap();
    socket.send(format!("40{auth}")).await;
    let answer = socket.next_frame().await;
    if answer.starts_with("40{") { Ok(socket) } else { Err(answer) }
}

/// The ids and what is said of the next push to a person.
async fn told(socket: &mut Socket) -> Vec<(Option<u64>, Value)> {
    let push = socket.event().await;
    assert_eq!((&push[0], &push[1]), (&json!("push"), &json!("")));
    let changes = push[4].as_array().unwrap().iter();
    let id = |change: &Value| change[2].as_str().map(|id| id.parse().unwrap());
    changes.map(|change| (id(change), change[3].clone())).collect()
}

#[tokio::test]
async fn our_runtime_is_told_on_its_one_connection_and_says_up_to_where_it_is_done() {
    let house = House::open().await;
    for number in 1..=2 {
        house.send(json!(["user_1"]), "news", number).await;
    }
    let said = "token=user_1%2Bstaff&deviceId=tab";
    let mut ann = runtime(&house, said).await.unwrap();
    let waited = told(&mut ann).await;
    let said_of = |told: &[(Option<u64>, Value)]| -> Vec<_> {
        told.iter().map(|(_, said)| said.clone()).collect()
    };
    assert_eq!(said_of(&waited), [json!(["news", 1]), json!(["news", 2])]);
    ann.send(format!(r#"42["delivered","{}"]"#, waited[1].0.unwrap())).await;
    house.send(json!(["user_1"]), "news", 3).await;
    let one = told(&mut ann).await;
    assert_eq!(said_of(&one), [json!(["news", 3])]);
    assert!(one[0].0 > waited[1].0);
    house.send(json!(["staff"]), "lunch", 4).await;
    assert_eq!(told(&mut ann).await, [(None, json!(["lunch", 4]))]);
    ann.send("1").await;
    ann.is_ended().await;
    let mut again = runtime(&house, said).await.unwrap();
    assert_eq!(said_of(&told(&mut again).await), [json!(["news", 3])]);
    assert_eq!(again.get("/todo").await["statusCode"], 200);
    house.server.shutdown().await;
}

#[tokio::test]
async fn our_runtime_is_refused_with_a_code_and_a_reason() {
    let house = House::open().await;
    let long = format!("token=user_1&deviceId={}", "x".repeat(257));
    let shown = format!("E_SITE: this server has no site {:?}: ", "x".repeat(64));
    for (site, said, start) in [
        ("shop", "token=stranger", "E_TOKEN: the authUrl of site \"shop\" refused the token"),
        ("shop", "", "E_TOKEN: site \"shop\" needs a token"),
        ("nowhere", "token=user_1", "E_SITE: this server has no site \"nowhere\""),
        ("", "token=user_1", "E_SITE: this server has no site \"\""),
        (&"x".repeat(300), "", &shown),
        ("shop", &long, "E_DEVICE: "),
    ] {
        let refusal = runtime_at(&house, site, said).await.err().unwrap();
        let refusal: Value = serde_json::from_str(refusal.strip_prefix("44").unwrap()).unwrap();
        let message = refusal["message"].as_str().unwrap();
        assert!(message.starts_with(start), "{message}");
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn auth_in_the_url_of_our_runtime_is_ignored() {
    let house = House::open().await;
    house.send(json!(["user_1"]), "news", 1).await;
    let mut socket = Socket::unjoined(&house.server, "&site=shop&token=user_1").await;
    socket.send(r#"40{"backwire":1}"#).await;
    assert!(socket.next_frame().await.starts_with("40{"));
    assert_eq!(socket.heard().await, [""; 0]);
    let mut socket = Socket::unjoined(&house.server, "&token=user_1").await;
    socket.send(r#"40{"backwire":1,"site":"shop"}"#).await;
    assert!(socket.next_frame().await.starts_with(r#"44{"message":"E_TOKEN: "#));
    house.server.shutdown().await;
}

#[tokio::test]
async fn who_a_site_knows_is_known_to_the_rules_of_its_resources_and_people_of_others_are_nobody() {
    let access: Access =
        serde_json::from_value(json!({ "owner": "by", "read": ["owner", { "role": "staff" }] }))
            .unwrap();
    let house = House::with_resource("note", Model { access, ..Model::default() }).await;
    let mut ann = runtime(&house, "token=user_7").await.unwrap();
    let created = ann.post("/note", json!({ "text": "Milk" })).await;
    assert_eq!((&created["statusCode"], &created["body"]["by"]), (&json!(201), &json!(7)));
    let mut bob = runtime(&house, "token=user_8").await.unwrap();
    assert_eq!(bob.get("/note").await["body"], json!([]));
    let mut boss = runtime(&house, "token=user_9%2Bstaff").await.unwrap();
    assert_eq!(boss.get("/note").await["body"][0]["text"], "Milk");
    let nobody = Socket::runtime(&house.server).await;
    // The blog calls a person of its own the same, and one of its rooms.
    let namesake = runtime_at(&house, "blog", "token=user_7%2Bstaff").await.unwrap();
    for mut stranger in [nobody, namesake] {
        assert_eq!(stranger.get("/note").await["statusCode"], 401);
        assert_eq!(stranger.post("/note", json!({})).await["statusCode"], 401);
        let ask = json!(["resume", [["note", 1, 0]]]);
        assert_eq!(stranger.ask(ask).await, json!([["note", null]]));
    }
    house.server.shutdown().await;
}
