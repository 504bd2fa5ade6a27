//! Answers the events of sockets.
//!
//! A request becomes an HTTP request and goes through the same router as any other. It carries its
//! [`Client`], so a handler can recognize it as a request of a socket, and subscribe the socket.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use backwire_records::change::Room;
use backwire_records::json_size::JsonSize;
use http_body_util::BodyExt;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::answer_claim::{self, AnswerClaim};
use crate::dialect::{Arguments, Dialect};
use crate::error::{Error, Result};
use crate::http::limit::TOLERANCE;
use crate::http::{csrf, emulation};
use crate::incoming::{self, Incoming, Request};
use crate::parse_claim::{ParseClaim, ParseLimits};
use crate::resume::resume;
use crate::router::SocketRoutes;
use crate::shared::Shared;
use crate::socket::turn::Turn;
use crate::socket::{Client, OutputBudget, RequestRooms};

/// Answers events.
pub(crate) struct Answers {
    routes: SocketRoutes,
    shared: Arc<Shared>,
    parse_limits: Arc<ParseLimits>,
}

impl Answers {
    pub(crate) fn new(
        routes: SocketRoutes,
        shared: Arc<Shared>,
        parse_limits: Arc<ParseLimits>,
    ) -> Self {
        Self { routes, shared, parse_limits }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the budget of answers that wait to be read.
    pub(crate) fn output_budget(&self) -> &OutputBudget {
        &self.shared.output_budget
    }

    /// Counts the limit that a client has reached, if this error is the refusal of one.
    pub(crate) fn count_refusal(&self, client: &Client, error: &Error) {
        if let Some(limit) = error.limit_reached() {
            self.shared.limits.reached(limit, client.address());
        }
    }

    /// Returns the answer to an event.
    pub(crate) async fn answer(&self, client: &Client, text: &str, turn: &Turn) -> Result<Answer> {
        // The claim is held until there is an answer.
        let new_claim = if turn.is_only() { ParseClaim::new } else { ParseClaim::beside_others };
        let parsed = new_claim(&self.parse_limits, client.address());
        let size = incoming::size(text, client.dialect(), self.parse_limits.max_values());
        match incoming::resume_bytes(text, client.dialect()) {
            // The rooms of a resume have a limit of their own.
            Some(bytes) => parsed.claim_bytes(bytes).await?,
            None => parsed.claim(size).await?,
        }
        let incoming = incoming::read(text, client.dialect(), self.shared.body_limit)?;
        if let Incoming::Request(Request { url, .. }) = &incoming
            && let Some((_, query)) = url.split_once('?')
        {
            parsed.claim(size.with(JsonSize::of_query(query))).await?;
        }
        let budget = Arc::clone(&self.shared.output_budget);
        let memory = AnswerClaim::new(budget, client.address(), may_write(&incoming));
        let may_be_dropped = !may_write(&incoming) && self.changes_nothing(&incoming);
        if !may_write(&incoming) {
            turn.wait_until_alone().await;
            // A write that came completely is committed. Nobody waits for the answer to anything
            // else.
            if !client.is_connected() && may_be_dropped {
                return Ok(Answer::new(null_ack(), None));
            }
        }
        let rooms = RequestRooms::default();
        let claims = (&memory, &parsed);
        let arguments = match incoming {
            Incoming::Request(request) if may_be_dropped => tokio::select! {
                biased;
                answer = self.route(client, request, turn, claims, &rooms) => answer?,
                // Nobody waits for the answer any more, and the request may take long.
                () = client.gone() => null_ack(),
            },
            Incoming::Request(request) => self.route(client, request, turn, claims, &rooms).await?,
            Incoming::Resume(rooms) => {
                let max_bytes = self.shared.body_limit * TOLERANCE;
                let answer = tokio::select! {
                    biased;
                    // Nobody waits for the answer any more, and it may take many reads.
                    () = client.gone() => return Ok(Answer::new(null_ack(), None)),
                    answer = resume(&self.shared, client, rooms, max_bytes, &memory) => answer?,
                };
                // Rooms for whose changes there was no memory are answered as well.
                memory.set_required(true);
                Arguments::One(answer)
            }
            Incoming::Delivered(upto) => {
                client.delivered(upto);
                null_ack()
            }
            Incoming::Unsubscribe(room) => {
                Room::parse(&room).iter().for_each(|room| client.leave(room));
                null_ack()
            }
        };
        let claim = memory.finish(arguments.size())?;
        rooms.keep();
        Ok(Answer::new(arguments, claim))
    }

    /// Whether this event has no effect but its answer.
    fn changes_nothing(&self, incoming: &Incoming<'_>) -> bool {
        match incoming {
            Incoming::Request(_) => !self.shared.routing.writes_with_get(),
            Incoming::Resume(_) => true,
            Incoming::Unsubscribe(_) | Incoming::Delivered(_) => false,
        }
    }

    async fn route(
        &self,
        client: &Client,
        request: Request<'_>,
        turn: &Turn,
        (memory, parsed): (&AnswerClaim, &ParseClaim),
        rooms: &RequestRooms,
    ) -> Result<Arguments> {
        let url = match client.url_in_router(request.url) {
            Ok(url) => url,
            Err(error) => return to_arguments(client, error.into_response()).await,
        };
        let mut request = Request { url, ..request }.into_http()?;
        client.copy_handshake_headers(request.headers_mut());
        request.extensions_mut().insert(client.clone());
        request.extensions_mut().insert(turn.clone());
        request.extensions_mut().insert(memory.clone());
        request.extensions_mut().insert(parsed.clone());
        request.extensions_mut().insert(rooms.clone());
        let mut request = emulation::rewrite(request, self.shared.body_limit).await?;
        if self.shared.sessions.csrf_tokens().is_some() {
            // Boxed, because otherwise every request would reserve memory for this future.
            request = match Box::pin(csrf::check(&self.shared, request)).await {
                Ok(request) => request,
                Err(error) => return to_arguments(client, error.into_response()).await,
            };
        }
        let response = self.routes.answer(request).await;
        self.shared.limits.refused(response.extensions(), client.address());
        if response.status().is_client_error() || response.status().is_server_error() {
            rooms.leave();
        }
        // In Sails 0.9 the pushes of a request arrive before its answer.
        if client.dialect() == Dialect::Sails09 && client.follows_records() {
            self.shared.barriers.pass().await;
        }
        to_arguments(client, response).await
    }
}

/// Returns a response in the dialect of a client.
async fn to_arguments(client: &Client, response: Response) -> Result<Arguments> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Error::BadAnswer(error.to_string()))?;
    let body = body.to_bytes();
    client.dialect().ack(parts.status, &parts.headers, body)
}

/// Returns the answer to a resume of no rooms.
pub(crate) fn to_probe() -> Answer {
    let no_rooms = RawValue::from_string("[]".to_owned()).expect("it is JSON");
    Answer::new(Arguments::One(no_rooms), None)
}

fn null_ack() -> Arguments {
    Arguments::One(RawValue::NULL.to_owned())
}

/// Whether this may be a write of a built-in route. A write of a user's route waits for its turn by
/// itself.
fn may_write(incoming: &Incoming<'_>) -> bool {
    matches!(incoming, Incoming::Request(request) if !answer_claim::is_read(&request.method))
}
