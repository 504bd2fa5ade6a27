//! The work, the same for everyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::peer::Peer;
use crate::socket::Socket;

/// Clients that connect at the same time, and clients that write at the same time.
pub(crate) const AT_ONCE: usize = 50;

/// Creates that one writer has in flight.
const IN_FLIGHT: usize = 8;

/// Nothing has arrived for so long: nothing will.
const QUIET: Duration = Duration::from_secs(5);

/// A title of usual length.
pub(crate) const TITLE: &str =
    "Ask the neighbours whether they have seen the cat, and put up a note";

/// How much of it.
pub(crate) struct Load {
    pub(crate) listeners: usize,
    pub(crate) creates: usize,
    pub(crate) writes: usize,
    /// In how many filters the listeners are; 0 are in none and hear of everything.
    pub(crate) filters: usize,
}

/// What came of connecting, listening and creating.
pub(crate) struct Heard {
    /// Sockets connected and subscribed in a second.
    pub(crate) connects: f64,
    /// CPU for each of them.
    pub(crate) connect_cpu: Duration,
    /// Bytes of memory for each of them, at rest.
    pub(crate) memory: f64,
    /// CPU for each delivery that arrived.
    pub(crate) delivery_cpu: Duration,
    /// The part of all deliveries that arrived.
    pub(crate) arrived: f64,
}

/// What came of writing.
pub(crate) struct Written {
    /// CPU for each answered write.
    pub(crate) cpu: Duration,
    /// Answered in a second.
    pub(crate) rate: f64,
}

/// What is written, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Create,
    /// Of one and the same record.
    Update,
    Destroy,
}

impl Load {
    /// Many connect and subscribe, rest, and hear of what one creates.
    pub(crate) async fn listen(&self, peer: &Peer) -> Result<Heard> {
        // So that what the first of all requests costs is not counted for a listener.
        subscribe(&peer.address, "").await?;
        peer.is_idle().await?;
        let (memory, cpu, start) = (peer.memory()?, peer.cpu()?, Instant::now());
        let sockets = self.connect(&peer.address).await?;
        let took = start.elapsed();
        peer.is_idle().await?;
        let connect_cpu = peer.cpu()?.saturating_sub(cpu);
        let memory = (peer.memory()? - memory) as f64;

        let cpu = peer.cpu()?;
        let arrived = self.deliver(&peer.address, sockets).await?;
        peer.is_idle().await?;
        let delivery_cpu = peer.cpu()?.saturating_sub(cpu);
        Ok(Heard {
            connects: self.listeners as f64 / took.as_secs_f64(),
            connect_cpu: connect_cpu.div_f64(self.listeners as f64),
            memory: memory / self.listeners as f64,
            delivery_cpu: delivery_cpu.div_f64(arrived as f64),
            arrived: arrived as f64 / (self.creates * self.listeners) as f64,
        })
    }

    async fn connect(&self, address: &str) -> Result<Vec<Socket>> {
        let mut connecting = JoinSet::new();
        for worker in 0..AT_ONCE {
            let share = (self.listeners + worker) / AT_ONCE;
            let (address, filters) = (address.to_owned(), self.filters);
            connecting.spawn(async move {
                let mut sockets = Vec::with_capacity(share);
                for number in 0..share {
                    sockets.push(subscribe(&address, &criteria(number, filters)).await?);
                }
                anyhow::Ok(sockets)
            });
        }
        let mut sockets = Vec::with_capacity(self.listeners);
        while let Some(connected) = connecting.join_next().await {
            sockets.append(&mut connected??);
        }
        Ok(sockets)
    }

