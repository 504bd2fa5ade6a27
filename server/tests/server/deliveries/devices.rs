//! Devices that connect and disconnect.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backwire::engine::Error;
use backwire::settings::Store;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::push_service::{DeviceConnection, PushService};
use super::runtime::runtime;
use crate::client::Socket;
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Blocks the first connect of the device `desk`, and reports acks and disconnects.
#[derive(Default)]
struct Gate {
    desk: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    acked: Notify,
    disconnected: Notify,
}

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let held = self.desk.lock().unwrap().take_if(|_| matches!(call, Call::Connect("desk")));
        if let Some((reached, opened)) = held {
            reached.send(()).unwrap();
            opened.await.unwrap();
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>) {
        match call {
            Call::Ack => self.acked.notify_one(),
            Call::Disconnect => self.disconnected.notify_one(),
            _ => {}
        }
    }
}

/// Returns a gate, its push service, a device `desk` that is connecting, and a sender that opens
/// the gate.
async fn connecting_desk() -> (Arc<Gate>, PushService, Socket, oneshot::Sender<()>) {
    connecting_desk_with("40/shop,").await
}

/// Starts a connection with this CONNECT, of a stock client or of the runtime.
async fn connecting_desk_with(
    connects: &str,
) -> (Arc<Gate>, PushService, Socket, oneshot::Sender<()>) {
    let gate = Arc::new(Gate::default());
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *gate.desk.lock().unwrap() = Some((reach, opened));
    let engine = intercepted_by(&gate);
    let service = PushService::build(|_| {}, |builder| builder.engine(engine)).await;
    let mut desk = Socket::open_with_query(&service.server, "&token=user_1&deviceId=desk").await;
    desk.send(connects).await;
    reached.await.unwrap();
    (gate, service, desk, open)
}

async fn device(service: &PushService, name: &str) -> Result<DeviceConnection, serde_json::Value> {
    service.connect_to("shop", &format!("token=user_1&deviceId={name}")).await
}

#[tokio::test]
async fn device_is_connected_only_after_its_queue_exists() {
    let (gate, service, mut desk, open) = connecting_desk().await;
    // Frames of a connection arrive in order.
    desk.send("40").await;
    assert!(desk.next_frame().await.starts_with("40{\"sid\":"), "it has no queue yet");
    let mut phone = device(&service, "phone").await.unwrap();
    service.send(json!("user_1"), "news", 1).await;
    assert_eq!(phone.take().await, json!(["news", 1]));
    gate.acked.notified().await;
    open.send(()).unwrap();
    assert!(desk.next_frame().await.starts_with("40/shop,"));
    // From now on both devices receive every message.
    service.send(json!("user_1"), "news", 2).await;
    assert_eq!(phone.take().await, json!(["news", 2]));
    let frame = desk.next_frame().await;
    assert!(frame.ends_with(r#"["news",2]"#), "{frame}");
    service.server.shutdown().await;
}

#[tokio::test]
async fn device_whose_connection_ends_while_connecting_is_disconnected() {
    let (gate, service, desk, open) = connecting_desk().await;
    drop(desk);
    // The server knows by now that the connection has ended, or notices it after the connect is
    // stored.
    let _phone = device(&service, "phone").await.unwrap();
    open.send(()).unwrap();
    gate.disconnected.notified().await;
    service.server.shutdown().await;
}

#[tokio::test]
async fn connect_over_the_device_limit_is_refused_with_the_reason() {
    let service = PushService::with(|site| site.most_devices = 2, Store::Memory).await;
    let (mut phone, _desk) =
        (device(&service, "phone").await.unwrap(), device(&service, "desk").await.unwrap());
    let message = "deviceId: this person is connected by 2 devices, and mostDevices allows no more";
    let refused = device(&service, "watch").await.err();
    assert_eq!(refused, Some(json!({ "message": message })));
    let unnamed = service.connect_to("shop", "token=user_1").await.err();
    assert_eq!(unnamed, Some(json!({ "message": message })));
    // A second tab of the same device, or another person, may connect.
    let mut again = device(&service, "phone").await.unwrap();
    assert!(service.connect_to("shop", "token=user_2&deviceId=watch").await.is_ok());
    service.send(json!("user_1"), "news", 1).await;
    assert_eq!(phone.next().await.1, json!(["news", 1]));
    assert_eq!(again.next().await.1, json!(["news", 1]));
    service.server.shutdown().await;
}

#[tokio::test]
async fn runtime_over_the_device_limit_is_refused_with_the_reason() {
    let service = PushService::with(|site| site.most_devices = 1, Store::Memory).await;
    let _phone = device(&service, "phone").await.unwrap();
    let refused = runtime(&service, "token=user_1&deviceId=desk").await.err().unwrap();
    assert!(refused.starts_with("44{") && refused.contains("mostDevices"), "{refused}");
    service.server.shutdown().await;
}

/// A store that cannot store devices.
struct Full;

#[async_trait]
impl Interceptor for Full {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        match call {
            Call::Connect(_) => Err(Error::Unavailable("the disk is full".to_owned())),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn client_is_disconnected_if_its_device_cannot_be_stored() {
    let engine = intercepted_by(&Arc::new(Full));
    let service = PushService::build(|_| {}, |builder| builder.engine(engine)).await;
    let mut desk = Socket::open_with_query(&service.server, "&token=user_1").await;
    desk.send("40/shop,").await;
    desk.wait_for_close().await;
    service.server.shutdown().await;
}

#[tokio::test]
async fn connect_in_progress_at_shutdown_releases_the_engine() {
    let runtime = r#"40{"backwire":1,"site":"shop","token":"user_1","deviceId":"desk"}"#;
    for connects in ["40/shop,", runtime] {
        let (gate, service, mut desk, open) = connecting_desk_with(connects).await;
        // The shutdown closes the connections before the gate opens.
        tokio::join!(service.server.shutdown(), async { open.send(()).unwrap() });
        assert_eq!(Arc::strong_count(&gate), 1, "the engine is still there");
        desk.wait_for_close().await;
    }
}
