//! Devices as they come and go.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backwire::engine::Error;
use backwire::settings::Store;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::house::{House, Phone};
use super::runtime::runtime;
use crate::client::Socket;
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Holds up the coming of a device that is called `desk`, once, and tells of acks and goings.
#[derive(Default)]
struct Gate {
    desk: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    acked: Notify,
    gone: Notify,
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
            Call::Disconnect => self.gone.notify_one(),
            _ => {}
        }
    }
}

/// A gate, the house behind it, and a desk that is on its way in; what is sent opens the gate.
async fn on_its_way() -> (Arc<Gate>, House, Socket, oneshot::Sender<()>) {
    on_its_way_by("40/shop,").await
}

/// Starts a connection with this CONNECT, which decides whether it is our runtime's.
async fn on_its_way_by(connects: &str) -> (Arc<Gate>, House, Socket, oneshot::Sender<()>) {
    let gate = Arc::new(Gate::default());
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *gate.desk.lock().unwrap() = Some((reach, opened));
    let engine = intercepted_by(&gate);
    let house = House::built(|_| {}, |builder| builder.engine(engine)).await;
    let mut desk = Socket::unjoined(&house.server, "&token=user_1&deviceId=desk").await;
    desk.send(connects).await;
    reached.await.unwrap();
    (gate, house, desk, open)
}

async fn device(house: &House, name: &str) -> Result<Phone, serde_json::Value> {
    house.phone_at("shop", &format!("token=user_1&deviceId={name}")).await
}

#[tokio::test]
async fn a_device_is_not_connected_before_whatever_is_sent_waits_for_it() {
    let (gate, house, mut desk, open) = on_its_way().await;
    // What a connection is told comes in its order.
    desk.send("40").await;
    assert!(desk.next_frame().await.starts_with("40{\"sid\":"), "it has no queue yet");
    let mut phone = device(&house, "phone").await.unwrap();
    house.send(json!("user_1"), "news", 1).await;
    assert_eq!(phone.take().await, json!(["news", 1]));
    gate.acked.notified().await;
    open.send(()).unwrap();
    assert!(desk.next_frame().await.starts_with("40/shop,"));
    // From here on everything is for both, whoever is quicker.
    house.send(json!("user_1"), "news", 2).await;
    assert_eq!(phone.take().await, json!(["news", 2]));
    let told = desk.next_frame().await;
    assert!(told.ends_with(r#"["news",2]"#), "{told}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_device_whose_connection_ends_on_its_way_in_is_away() {
    let (gate, house, desk, open) = on_its_way().await;
    drop(desk);
    // It is known by now that it has ended, or it finds out as soon as it is answered.
    let _phone = device(&house, "phone").await.unwrap();
    open.send(()).unwrap();
    gate.gone.notified().await;
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_person_who_has_as_many_devices_as_they_may_is_told_so_when_another_connects() {
    let house = House::with(|site| site.most_devices = 2, Store::Memory).await;
    let (mut phone, _desk) =
        (device(&house, "phone").await.unwrap(), device(&house, "desk").await.unwrap());
    let told = "deviceId: this person is connected by 2 devices, and mostDevices allows no more";
    let refused = device(&house, "watch").await.err();
    assert_eq!(refused, Some(json!({ "message": told })));
    let unnamed = house.phone_at("shop", "token=user_1").await.err();
    assert_eq!(unnamed, Some(json!({ "message": told })));
    // As a second tab, or as another person, they may.
    let mut again = device(&house, "phone").await.unwrap();
    assert!(house.phone_at("shop", "token=user_2&deviceId=watch").await.is_ok());
    house.send(json!("user_1"), "news", 1).await;
    assert_eq!(phone.next().await.1, json!(["news", 1]));
    assert_eq!(again.next().await.1, json!(["news", 1]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn our_runtime_is_told_so_as_well() {
    let house = House::with(|site| site.most_devices = 1, Store::Memory).await;
    let _phone = device(&house, "phone").await.unwrap();
    let refused = runtime(&house, "token=user_1&deviceId=desk").await.err().unwrap();
    assert!(refused.starts_with("44{") && refused.contains("mostDevices"), "{refused}");
    house.server.shutdown().await;
}

/// A store that cannot take devices in.
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
async fn who_can_not_be_taken_in_now_is_disconnected_and_comes_again() {
    let engine = intercepted_by(&Arc::new(Full));
    let house = House::built(|_| {}, |builder| builder.engine(engine)).await;
    let mut desk = Socket::unjoined(&house.server, "&token=user_1").await;
    desk.send("40/shop,").await;
    desk.is_ended().await;
    house.server.shutdown().await;
}

#[tokio::test]
async fn one_that_is_on_its_way_in_at_a_shutdown_keeps_nothing_of_the_server() {
    let runtime = r#"40{"backwire":1,"site":"shop","token":"user_1","deviceId":"desk"}"#;
    for connects in ["40/shop,", runtime] {
        let (gate, house, mut desk, open) = on_its_way_by(connects).await;
        // The connections have been closed before the gate opens.
        tokio::join!(house.server.shutdown(), async { open.send(()).unwrap() });
        assert_eq!(Arc::strong_count(&gate), 1, "the engine is still there");
        desk.is_ended().await;
    }
}
