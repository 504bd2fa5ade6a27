//! Which pages may connect to which site.

use backwire::settings::{AllowedOrigin, Store};
use backwire::sites::Sites;
use reqwest::{Client, Response};
use serde_json::json;

use super::house::House;
use crate::client::{RUNTIME, Socket};

const SHOP: &str = "https://shop.example";
const BLOG: &str = "https://blog.example";

fn only(origin: &str) -> Option<Vec<AllowedOrigin>> {
    Some(vec![origin.parse().unwrap()])
}

fn allow(sites: &Sites, name: &str, origin: &str) {
    let all = sites.all();
    let changed = all.iter().map(|(it, site)| {
        let mut site = (**site).clone();
        if it.as_str() == name {
            site.origins = only(origin);
        }
        (it.clone(), site)
    });
    sites.replace(changed.collect::<Vec<_>>());
}

/// A shop for pages of its own origin, and a blog for pages of another.
async fn house() -> House {
    let house = House::with(|site| site.origins = only(SHOP), Store::Memory).await;
    allow(&house.sites, "blog", BLOG);
    house
}

/// The answer to a CONNECT of a page with a token, or `None` if the handshake is refused.
async fn connect(house: &House, origin: &str, packet: &str) -> Option<String> {
    let mut socket = Socket::open(&house.server, &[("origin", origin)]).await.ok()?;
    socket.send(packet).await;
    socket.frame().await
}

