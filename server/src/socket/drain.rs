//! Ends all connections one after the other, so that their clients connect to other servers.
//!
//! A client that was answered before its connection ends repeats nothing. So a connection takes no
//! more events from its turn on, and ends when the events before it are answered. Our runtime sends
//! the other events to the next server, with the idempotency keys that they have.
//!
//! Clients that all reconnect at once would be as much work for the other servers as all of them
//! had in minutes. So the ends are spread over a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::Environment;
use futures_util::future::join_all;

use super::adapter::socket::Socket;
use super::connection::Client;
use super::{SEND_BUFFER_POLL_INTERVAL, Sockets};

/// The longest time between two ends. A server with few clients does not take longer than needed.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The connections of one session of Engine.IO, which end together.
struct Session {
    /// One of them.
    socket: Arc<dyn Socket>,
    /// The connection that sends requests, if there is one.
    client: Option<Client>,
}

impl Sockets {
    /// Ends all connections, spread over a time. A connection with requests in progress may take up
    /// to `grace` longer. Resolves when all have ended.
    pub(crate) async fn drain(&self, environment: &Environment, over: Duration, grace: Duration) {
        let mut sessions = BTreeMap::new();
        for socket in self.adapter.all_sockets() {
            sessions.entry(socket.id()).or_insert(Session { socket, client: None });
        }
        for client in self.all() {
            if let Some(session) = sessions.get_mut(&**client.id()) {
                session.client = Some(client);
            }
        }
        let (begin, count) = (environment.now(), sessions.len());
        let pause = pause(over, count);
        let mut ending = Vec::with_capacity(count);
        for (session, number) in sessions.into_values().zip(0..) {
            environment.sleep_until(begin + pause * number).await;
            let end = session.end(environment.clone(), grace);
            ending.push(environment.spawn_with_handle(end));
        }
        join_all(ending).await;
    }
}

impl Session {
    async fn end(self, environment: Environment, grace: Duration) {
        let Self { socket, client } = self;
        if let Some(client) = client {
            client.close_inbox();
            let deadline = environment.now() + grace;
            while client.is_busy() && client.is_connected() && environment.now() < deadline {
                environment.sleep(SEND_BUFFER_POLL_INTERVAL).await;
            }
        }
        socket.end().await;
    }
}

/// Returns the time between the ends of two of so many connections.
fn pause(over: Duration, count: usize) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    (over / count).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_end_within_the_time_and_few_end_soon() {
        let over = Duration::from_secs(10);
        assert_eq!(pause(over, 10_000), Duration::from_millis(1));
        assert_eq!([0, 1, 50].map(|count| pause(over, count)), [MAX_PAUSE; 3]);
        assert_eq!(pause(Duration::ZERO, 7), Duration::ZERO);
    }
}
