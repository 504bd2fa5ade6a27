//! Questions to all other servers that share the store.
//!
//! A question is an event. Each server adds its answer to the stream of the asker, which the tail
//! of the asker follows. The servers that have to answer are those that hold a lease, so nobody
//! waits for a server that was killed longer ago than a lease lasts.

use std::sync::Arc;

use backwire_environment::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::events::MAX_EVENTS;
use super::reply::Reply;
use super::runtime::{self, Moment};
use super::script::{self, Call};
use super::steps::Steps;
use super::stored::unreadable;
use crate::{Answers, Error, Question};

/// The maximum number of answers in the stream of a server.
const MAX_ANSWERS: usize = 1_000;

/// How many seconds the answers to a server are kept.
const KEPT_SECONDS: u64 = 60;

/// The answer of one server.
struct Answer {
    /// The token of the server.
    by: String,
    text: String,
}

/// The questions of this server that are not answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    /// The token of the lease of this server.
    pub(super) token: String,
    open: Mutex<OpenQuestions>,
}

#[derive(Debug, Default)]
struct OpenQuestions {
    last: u64,
    answers: HashMap<u64, UnboundedSender<Answer>>,
}

/// A question until its answers are complete, or nobody waits for them.
struct OpenQuestion<'q> {
    questions: &'q Questions,
    number: u64,
    answers: UnboundedReceiver<Answer>,
}

impl Questions {
    pub(super) fn new(token: String) -> Arc<Self> {
        Arc::new(Self { token, open: Mutex::default() })
    }

    /// Asks all other servers, and waits for their answers within the deadline of a command.
    pub(super) async fn ask(&self, steps: &Steps, text: &str) -> Result<Answers, Error> {
        let begin = Moment::now();
        let mut question = self.open();
        let call = Call::new(&script::ASK).with(MAX_EVENTS).with(&self.token);
        let asked = steps.run(call.with(question.number).with(text)).await?;
        let mut others = HashSet::default();
        let mut tokens = Reply::list(asked)?;
        while let Ok(token) = tokens.text() {
            others.insert(token);
        }
        let mut texts = Vec::new();
        while !others.is_empty() {
            let left = steps.deadline.saturating_sub(begin.elapsed());
            let answer = runtime::within(left, question.answers.recv()).await.flatten();
            let Some(Answer { by, text }) = answer else { break };
            others.remove(&by);
            texts.push(text);
        }
        Ok(Answers { texts, missing: others.len() })
    }

    fn open(&self) -> OpenQuestion<'_> {
        let (sender, answers) = unbounded_channel();
        let mut open = self.open.lock();
        open.last += 1;
        let number = open.last;
        open.answers.insert(number, sender);
        OpenQuestion { questions: self, number, answers }
    }

    /// Answers a question of another server.
    pub(super) async fn answer(
        &self,
        steps: &Steps,
        question: &Question,
        text: &str,
    ) -> Result<(), Error> {
        let (asker, number) = question.0.split_once(' ').unwrap_or_default();
        let call = Call::new(&script::ANSWER).with(asker).with(number).with(&self.token);
        steps.run(call.with(text).with(MAX_ANSWERS).with(KEPT_SECONDS)).await.map(drop)
    }

    /// Receives new entries of the stream of answers. Returns the id of the last one.
    pub(super) fn receive(&self, entries: Reply) -> Result<Option<String>, Error> {
        let mut last = None;
        for entry in entries {
            let mut entry = Reply::list(entry)?;
            last = Some(entry.text()?);
            if let Err(error) = self.receive_answer(entry.next_list()?) {
                warn!("an answer of another server is not readable: {error}");
            }
        }
        Ok(last)
    }

    /// Receives an answer, as the script `answer.lua` writes it.
    fn receive_answer(&self, mut fields: Reply) -> Result<(), Error> {
        let [_, number, _, by, _, text] = [(); 6].map(|()| fields.text());
        let number: u64 = number?.parse().map_err(unreadable)?;
        // It may be late.
        if let Some(question) = self.open.lock().answers.get(&number) {
            let _ = question.send(Answer { by: by?, text: text? });
        }
        Ok(())
    }
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().answers.remove(&self.number);
    }
}