async fn is_let_in(house: &House, origin: &str, site: &str) -> bool {
    let packet = format!(r#"40/{site},{{"token":"user_1"}}"#);
    let answer = connect(house, origin, &packet).await;
    answer.is_some_and(|answer| answer.starts_with(&format!("40/{site},")))
}

#[tokio::test]
async fn pages_may_connect_to_the_sites_that_allow_their_origin_and_to_no_other() {
    let house = house().await;
    assert!(is_let_in(&house, SHOP, "shop").await);
    assert!(is_let_in(&house, BLOG, "blog").await);
    let refused = connect(&house, SHOP, r#"40/blog,{"token":"user_1"}"#).await.unwrap();
    assert_eq!(
        refused,
        r#"44/blog,{"message":"E_ORIGIN: pages of https://shop.example may not connect to site \"blog\": add the origin to the site's origins in the server's sites file"}"#
    );
    assert!(!is_let_in(&house, "https://evil.example", "shop").await);
    for own in ["http://localhost:8000", &format!("http://{}", house.server.addr())] {
        assert!(is_let_in(&house, own, "shop").await && is_let_in(&house, own, "blog").await);
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn origins_that_are_replaced_while_the_server_runs_count_from_then_on() {
    let house = house().await;
    let new = "https://new.example";
    assert!(!is_let_in(&house, new, "shop").await);
    allow(&house.sites, "shop", new);
    assert!(is_let_in(&house, new, "shop").await);
    assert!(!is_let_in(&house, SHOP, "shop").await);
    allow(&house.sites, "shop", "*");
    for origin in [SHOP, "https://evil.example", "null"] {
        assert!(is_let_in(&house, origin, "shop").await, "{origin}");
        assert!(!is_let_in(&house, origin, "blog").await, "{origin}");
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn page_of_a_removed_site_waits_for_it_and_is_let_in_when_it_is_added_again() {
    let house = house().await;
    let all = house.sites.all();
    let without = all.iter().filter(|(name, _)| name.as_str() != "shop");
    house.sites.replace(without.map(|(name, site)| (name.clone(), (**site).clone())));
    let mut socket = Socket::open(&house.server, &[("origin", SHOP)]).await.unwrap();
    socket.send(r#"40/shop,{"token":"user_1"}"#).await;
    house.sites.replace(all.iter().map(|(name, site)| (name.clone(), (**site).clone())));
    assert!(socket.next_frame().await.starts_with("40/shop,"));
    house.server.shutdown().await;
}

#[tokio::test]
async fn origin_of_the_auth_url_is_allowed_if_a_site_names_none() {
    let house =
        House::with(|site| site.auth_url = "https://newsite.com/x".parse().unwrap(), Store::Memory)
            .await;
    // The authUrl of the shop does not answer, so nobody is let in. A refusal because of the
    // origin comes before that.
    let packet = r#"40/shop,{}"#;
    let answer = connect(&house, "https://newsite.com", packet).await.unwrap();
    assert_eq!(answer, r#"44/shop,{"message":"Authentication error"}"#);
    for other in ["http://newsite.com", "https://newsite.com:8443", "https://evil.example"] {
        assert_eq!(connect(&house, other, packet).await, None, "{other}");
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn pages_of_a_site_cannot_use_resources_over_sockets_or_http() {
    let house = house().await;
    let refused = connect(&house, SHOP, "40").await.unwrap();
    assert!(
        refused.starts_with(r#"44{"message":"E_ORIGIN: pages of https://shop.example"#),
        "{refused}"
    );
    let refused = connect(&house, SHOP, &format!("40{RUNTIME}")).await.unwrap();
    assert!(refused.starts_with(r#"44{"message":"E_ORIGIN: "#), "{refused}");

    let mut runtime = Socket::open(&house.server, &[("origin", SHOP)]).await.unwrap();
    runtime.send(r#"40{"backwire":1,"site":"shop","token":"user_1"}"#).await;
    assert!(runtime.next_frame().await.starts_with("40{"));
    let refused = runtime.get("/todo").await;
    assert_eq!(
        (&refused["statusCode"], &refused["body"]["code"]),
        (&json!(403), &json!("E_ORIGIN"))
    );

    let url = format!("http://{}/todo", house.server.addr());
    let refused = Client::new().post(url).header("origin", SHOP).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    house.server.shutdown().await;
}

#[tokio::test]
async fn page_of_the_site_that_has_the_resources_uses_them_over_its_connection() {
    let change = |site: &mut backwire::sites::Site| {
        site.origins = only(SHOP);
        site.resources = true;
    };
    let house = House::with(change, Store::Memory).await;
    let mut runtime = Socket::open(&house.server, &[("origin", SHOP)]).await.unwrap();
    runtime.send(r#"40{"backwire":1,"site":"shop","token":"user_1"}"#).await;
    assert!(runtime.next_frame().await.starts_with("40{"));
    assert_eq!(runtime.get("/todo").await["statusCode"], 200);
    house.server.shutdown().await;
}

/// Such a client is connected to the namespace of resources first, and would take its refusal for
/// one of its site.
#[tokio::test]
async fn page_with_a_client_of_socketio_2_connects_to_its_site_and_has_no_resources() {
    let house = house().await;
    let mut socket = Socket::old_of_page(&house.server, SHOP).await;
    socket.send("40/shop?token=user_1,").await;
    assert_eq!(socket.next_frame().await, "40/shop,");
    socket.send(r#"420["get","{\"url\":\"/todo\"}"]"#).await;
    let answer = socket.next_frame().await;
    assert!(answer.starts_with("430[") && answer.contains("403"), "{answer}");
    house.server.shutdown().await;
}

async fn poll(house: &House, origin: &str, protocol: u8) -> Response {
    let addr = house.server.addr();
    let url = format!("http://{addr}/socket.io/?EIO={protocol}&transport=polling");
    let request = Client::new().get(url).header("origin", origin).header("cookie", "a=b");
    request.send().await.unwrap()
}

#[tokio::test]
async fn pages_of_any_origin_poll_without_credentials_but_for_old_clients() {
    let house = house().await;
    allow(&house.sites, "shop", "*");
    for (origin, protocol, has_credentials) in [
        (BLOG, 4, true),
        (BLOG, 3, true),
        ("https://evil.example", 4, false),
        ("https://evil.example", 3, true),
    ] {
        let polled = poll(&house, origin, protocol).await;
        assert_eq!(polled.status(), 200);
        let headers = polled.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        let credentials = headers.get("access-control-allow-credentials");
        assert_eq!(credentials.is_some(), has_credentials, "{origin} {protocol}");
        assert!(!headers.contains_key("set-cookie"));
    }
    house.server.shutdown().await;
}
