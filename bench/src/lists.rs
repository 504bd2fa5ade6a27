//! Short lists out of many records, as Backwire alone has them.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::load::{AT_ONCE, TITLE, main_namespace};
use crate::peer::Peer;
use crate::socket::Socket;

/// How many records there are.
const RECORDS: usize = 100_000;

/// How many are created by one request.
const BATCH: usize = 50;

/// In how many lists they are.
const LISTS: usize = 1_000;

/// How many are asked for.
const LIMIT: usize = 30;

/// What is said of them in the configuration file.
pub(crate) const CONFIG: &str = "resources: {todo: {attributes: {\
    list: {indexed: true}, rank: {indexed: true}, createdAt: {indexed: true}}}}";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    /// The first of one of many lists, of which there is an index.
    OfOne,
    /// The newest of all.
    Newest,
}

impl List {
    pub(crate) const ALL: [Self; 2] = [Self::OfOne, Self::Newest];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OfOne => "30 of 100 in one of 1,000 lists, sorted",
            Self::Newest => "the 30 newest of 100,000",
        }
    }

    fn request(self, number: usize) -> String {
        let list = number % LISTS;
        let criteria = match self {
            Self::OfOne => format!("\"where\":{{\"list\":{list}}},\"sort\":\"rank\""),
            Self::Newest => "\"sort\":\"createdAt DESC\"".to_owned(),
        };
        format!("\"url\":\"/todo\",\"data\":{{{criteria},\"limit\":{LIMIT}}}")
    }

    /// CPU for each, asked for so often in all. That the file is read from the disk is not counted.
    pub(crate) async fn read(self, peer: &Peer, times: usize) -> Result<Duration> {
        let mut sockets = Vec::new();
        for _ in 0..AT_ONCE {
            sockets.push(main_namespace(&peer.address).await?);
        }
        let sockets = self.ask(sockets, LISTS / AT_ONCE).await?;
        peer.is_idle().await?;
        let before = peer.cpu()?;
        let share = times / AT_ONCE;
        let sockets = self.ask(sockets, share).await?;
        peer.is_idle().await?;
        let cpu = peer.cpu()?.saturating_sub(before);
        Ok(cpu.div_f64((share * sockets.len()) as f64))
    }

    /// All at the same time, each for another list so often.
    async fn ask(self, sockets: Vec<Socket>, share: usize) -> Result<Vec<Socket>> {
        let mut reading = JoinSet::new();
        for (name, mut socket) in sockets.into_iter().enumerate() {
            reading.spawn(async move {
                for number in 0..share {
                    socket.ask("get", &self.request(name * share + number)).await?;
                    let answer = socket.answer().await?;
                    let count = answer["body"].as_array().map_or(0, Vec::len);
                    ensure!(count == LIMIT, "{count} records in a list of {LIMIT}");
                }
                anyhow::Ok(socket)
            });
        }
        reading.join_all().await.into_iter().collect()
    }
}

/// Creates the records.
pub(crate) async fn fill(peer: &Peer) -> Result<()> {
    let mut writer = main_namespace(&peer.address).await?;
    for batch in 0..RECORDS / BATCH {
        let records =
            (batch * BATCH..(batch + 1) * BATCH).map(record).collect::<Vec<_>>().join(",");
        writer.ask("post", &format!("\"url\":\"/todo\",\"data\":[{records}]")).await?;
        writer.answer().await?;
    }
    Ok(())
}

/// The ranks are all different, and in no order.
fn record(number: usize) -> String {
    let (list, rank) = (number % LISTS, number * 7_919 % RECORDS);
    format!("{{\"title\":\"{TITLE}\",\"done\":false,\"list\":{list},\"rank\":{rank}}}")
}
