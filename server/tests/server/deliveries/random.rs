//! Random sends, connects and acks, compared with plain lists: one of the messages that wait for a
//! person, and one of the messages that a connection must receive.

use std::sync::Arc;
use std::time::Duration;

use backwire::engine::{Delivery, DeliveryContent, Device, Engine, Memory, QueueRange, Window};
use backwire::messages::flake::Flake;
use backwire::messages::rules::BatchLimits;
use backwire::sites::Site;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::push_service::{DeviceConnection, PushService};
use crate::polling::poll;

/// A test fails if it waits for longer than this.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    /// A back end sends this many messages in one request.
    Send(Recipient, usize),
    /// The client connects and acks these, or disconnects if it is connected.
    Connect(Acks),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Recipient {
    Person,
    Group,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Acks {
    All,
    /// Events, but not batches, because the page has no handler for batches.
    Events,
    Batches,
    None,
}

fn step(acks: [Acks; 2]) -> impl Strategy<Value = Step> {
    use Recipient::*;
    prop_oneof![
        3 => (select(vec![Person, Person, Group, Both]), select(vec![1, 2, 70, 150]))
            .prop_map(|(recipient, count)| Step::Send(recipient, count)),
        2 => select(acks.to_vec()).prop_map(Step::Connect),
    ]
}

/// Returns the timeout of batches, and steps in which either all clients ack batches or none does.
fn program() -> impl Strategy<Value = (Duration, Vec<Step>)> {
    let modes = vec![
        (Duration::from_secs(60), [Acks::All, Acks::Batches]),
        (Duration::from_millis(30), [Acks::Events, Acks::None]),
    ];
    select(modes).prop_flat_map(|(timeout, acks)| (Just(timeout), vec(step(acks), 1..12)))
}

struct World {
    service: PushService,
    engine: Arc<dyn Engine>,
    sent: usize,
    /// The numbers of the messages that are queued for the person.
    waiting: Vec<usize>,
    connection: Option<Connection>,
}

struct Connection {
    phone: DeviceConnection,
    acks: Acks,
    /// The messages that were queued when it connected.
    backlog: Vec<usize>,
    /// The messages for the person and for the group that were sent after that.
    own: Vec<usize>,
    group: Vec<usize>,
}

impl World {
    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match (step, self.connection.take()) {
            (Step::Send(recipient, count), connection) => {
                self.connection = connection;
                self.send(recipient, count).await;
            }
            (Step::Connect(_), Some(connection)) => self.leave(connection).await?,
            (Step::Connect(acks), None) => {
                let phone = self.service.connect("user_1+staff").await;
                let (backlog, own, group) = (self.waiting.clone(), Vec::new(), Vec::new());
                self.connection = Some(Connection { phone, acks, backlog, own, group });
            }
        }
        Ok(())
    }

    async fn send(&mut self, recipient: Recipient, count: usize) {
        let rooms = match recipient {
            Recipient::Person => json!(["user_1"]),
            Recipient::Group => json!(["staff"]),
            Recipient::Both => json!(["staff", "user_1"]),
        };
        let numbers = self.sent..self.sent + count;
        self.sent += count;
        let message = |number| json!({ "rooms": rooms, "event": "news", "args": [number] });
        let messages: Vec<_> = numbers.clone().map(message).collect();
        assert_eq!(self.service.post("shop", None, json!(messages)).await.0, 200);
        if recipient != Recipient::Group {
            self.waiting.extend(numbers.clone());
        }
        if let Some(connection) = &mut self.connection {
            let received = match recipient {
                Recipient::Group => &mut connection.group,
                _ => &mut connection.own,
            };
            received.extend(numbers);
        }
    }

    /// Receives everything up to a last message to each room, compares it, and disconnects.
    async fn leave(&mut self, mut connection: Connection) -> Result<(), TestCaseError> {
        for room in ["user_1", "staff"] {
            self.service.send(json!([room]), "bye", 0).await;
        }
        let mut open_rooms = 2;
        let (mut batches, mut own, mut group) = (Vec::new(), Vec::new(), Vec::new());
        let (phone, acks) = (&mut connection.phone, connection.acks);
        while open_rooms > 0 {
            let (ack, event) = phone.next().await;
            let is_acked = match event[0].as_str() {
                Some("batch") => {
                    batches.extend(event[1].as_array().unwrap().iter().map(|it| number(&it[1])));
                    matches!(acks, Acks::All | Acks::Batches)
                }
                Some("news") if ack.is_none() => {
                    group.push(number(&event[1]));
                    continue;
                }
                Some("news") => {
                    own.push(number(&event[1]));
                    matches!(acks, Acks::All | Acks::Events)
                }
                _ => {
                    open_rooms -= 1;
                    ack.is_some()
                }
            };
            if is_acked {
                phone.ack(ack).await;
            }
        }
        let backlog = match acks {
            Acks::All | Acks::Batches => &connection.backlog[..],
            // Without an ack, the server sends only one batch.
            Acks::Events | Acks::None => &connection.backlog[..connection.backlog.len().min(200)],
        };
        prop_assert_eq!(&batches, backlog);
        prop_assert_eq!(&own, &connection.own);
        prop_assert_eq!(&group, &connection.group);
        self.waiting.retain(|number| match acks {
            Acks::All => false,
            Acks::Events => !own.contains(number),
            Acks::Batches => !batches.contains(number),
            Acks::None => true,
        });
        connection.phone.disconnect().await;
        self.acks_are_done().await;
        Ok(())
    }

    /// Waits until the queue equals the list. The server continues to apply received acks after the
    /// connection has ended. A client that reconnects in the meantime may receive an acked message
    /// again.
    async fn acks_are_done(&self) {
        let (site, person, name) = ("shop".into(), "user_1".into(), "".into());
        let device = Device { site, person, name };
        let portion = BatchLimits { count: usize::MAX, bytes: usize::MAX };
        let done = async || {
            let asked = QueueRange { after: Flake::ZERO, upto: Flake::MAX, portion, at: 0 };
            let waiting = self.engine.queues().waiting(device.clone(), asked).await.unwrap();
            let news = waiting.deliveries.iter().filter(|it| is_news(it)).count();
            (news == self.waiting.len()).then_some(())
        };
        poll("the queue has what the list has", TEST_TIMEOUT, done).await;
    }
}

fn is_news(delivery: &Delivery) -> bool {
    matches!(&delivery.content, DeliveryContent::Event { event, .. } if event == "news")
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| number.try_into().ok()).expect("an argument is a number")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn connection_gets_its_backlog_in_batches_and_each_later_message_as_an_event(
        (timeout, steps) in program(),
        unread in select(vec![2, 128]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let change = |site: &mut Site| {
                site.batch_timeout = timeout;
                site.most_waiting = 10_000;
            };
            let (kept, mut engine) = mpsc::channel(1);
            let open = move |tail| {
                let engine: Arc<dyn Engine> = Arc::new(Memory::new(Window::default(), tail));
                kept.blocking_send(Arc::clone(&engine)).expect("the test waits for it");
                Ok(engine)
            };
            let service =
                PushService::build(change, |builder| builder.engine(open).unread(unread)).await;
            let engine = engine.recv().await.expect("it was opened");
            let mut world = World { service, engine, sent: 0, waiting: Vec::new(), connection: None };
            for step in steps {
                world.take(step).await?;
            }
            if let Some(connection) = world.connection.take() {
                world.leave(connection).await?;
            }
            drop(world.engine);
            world.service.server.shutdown().await;
            Ok::<(), TestCaseError>(())
        })?;
    }
}
