//! Limits of the number of connections.

use backwire::Server;
use backwire::settings::{Limit, Settings, Store};

use super::raw::{Answer, Raw};
use crate::client::{builder, start};
use crate::limits_reached::{CapturedLog, count};

async fn server(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = Settings { port: 0, store: Store::Memory, ..Settings::default() };
    change(&mut settings);
    start(builder().settings(settings)).await
}

async fn ask(client: &mut Raw, forwarded: &str) -> Answer {
    let headers = format!("host: localhost\r\nx-forwarded-for: {forwarded}");
    client.write(&format!("GET /health/live HTTP/1.1\r\n{headers}\r\n\r\n")).await.unwrap();
    client.answer().await.unwrap()
}

#[tokio::test]
async fn oldest_idle_connection_is_closed_for_a_new_one() {
    let log = CapturedLog::start();
    let server = server(|settings| settings.limits.connections = 3).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Raw::connect(server.addr()).await;
        assert_eq!(client.get("/health/live").await.unwrap().status, 200);
        clients.push(client);
    }
    // The first connection is no longer the oldest one.
    assert_eq!(clients[0].get("/health/live").await.unwrap().status, 200);
    let mut new = Raw::connect(server.addr()).await;
    assert_eq!(new.get("/health/live").await.unwrap().status, 200);
    assert_eq!(clients[1].is_closed().await, "");
    for kept in [0, 2] {
        assert_eq!(clients[kept].get("/health/live").await.unwrap().status, 200);
    }
    let lines = log.lines_of(Limit::Connections);
    assert!(lines.len() == 1 && lines[0].contains("client=127.0.0.1"), "{lines:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn flood_of_one_address_does_not_close_the_connection_of_another() {
    let server = server(|settings| settings.limits.connections = 8).await;
    // This connection is idle for longer than all others.
    let mut other = Raw::connect_from([127, 0, 0, 2].into(), server.addr()).await;
    assert_eq!(other.get("/health/live").await.unwrap().status, 200);
    let mut flood = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::connect(server.addr()).await;
        assert_eq!(client.get("/health/live").await.unwrap().status, 200);
        flood.push(client);
    }
    assert_eq!(other.get("/health/live").await.unwrap().status, 200);
    assert_eq!(flood[0].is_closed().await, "");
    server.shutdown().await;
}

#[tokio::test]
async fn connection_over_the_limit_is_503_if_all_others_are_busy() {
    let server = server(|settings| settings.limits.connections = 2).await;
    let handshake = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\n\
                     connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut sockets = [Raw::connect(server.addr()).await, Raw::connect(server.addr()).await];
    for socket in &mut sockets {
        socket.write(handshake).await.unwrap();
        assert_eq!(socket.answer().await.unwrap().status, 101);
    }
    let refused = Raw::connect(server.addr()).await.is_closed().await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("(connections)") && refused.ends_with("\"limit\":2}"), "{refused}");
    drop(sockets);
    // There is room again as soon as the server has noticed the closed connection.
    while Raw::connect(server.addr())
        .await
        .get("/health/live")
        .await
        .is_ok_and(|it| it.status == 503)
    {}
    assert!(count(&server, Limit::Connections).await > 0);
    server.shutdown().await;
}

#[tokio::test]
async fn connections_of_one_address_are_limited() {
    let log = CapturedLog::start();
    let server = server(|settings| {
        settings.limits.connections_per_address = 2;
        settings.trusted_proxies = Vec::new();
    })
    .await;
    let mut clients = [Raw::connect(server.addr()).await, Raw::connect(server.addr()).await];
    for client in &mut clients {
        assert_eq!(client.get("/health/live").await.unwrap().status, 200);
    }
    let refused = Raw::connect(server.addr()).await.is_closed().await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("(connections_per_address)"), "{refused}");
    for client in &mut clients {
        assert_eq!(client.get("/health/live").await.unwrap().status, 200);
    }
    let lines = log.lines_of(Limit::ConnectionsPerAddress);
    assert!(lines.len() == 1 && lines[0].contains("client=127.0.0.1"), "{lines:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn sockets_behind_a_proxy_count_for_the_client_address() {
    let server = server(|settings| settings.limits.connections_per_address = 2).await;
    let mut proxy = Raw::connect(server.addr()).await;
    for _ in 0..2 {
        let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: localhost\r\n\
                    x-forwarded-for: 1.2.3.4\r\n\r\n";
        proxy.write(open).await.unwrap();
        assert_eq!(proxy.answer().await.unwrap().status, 200);
    }
    let refused = ask(&mut proxy, "1.2.3.4").await;
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("(connections_per_address)"), "{refused:?}");
    assert!((refused.head).contains("retry-after: 1"), "{refused:?}");
    for other in ["5.6.7.8", "5.6.7.8", "5.6.7.8", "9.9.9.9"] {
        assert_eq!(ask(&mut proxy, other).await.status, 200);
    }
    assert_eq!(count(&server, Limit::ConnectionsPerAddress).await, 1);
    server.shutdown().await;
}
