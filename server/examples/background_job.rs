//! A job in the background that publishes: it reads two sensors every second.
//!
//! The app itself keeps the readings. `GET /sensor` returns them, and a page whose collection has
//! this url gets each change. All clients get the event `alarm` when a sensor is too hot: with
//! `socket.on` of `socket.io-client`, or with `Backwire.socket.on`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use backwire::change::Attributes;
use backwire::pubsub::Publisher;
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde_json::json;
use tokio::sync::mpsc;

/// The readings of all sensors in degrees Celsius, by the number of the sensor.
#[derive(Clone, Default)]
pub(crate) struct Sensors(Arc<Mutex<BTreeMap<u64, f64>>>);

impl Sensors {
    fn all(&self) -> Vec<Attributes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let records = all.iter().map(|(id, celsius)| json!({ "id": id, "celsius": celsius }));
        records.filter_map(|record| record.as_object().cloned()).collect()
    }

    /// Stores a reading. Returns the reading before it.
    fn set(&self, id: u64, celsius: f64) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, celsius)
    }
}

async fn list(cx: Context, State(sensors): State<Sensors>) -> Result<Response, Error> {
    let read = async || Ok::<_, Error>(sensors.all());
    Ok(cx.find_external("sensor", read).await?.into_response())
}

pub(crate) fn routes(server: Builder, sensors: Sensors) -> Builder {
    let sensor: MethodRouter = get(list).with_state(sensors);
    server.override_route("/sensor", sensor)
}

/// Stores and publishes each reading, until there are no more.
pub(crate) async fn publish(
    publisher: Publisher,
    sensors: Sensors,
    mut readings: mpsc::Receiver<(u64, f64)>,
) -> Result<(), Error> {
    let changes = publisher.pubsub("sensor")?;
    while let Some((id, celsius)) = readings.recv().await {
        match sensors.set(id, celsius) {
            None => {
                changes.publish_create(json!({ "id": id, "celsius": celsius }), None).await?;
            }
            Some(_) => {
                changes.publish_update(id, json!({ "celsius": celsius }), None).await?;
            }
        }
        if celsius > 25.0 {
            let alarm = json!({ "sensor": id, "celsius": celsius });
            publisher.broadcast_to_all("alarm", &alarm, None)?;
        }
    }
    Ok(())
}

/// Stands for the sensors: they become warmer, and then cold again.
#[expect(clippy::disallowed_methods, reason = "the app has a clock of its own")]
async fn measure(readings: mpsc::Sender<(u64, f64)>) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    for second in 0_u32.. {
        every_second.tick().await;
        for sensor in [1, 2] {
            let celsius = 20.0 + f64::from((second * sensor) % 8);
            if readings.send((sensor.into(), celsius)).await.is_err() {
                return;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the app has tasks of its own")]
#[tokio::main]
async fn main() -> io::Result<()> {
    let sensors = Sensors::default();
    let server = routes(Server::builder(), sensors.clone()).bind().await?;
    let (sender, readings) = mpsc::channel(8);
    let measuring = tokio::spawn(measure(sender));
    let publishing = tokio::spawn(publish(server.publisher(), sensors, readings));
    println!("{}/sensor", server.url());
    tokio::signal::ctrl_c().await?;
    // Without further readings the job ends. It does so before the server.
    measuring.abort();
    publishing.await?.map_err(io::Error::other)?;
    server.shutdown().await;
    Ok(())
}
