//! Random sends, connects and acks, compared with plain lists: one of the messages that wait for a
//! person, and one of the messages that a connection has to receive.

use std::sync::Arc;
use std::time::Duration;

use backwire::engine::{Asked, Delivery, Device, Engine, Memory, Said, Window};
use backwire::messages::flake::Flake;
use backwire::messages::rules::Portion;
use backwire::sites::Site;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::house::{House, Phone};

/// After this long, a test that waits has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    /// A back end sends so many messages in one request.
    Send(Recipient, usize),
    /// The client connects and acks these, or leaves if it is connected.
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
    /// Events, but not batches: the page has no handler for them.
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

/// The timeout of batches, and steps of clients that all ack them, or all do not.
fn program() -> impl Strategy<Value = (Duration, Vec<Step>)> {
    let modes = vec![
        (Duration::from_secs(60), [Acks::All, Acks::Batches]),
        (Duration::from_millis(30), [Acks::Events, Acks::None]),
    ];
    select(modes).prop_flat_map(|(timeout, acks)| (Just(timeout), vec(step(acks), 1..12)))
}

struct World {
    house: House,
    engine: Arc<dyn Engine>,
    sent: usize,
    /// The numbers of the messages that wait for the person.
    waiting: Vec<usize>,
    connection: Option<Connection>,
}

struct Connection {
    phone: Phone,
    acks: Acks,
    /// The messages that waited when it connected.
    backlog: Vec<usize>,
    /// The messages for the person and for the group that were sent since.
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
                let phone = self.house.phone("user_1+staff").await;
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
        assert_eq!(self.house.post("shop", None, json!(messages)).await.0, 200);
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

    /// Receives everything up to a last message to each room, compares it, and leaves.
    async fn leave(&mut self, mut connection: Connection) -> Result<(), TestCaseError> {
        for room in ["user_1", "staff"] {
            self.house.send(json!([room]), "bye", 0).await;
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
            // Without an ack there is one batch.
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
        connection.phone.hang_up().await;
        self.acks_are_done().await;
        Ok(())
    }

    /// Resolves when the queue has what the list has. The server goes on with the acks it has
    /// received when the connection has ended. A client that connects again meanwhile may get a
    /// message that it has acked once more.
    async fn acks_are_done(&self) {
        let (site, person, name) = ("shop".into(), "user_1".into(), "".into());
        let device = Device { site, person, name };
        let portion = Portion { count: usize::MAX, bytes: usize::MAX };
        let done = async {
            loop {
                let asked = Asked { after: Flake::ZERO, upto: Flake::MAX, portion, at: 0 };
                let waiting = self.engine.queues().waiting(device.clone(), asked).await.unwrap();
                let news = waiting.deliveries.iter().filter(|it| is_news(it)).count();
                if news == self.waiting.len() {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, done).await.expect("the queue has what the list has");
    }
}

fn is_news(delivery: &Delivery) -> bool {
    matches!(&delivery.said, Said::Event { event, .. } if event == "news")
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
            let house =
                House::built(change, |builder| builder.engine(open).unread(unread)).await;
            let engine = engine.recv().await.expect("it was opened");
            let mut world = World { house, engine, sent: 0, waiting: Vec::new(), connection: None };
            for step in steps {
                world.take(step).await?;
            }
            if let Some(connection) = world.connection.take() {
                world.leave(connection).await?;
            }
            drop(world.engine);
            world.house.server.shutdown().await;
            Ok::<(), TestCaseError>(())
        })?;
    }
}
