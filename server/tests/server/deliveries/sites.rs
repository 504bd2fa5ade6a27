//! Several sites, and the clients that they accept.

use backwire::settings::{Settings, Store};
use backwire::sites::{EventNames, Site, Sites};
use reqwest::Client;
use serde_json::json;

use super::push_service::{PushService, site};
use super::runtime::{runtime, runtime_at};
use crate::client::{Socket, builder, start};

/// There are so many sites that opening them takes longer than connecting.
#[tokio::test(flavor = "multi_thread")]
async fn sites_are_available_as_soon_as_the_server_listens() {
    let (sites, shop) = (Sites::default(), site(|_| {}).await);
    let others = (0..20_000).map(|number| format!("other-{number}"));
    let names = others.chain(["shop".to_owned()]).map(|name| name.parse().unwrap());
    sites.replace(names.map(|name| (name, shop.clone())));
    let settings =
        Settings { port: 0, store: Store::Memory, sites: sites.clone(), ..Settings::default() };
    let service = PushService { server: start(builder().settings(settings)).await, sites };
    service.connect("user_1").await;
}

#[tokio::test]
async fn sites_are_isolated() {
    let service = PushService::open().await;
    let mut shop = service.connect("user_1+staff").await;
    let mut blog = service.connect_to("blog", "token=user_1%2Bstaff").await.unwrap();
    service.send(json!(["user_1", "staff"]), "news", 1).await;
    let message = json!({ "rooms": ["user_1"], "event": "post", "args": [2] });
    assert_eq!(service.post("blog", None, message).await.0, 200);
    assert_eq!(shop.take().await, json!(["news", 1]));
    assert_eq!(blog.take().await, json!(["post", 2]));
    let url = format!("http://{}/send?apiKey=other&site=blog", service.server.addr());
    let refused = Client::new().post(url).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    service.server.shutdown().await;
}

#[tokio::test]
async fn refusals_have_the_messages_of_the_original_service() {
    let service = PushService::open().await;
    for (auth, message) in [
        ("x=y", "Authentication error"),
        ("token=stranger", "Authentication error"),
        ("token=broken", "Auth 500 error"),
        ("token=staff", "User is missing a private room"),
        (
            &format!("token=user_1&deviceId={}", "d".repeat(257)),
            "deviceId: it has at most 256 bytes",
        ),
    ] {
        let refused = service.connect_to("shop", auth).await.err().unwrap();
        assert_eq!(refused, json!({ "message": message }), "{auth}");
    }
    assert!(service.connect_to("nowhere", "token=user_1").await.is_err());
    service.server.shutdown().await;
}

#[tokio::test]
async fn sites_are_added_and_removed_without_a_restart() {
    let service = PushService::open().await;
    let mut ann = service.connect("user_1").await;
    let mut bob = service.connect_to("blog", "token=user_2").await.unwrap();
    let mut bobs_page = runtime_at(&service, "blog", "token=user_2").await.unwrap();
    let mut anns_page = runtime(&service, "token=user_1").await.unwrap();
    let kept = service.sites.get("shop").unwrap();
    let shop = ("shop".parse().unwrap(), Site::clone(&kept));
    service.sites.replace([shop, ("news".parse().unwrap(), site(|_| {}).await)]);
    assert_eq!(bob.socket.frame().await, None);
    bobs_page.wait_for_close().await;
    assert_eq!(anns_page.get("/todo").await["statusCode"], 200);
    let mut cyd = loop {
        if let Ok(phone) = service.connect_to("news", "token=user_3").await {
            break phone;
        }
    };
    let message = json!({ "rooms": "user_3", "event": "hi" });
    assert_eq!(service.post("news", None, message).await.0, 200);
    assert_eq!(cyd.take().await, json!(["hi", null]));
    service.send(json!("user_1"), "still", 1).await;
    assert_eq!(ann.take().await, json!(["still", 1]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn clients_of_a_removed_site_connect_when_it_is_added_again() {
    let service = PushService::open().await;
    let (bob, blog) = (service.connect_to("blog", "token=user_2").await, service.sites.get("blog"));
    let mut bob = bob.unwrap();
    let mut page = runtime_at(&service, "blog", "token=user_2").await.unwrap();
    let shop = ("shop".parse().unwrap(), Site::clone(&service.sites.get("shop").unwrap()));
    service.sites.replace([shop.clone()]);
    assert_eq!(bob.socket.frame().await, None);
    assert_eq!(page.frame().await, None);
    let message = json!({ "rooms": "user_2", "event": "hi" });
    assert_eq!(service.post("blog", None, message.clone()).await.0, 401);
    // The clients reconnect before the site is added, and wait for it.
    let waits = async |connect: String| {
        let mut socket = Socket::open(&service.server, &[]).await.unwrap();
        socket.send(connect).await;
        socket
    };
    let mut bob = waits(r#"40/blog,{"token":"user_2"}"#.to_owned()).await;
    let mut page = waits(r#"40{"backwire":1,"site":"blog","token":"user_2"}"#.to_owned()).await;
    service.connect("user_1").await;
    let blog = ("blog".parse().unwrap(), Site::clone(&blog.unwrap()));
    service.sites.replace([shop, blog]);
    assert!(bob.next_frame().await.starts_with("40/blog,"));
    assert!(page.next_frame().await.starts_with("40{"));
    assert_eq!(service.post("blog", None, message).await.0, 200);
    assert!(bob.next_frame().await.ends_with(r#"["hi",null]"#));
    assert_eq!(page.event().await[0], "push");
    service.server.shutdown().await;
}

#[tokio::test]
async fn site_may_use_the_event_names_of_later_versions() {
    let service =
        PushService::with(|site| site.event_names = EventNames::Underscored, Store::Memory).await;
    service.send(json!(["user_1"]), "news", 1).await;
    let mut ann = service.connect("user_1").await;
    assert_eq!(ann.next().await, (None, json!(["_settings", { "device_ttl": 3600 }])));
    assert_eq!(ann.take().await, json!(["_batch", [["news", 1]]]));
    service.server.shutdown().await;
}