    /// How many deliveries arrived. The sockets are still open when this is known.
    async fn deliver(&self, address: &str, sockets: Vec<Socket>) -> Result<usize> {
        let arrived = Arc::new(AtomicUsize::new(0));
        let mut listening = JoinSet::new();
        for mut socket in sockets {
            let arrived = arrived.clone();
            listening.spawn(async move {
                loop {
                    match socket.deliveries().await {
                        Ok(count) => arrived.fetch_add(count, Ordering::Relaxed),
                        Err(error) => return error,
                    };
                }
            });
        }
        self.create(address).await?;
        let (mut last, mut since) = (0, Instant::now());
        while last < self.creates * self.listeners && since.elapsed() < QUIET {
            sleep(Duration::from_millis(5)).await;
            if let Some(error) = listening.try_join_next() {
                return Err(error?.context("a listener was lost"));
            }
            let now = arrived.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    async fn create(&self, address: &str) -> Result<()> {
        let mut writer = main_namespace(address).await?;
        for number in 0..self.creates + IN_FLIGHT {
            if number >= IN_FLIGHT {
                writer.answer().await?;
            }
            if number < self.creates {
                writer.ask("post", &write("/todo", &format!("create-{number}"), number)).await?;
            }
        }
        Ok(())
    }

    /// Some who listen to nothing write, each for himself and one thing after the other.
    pub(crate) async fn write(&self, peer: &Peer, deed: Deed) -> Result<Written> {
        let share = self.writes / AT_ONCE;
        let prepared = match deed {
            Deed::Create => 0,
            Deed::Update => 1,
            Deed::Destroy => share,
        };
        let mut writers = Vec::new();
        for name in 0..AT_ONCE {
            let socket = main_namespace(&peer.address).await?;
            writers.push(Writer { session: session(name), socket, asked: 0, ids: Vec::new() });
        }
        let writers = each(writers, Deed::Create, prepared).await?;
        peer.is_idle().await?;
        let (cpu, start) = (peer.cpu()?, Instant::now());
        let writers = each(writers, deed, share).await?;
        let took = start.elapsed();
        peer.is_idle().await?;
        let cpu = peer.cpu()?.saturating_sub(cpu);
        let count = (share * writers.len()) as f64;
        Ok(Written { cpu: cpu.div_f64(count), rate: count / took.as_secs_f64() })
    }
}

/// All at the same time, each so often.
async fn each(writers: Vec<Writer>, deed: Deed, times: usize) -> Result<Vec<Writer>> {
    let mut writing = JoinSet::new();
    for mut writer in writers {
        writing.spawn(async move {
            for number in 0..times {
                writer.does(deed, number).await?;
            }
            anyhow::Ok(writer)
        });
    }
    writing.join_all().await.into_iter().collect()
}

struct Writer {
    session: String,
    socket: Socket,
    asked: usize,
    /// Of the records it has created.
    ids: Vec<u64>,
}

impl Writer {
    async fn does(&mut self, deed: Deed, number: usize) -> Result<()> {
        self.asked += 1;
        let key = format!("{}-{}", self.session, self.asked);
        let last = self.ids.last().copied();
        let own = || last.map(|id| format!("/todo/{id}")).context("it has created one");
        let (verb, request) = match deed {
            Deed::Create => ("post", write("/todo", &key, number)),
            Deed::Update => ("put", write(&own()?, &key, number)),
            Deed::Destroy => ("delete", keyed(&own()?, &key)),
        };
        self.socket.ask(verb, &request).await?;
        let answer = self.socket.answer().await?;
        let record = &answer["body"];
        match deed {
            Deed::Create => self.ids.push(record["id"].as_u64().context("a record has an id")?),
            Deed::Update if record["number"].as_u64() == Some(number as u64) => {}
            Deed::Destroy if record["id"].as_u64() == last => drop(self.ids.pop()),
            _ => bail!("not what was written: {answer}"),
        }
        Ok(())
    }
}

/// Connects as our runtime does; who does not know what that means takes no notice of it.
pub(crate) async fn main_namespace(address: &str) -> Result<Socket> {
    Socket::connect(address, "", r#"{"backwire":1}"#).await
}

async fn subscribe(address: &str, criteria: &str) -> Result<Socket> {
    let mut socket = main_namespace(address).await?;
    socket.ask("get", &format!("\"url\":\"/todo\"{criteria}")).await?;
    socket.answer().await?;
    Ok(socket)
}

/// One of so many different filters, all of which every record fulfils.
fn criteria(number: usize, filters: usize) -> String {
    match number.checked_rem(filters) {
        Some(which) => format!(",\"data\":{{\"where\":{{\"number\":{{\">\":-{}}}}}}}", which + 1),
        None => String::new(),
    }
}

/// What follows the verb of a write that says what a record is to be.
fn write(url: &str, key: &str, number: usize) -> String {
    let keyed = keyed(url, key);
    format!("{keyed},\"data\":{{\"title\":\"{TITLE}\",\"done\":false,\"number\":{number}}}")
}

/// What follows the verb of a write.
fn keyed(url: &str, key: &str) -> String {
    format!("\"url\":\"{url}\",\"headers\":{{\"idempotency-key\":\"{key}\"}}")
}

/// What the keys of a page begin with: as long as our runtime draws it, and of no page near that of another.
fn session(name: usize) -> String {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    format!("{:032x}", (name as u128 + 1).wrapping_mul(SPREAD))
}
