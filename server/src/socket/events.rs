//! Events that the user's code sends to clients.

use std::time::Duration;

use backwire_engine::Environment;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Sockets;
use super::connection::Client;
use super::site_connection::packed;
use crate::delivery::site_client::EventFormat;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::rooms;
use crate::sites::EventNames;

impl Sockets {
    /// Sends an event to all clients that listen to a named room, or to all clients, except
    /// `origin`.
    pub(crate) fn broadcast(
        &self,
        room: Option<&str>,
        event: &str,
        origin: Option<&str>,
        argument: &RawValue,
    ) {
        let mut audience = match room {
            Some(room) => self.within(vec![rooms::custom_name(room)], origin),
            None => self.all(),
        };
        audience.retain(|client| origin.is_none_or(|origin| **client.id() != *origin));
        self.send_event(&audience, event, argument);
    }

    /// Sends an event to clients of all dialects. A client that cannot take it is disconnected.
    pub(crate) fn send_event(&self, audience: &[Client], event: &str, argument: &RawValue) {
        let (runtimes, others): (Vec<_>, Vec<_>) =
            audience.iter().cloned().partition(|client| client.dialect() == Dialect::Runtime);
        let argument = argument.to_owned();
        for (format, audience) in
            [(EventFormat::Runtime, runtimes), (EventFormat::Stock(EventNames::Plain), others)]
        {
            if !audience.is_empty() {
                let arguments = std::slice::from_ref(&argument);
                let (event, arguments) = format.unqueued_event(event, arguments);
                let size = arguments.iter().map(|argument| argument.get().len()).sum();
                self.send_arguments_to_each(&audience, event, &packed(&arguments), size);
            }
        }
    }

    /// Sends an event to a stock client, and returns its ack, or an error if the client sends none
    /// in this time.
    pub(crate) async fn request(
        &self,
        environment: &Environment,
        client: &Client,
        event: &str,
        argument: &RawValue,
        time: Duration,
    ) -> Result<Value> {
        if client.dialect() == Dialect::Runtime {
            return Err(Error::NoAck("the runtime of Backwire acks no events"));
        }
        let (size, argument) = (argument.get().len(), argument.to_owned());
        let mut acked = None;
        let send = || {
            let arguments = packed(std::slice::from_ref(&argument));
            acked = Some(client.socket.send_for_ack(event, arguments)?);
            Ok(())
        };
        if !self.push(client, size, size, send) {
            return Err(Error::NoAck("the client cannot take the event"));
        }
        let acked = acked.ok_or(Error::NoAck("the client cannot take the event"))?;
        // The client is held here, so its end does not end the ack.
        let acked = async {
            tokio::select! {
                biased;
                ack = acked => ack,
                () = client.gone() => None,
            }
        };
        let ack = environment.timeout(time, acked).await;
        let ack = ack.map_err(|_| Error::NoAck("the client sent no ack in time"))?;
        ack.ok_or(Error::NoAck("the connection has ended"))
    }
}
