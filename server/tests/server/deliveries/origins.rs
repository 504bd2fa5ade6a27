//! The origins of pages that may connect to a site.

use backwire::settings::{AllowedOrigin, Store};
use backwire::sites::Sites;
use reqwest::{Client, Response};
use serde_json::json;

use super::push_service::PushService;
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

/// Starts a site `shop` for pages of one origin, and a site `blog` for pages of another.
async fn service() -> PushService {
    let service = PushService::with(|site| site.origins = only(SHOP), Store::Memory).await;
    allow(&service.sites, "blog", BLOG);
    service
}

/// Connects as a page of this origin. Returns the answer, or `None` if the handshake is refused.
async fn connect(service: &PushService, origin: &str, packet: &str) -> Option<String> {
    let mut socket = Socket::open(&service.server, &[("origin", origin)]).await.ok()?;
    socket.send(packet).await;
    socket.frame().await
}

async fn is_let_in(service: &PushService, origin: &str, site: &str) -> bool {
    let packet = format!(r#"40/{site},{{"token":"user_1"}}"#);
    let answer = connect(service, origin, &packet).await;
    answer.is_some_and(|answer| answer.starts_with(&format!("40/{site},")))
}

#[tokio::test]
async fn pages_may_connect_to_the_sites_that_allow_their_origin_and_to_no_other() {
    let service = service().await;
    assert!(is_let_in(&service, SHOP, "shop").await);
    assert!(is_let_in(&service, BLOG, "blog").await);
    let refused = connect(&service, SHOP, r#"40/blog,{"token":"user_1"}"#).await.unwrap();
    assert_eq!(
        refused,
        r#"44/blog,{"message":"E_ORIGIN: pages of https://shop.example may not connect to site \"blog\": add the origin to the site's origins in the server's sites file"}"#
    );
    assert!(!is_let_in(&service, "https://evil.example", "shop").await);
    for own in ["http://localhost:8000", &format!("http://{}", service.server.addr())] {
        assert!(is_let_in(&service, own, "shop").await && is_let_in(&service, own, "blog").await);
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn replaced_origins_take_effect_while_the_server_runs() {
    let service = service().await;
    let new = "https://new.example";
    assert!(!is_let_in(&service, new, "shop").await);
    allow(&service.sites, "shop", new);
    assert!(is_let_in(&service, new, "shop").await);
    assert!(!is_let_in(&service, SHOP, "shop").await);
    allow(&service.sites, "shop", "*");
    for origin in [SHOP, "https://evil.example", "null"] {
        assert!(is_let_in(&service, origin, "shop").await, "{origin}");
        assert!(!is_let_in(&service, origin, "blog").await, "{origin}");
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn page_of_a_removed_site_is_accepted_when_the_site_is_added_again() {
    let service = service().await;
    let all = service.sites.all();
    let without = all.iter().filter(|(name, _)| name.as_str() != "shop");
    service.sites.replace(without.map(|(name, site)| (name.clone(), (**site).clone())));
    let mut socket = Socket::open(&service.server, &[("origin", SHOP)]).await.unwrap();
    socket.send(r#"40/shop,{"token":"user_1"}"#).await;
    service.sites.replace(all.iter().map(|(name, site)| (name.clone(), (**site).clone())));
    assert!(socket.next_frame().await.starts_with("40/shop,"));
    service.server.shutdown().await;
}

#[tokio::test]
async fn origin_of_the_auth_url_is_allowed_if_a_site_names_none() {
    let service = PushService::with(
        |site| site.auth_url = "https://newsite.com/x".parse().unwrap(),
        Store::Memory,
    )
    .await;
    // The authUrl of the shop does not answer, so every client is refused. A refusal because of the
    // origin would come before that.
    let packet = r#"40/shop,{}"#;
    let answer = connect(&service, "https://newsite.com", packet).await.unwrap();
    assert_eq!(answer, r#"44/shop,{"message":"Authentication error"}"#);
    for other in ["http://newsite.com", "https://newsite.com:8443", "https://evil.example"] {
        assert_eq!(connect(&service, other, packet).await, None, "{other}");
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn pages_of_a_site_cannot_use_resources_over_sockets_or_http() {
    let service = service().await;
    let refused = connect(&service, SHOP, "40").await.unwrap();
    assert!(
        refused.starts_with(r#"44{"message":"E_ORIGIN: pages of https://shop.example"#),
        "{refused}"
    );
    let refused = connect(&service, SHOP, &format!("40{RUNTIME}")).await.unwrap();
    assert!(refused.starts_with(r#"44{"message":"E_ORIGIN: "#), "{refused}");

    let mut runtime = Socket::open(&service.server, &[("origin", SHOP)]).await.unwrap();
    runtime.send(r#"40{"backwire":1,"site":"shop","token":"user_1"}"#).await;
    assert!(runtime.next_frame().await.starts_with("40{"));
    let refused = runtime.get("/todo").await;
    assert_eq!(
        (&refused["statusCode"], &refused["body"]["code"]),
        (&json!(403), &json!("E_ORIGIN"))
    );

    let url = format!("http://{}/todo", service.server.addr());
    let refused = Client::new().post(url).header("origin", SHOP).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    service.server.shutdown().await;
}

#[tokio::test]
async fn page_of_the_site_that_has_the_resources_uses_them_over_its_connection() {
    let change = |site: &mut backwire::sites::Site| {
        site.origins = only(SHOP);
        site.resources = true;
    };
    let service = PushService::with(change, Store::Memory).await;
    let mut runtime = Socket::open(&service.server, &[("origin", SHOP)]).await.unwrap();
    runtime.send(r#"40{"backwire":1,"site":"shop","token":"user_1"}"#).await;
    assert!(runtime.next_frame().await.starts_with("40{"));
    assert_eq!(runtime.get("/todo").await["statusCode"], 200);
    service.server.shutdown().await;
}

/// The server connects such a client to the namespace of resources first. The client would take a
/// refusal there for a refusal of its site.
#[tokio::test]
async fn page_with_a_client_of_socketio_2_connects_to_its_site_and_has_no_resources() {
    let service = service().await;
    let mut socket = Socket::socket_io_2_of_page(&service.server, SHOP).await;
    socket.send("40/shop?token=user_1,").await;
    assert_eq!(socket.next_frame().await, "40/shop,");
    socket.send(r#"420["get","{\"url\":\"/todo\"}"]"#).await;
    let answer = socket.next_frame().await;
    assert!(answer.starts_with("430[") && answer.contains("403"), "{answer}");
    service.server.shutdown().await;
}

async fn poll(service: &PushService, origin: &str, protocol: u8) -> Response {
    let addr = service.server.addr();
    let url = format!("http://{addr}/socket.io/?EIO={protocol}&transport=polling");
    let request = Client::new().get(url).header("origin", origin).header("cookie", "a=b");
    request.send().await.unwrap()
}

#[tokio::test]
async fn pages_of_any_origin_poll_without_credentials_except_old_clients() {
    let service = service().await;
    allow(&service.sites, "shop", "*");
    for (origin, protocol, has_credentials) in [
        (BLOG, 4, true),
        (BLOG, 3, true),
        ("https://evil.example", 4, false),
        ("https://evil.example", 3, true),
    ] {
        let polled = poll(&service, origin, protocol).await;
        assert_eq!(polled.status(), 200);
        let headers = polled.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        let credentials = headers.get("access-control-allow-credentials");
        assert_eq!(credentials.is_some(), has_credentials, "{origin} {protocol}");
        assert!(!headers.contains_key("set-cookie"));
    }
    service.server.shutdown().await;
}
