//! Sites side by side, and who is let in.

use backwire::settings::{Settings, Store};
use backwire::sites::{EventNames, Site, Sites};
use reqwest::Client;
use serde_json::json;

use super::house::{House, site};
use super::runtime::{runtime, runtime_at};
use crate::client::{Socket, builder, start};

/// With so many sites that to open them takes longer than to connect.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_as_soon_as_the_server_listens_finds_their_site() {
    let (sites, shop) = (Sites::default(), site(|_| {}).await);
    let others = (0..20_000).map(|number| format!("other-{number}"));
    let names = others.chain(["shop".to_owned()]).map(|name| name.parse().unwrap());
    sites.replace(names.map(|name| (name, shop.clone())));
    let settings =
        Settings { port: 0, store: Store::Memory, sites: sites.clone(), ..Settings::default() };
    let house = House { server: start(builder().settings(settings)).await, sites };
    house.phone("user_1").await;
}

#[tokio::test]
async fn sites_are_apart() {
    let house = House::open().await;
    let mut shop = house.phone("user_1+staff").await;
    let mut blog = house.phone_at("blog", "token=user_1%2Bstaff").await.unwrap();
    house.send(json!(["user_1", "staff"]), "news", 1).await;
    let message = json!({ "rooms": ["user_1"], "event": "post", "args": [2] });
    assert_eq!(house.post("blog", None, message).await.0, 200);
    assert_eq!(shop.take().await, json!(["news", 1]));
    assert_eq!(blog.take().await, json!(["post", 2]));
    let url = format!("http://{}/send?apiKey=other&site=blog", house.server.addr());
    let refused = Client::new().post(url).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    house.server.shutdown().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_in_the_words_of_the_original() {
    let house = House::open().await;
    for (said, told) in [
        ("x=y", "Authentication error"),
        ("token=stranger", "Authentication error"),
        ("token=broken", "Auth 500 error"),
        ("token=staff", "User is missing a private room"),
        (
            &format!("token=user_1&deviceId={}", "d".repeat(257)),
            "deviceId: it has at most 256 bytes",
        ),
    ] {
        let refused = house.phone_at("shop", said).await.err().unwrap();
        assert_eq!(refused, json!({ "message": told }), "{said}");
    }
    assert!(house.phone_at("nowhere", "token=user_1").await.is_err());
    house.server.shutdown().await;
}

#[tokio::test]
async fn sites_come_and_go_without_a_restart() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    let mut bob = house.phone_at("blog", "token=user_2").await.unwrap();
    let mut bobs_page = runtime_at(&house, "blog", "token=user_2").await.unwrap();
    let mut anns_page = runtime(&house, "token=user_1").await.unwrap();
    let kept = house.sites.get("shop").unwrap();
    let shop = ("shop".parse().unwrap(), Site::clone(&kept));
    house.sites.replace([shop, ("news".parse().unwrap(), site(|_| {}).await)]);
    assert_eq!(bob.socket.frame().await, None);
    bobs_page.is_ended().await;
    assert_eq!(anns_page.get("/todo").await["statusCode"], 200);
    let mut cyd = loop {
        if let Ok(phone) = house.phone_at("news", "token=user_3").await {
            break phone;
        }
    };
    let message = json!({ "rooms": "user_3", "event": "hi" });
    assert_eq!(house.post("news", None, message).await.0, 200);
    assert_eq!(cyd.take().await, json!(["hi", null]));
    house.send(json!("user_1"), "still", 1).await;
    assert_eq!(ann.take().await, json!(["still", 1]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn clients_of_a_removed_site_connect_when_it_is_added_again() {
    let house = House::open().await;
    let (bob, blog) = (house.phone_at("blog", "token=user_2").await, house.sites.get("blog"));
    let mut bob = bob.unwrap();
    let mut page = runtime_at(&house, "blog", "token=user_2").await.unwrap();
    let shop = ("shop".parse().unwrap(), Site::clone(&house.sites.get("shop").unwrap()));
    house.sites.replace([shop.clone()]);
    assert_eq!(bob.socket.frame().await, None);
    assert_eq!(page.frame().await, None);
    let message = json!({ "rooms": "user_2", "event": "hi" });
    assert_eq!(house.post("blog", None, message.clone()).await.0, 401);
    // They come back before the site does, and wait for it.
    let waits = async |connect: String| {
        let mut socket = Socket::open(&house.server, &[]).await.unwrap();
        socket.send(connect).await;
        socket
    };
    let mut bob = waits(r#"40/blog,{"token":"user_2"}"#.to_owned()).await;
    let mut page = waits(r#"40{"backwire":1,"site":"blog","token":"user_2"}"#.to_owned()).await;
    house.phone("user_1").await;
    let blog = ("blog".parse().unwrap(), Site::clone(&blog.unwrap()));
    house.sites.replace([shop, blog]);
    assert!(bob.next_frame().await.starts_with("40/blog,"));
    assert!(page.next_frame().await.starts_with("40{"));
    assert_eq!(house.post("blog", None, message).await.0, 200);
    assert!(bob.next_frame().await.ends_with(r#"["hi",null]"#));
    assert_eq!(page.event().await[0], "push");
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_site_may_have_the_names_of_the_later_service() {
    let house = House::with(|site| site.event_names = EventNames::Underscored, Store::Memory).await;
    house.send(json!(["user_1"]), "news", 1).await;
    let mut ann = house.phone("user_1").await;
    assert_eq!(ann.next().await, (None, json!(["_settings", { "device_ttl": 3600 }])));
    assert_eq!(ann.take().await, json!(["_batch", [["news", 1]]]));
    house.server.shutdown().await;
}
