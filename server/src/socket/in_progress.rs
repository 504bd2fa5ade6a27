//! The events of one connection that are being answered.
//!
//! Their answers are sent in the order of their arrival, except those of the events that have left
//! the order (see `turn`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt};

use super::inbox::BegunEvent;
use super::turn::{Turn, Turns};
use crate::answer::Answer;
use crate::error::Error;

/// The maximum number of events that have left the order. If there are so many, no other event
/// begins.
const MAX_CONCURRENT: usize = 16;

/// An event and its answer.
pub(super) type Reply = (BegunEvent, Result<Answer, Error>);

/// The answer of an event, or `None` if the event has left the order.
pub(super) type Progress = Option<Reply>;

#[derive(Default)]
pub(super) struct InProgress<'a> {
    turns: Turns,
    /// The events of these turns.
    ordered: FuturesOrdered<OrderedEvent<'a>>,
    /// The events that have left the order.
    concurrent: FuturesUnordered<BoxFuture<'a, Reply>>,
}

impl<'a> InProgress<'a> {
    pub(super) fn len(&self) -> usize {
        self.turns.len() + self.concurrent.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are events that have not left the order.
    pub(super) fn has_ordered(&self) -> bool {
        self.turns.len() > 0
    }

    /// Whether one more event may begin.
    pub(super) fn can_begin(&self) -> bool {
        self.concurrent.len() < MAX_CONCURRENT && self.turns.can_begin()
    }

    /// Begins an event. `answer` gets its turn.
    pub(super) fn begin(&mut self, answer: impl FnOnce(Turn) -> BoxFuture<'a, Reply>) {
        let turn = self.turns.begin(!self.concurrent.is_empty());
        let answer = Some(answer(turn.clone()));
        self.ordered.push_back(OrderedEvent { answer, turn });
    }
}

impl Stream for InProgress<'_> {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        if let Poll::Ready(Some(outcome)) = self.ordered.poll_next_unpin(cx) {
            self.turns.end();
            return Poll::Ready(Some(match outcome {
                Ok(reply) => Some(reply),
                Err(answer) => {
                    self.concurrent.push(answer);
                    None
                }
            }));
        }
        let reply = match self.concurrent.poll_next_unpin(cx) {
            Poll::Ready(None) if self.has_ordered() => Poll::Pending,
            reply => reply,
        };
        Poll::Ready(ready!(reply).map(Some))
    }
}

/// An event until it is answered or leaves the order.
struct OrderedEvent<'a> {
    /// Taken when this is done.
    answer: Option<BoxFuture<'a, Reply>>,
    turn: Turn,
}

/// The answer of an event, or the future of the answer if the event has left the order.
type Outcome<'a> = Result<Reply, BoxFuture<'a, Reply>>;

impl<'a> Future for OrderedEvent<'a> {
    type Output = Outcome<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<'a>> {
        let answer = self.answer.as_mut().expect("it is polled until it is done");
        if let Poll::Ready(reply) = answer.poll_unpin(cx) {
            return Poll::Ready(Ok(reply));
        }
        if !self.turn.has_left() {
            return Poll::Pending;
        }
        self.answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Err(answer)))
    }
}
