//! The writer: one task per node takes the queued writes and commits them in groups.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use backwire_records::change::Position;
use backwire_records::write::{Action, WriteError};
use redis::Value;

use super::cache::Cache;
use super::connection::{Commands, Connection};
use super::delivery::Delivery;
use super::group::{Decided, Group, parsed_bytes};
use super::handshake::Epoch;
use super::indexes;
use super::job::Job;
use super::known::Known;
use super::link::is_out_of_memory;
use super::operation::{NextId, Operation, json};
use super::repeats;
use super::reply::{Reply, parse};
use super::requests::{Queued, Receiver, Request, Requests, queue};
use super::runtime::spawn_detached;
use super::script::{self, Call};
use super::states::{StateReader, States};
use crate::counters::MAX_COUNTED_ID;
use crate::{CommitOutcome, Error, Window};

/// The maximum number of writes in one group: enough to share a round trip, few enough that Redis
/// serves others soon.
const MAX_GROUP_WRITES: usize = 128;

/// A group with this many bytes of arguments takes no more writes.
const MAX_GROUP_BYTES: usize = 512 << 10;

/// The maximum number of conflicts of one write with those of other nodes.
const MAX_CONFLICTS: u32 = 5;

/// The writer.
pub(super) struct Writer {
    pub(super) commands: Arc<Commands>,
    pub(super) known: Arc<Known>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) window: Window,
    pub(super) cache: Cache,
}

impl Writer {
    /// Starts the task, which ends when the returned queue is dropped.
    pub(super) fn spawn(self) -> Requests {
        let (queue, requests) = queue();
        spawn_detached(self.run(requests));
        queue
    }

    async fn run(mut self, requests: Receiver) {
        let mut jobs = VecDeque::new();
        while let Some(first) = requests.wait().await {
            let mut next = Some(first);
            while let Some(queued) = next {
                self.take(queued, &mut jobs).await;
                let has_room = jobs.len() < MAX_GROUP_WRITES;
                next = has_room.then(|| requests.next()).flatten();
            }
            self.commit_all(&mut jobs).await;
        }
    }

    /// Adds a write to the next group, or looks a key up.
    async fn take(&mut self, Queued { request, since }: Queued, jobs: &mut VecDeque<Job>) {
        match request {
            Request::Write(write, answer) => jobs.push_back(Job::new(*write, answer, since)),
            Request::Lookup(lookup, answer) => {
                // The writes that were queued before come first.
                self.commit_all(jobs).await;
                let found = repeats::lookup(&self.commands, &self.window, &lookup).await;
                // The caller may have gone away.
                let _ = answer.send(found);
            }
        }
    }

    async fn commit_all(&mut self, jobs: &mut VecDeque<Job>) {
        while !jobs.is_empty() {
            self.delivery.room().await;
            self.expire(jobs);
            if jobs.is_empty() {
                return;
            }
            if let Err(error) = self.commit(jobs).await {
                self.fail(jobs, &error);
            }
        }
    }

    /// Fails the writes of a group. If Redis has no memory left, those that need none stay.
    fn fail(&mut self, jobs: &mut VecDeque<Job>, error: &Error) {
        // The outcome of the writes that were sent is unknown.
        self.cache.clear();
        let is_full = is_out_of_memory(error);
        let is_mixed = jobs.iter().any(|job| !job.makes_room());
        for job in mem::take(jobs) {
            match is_full && is_mixed && job.makes_room() {
                true => jobs.push_back(job),
                false => job.fail(error),
            }
        }
    }

    /// Fails the writes that have waited so long that their callers have gone away.
    fn expire(&self, jobs: &mut VecDeque<Job>) {
        let deadline = self.commands.link.deadline;
        while let Some(job) = jobs.pop_front_if(|job| job.since.elapsed() > 2 * deadline) {
            job.fail(&waited(deadline));
        }
    }

    /// Commits the first of some writes, and answers them. The others stay.
    async fn commit(&mut self, jobs: &mut VecDeque<Job>) -> Result<(), Error> {
        self.make_indexes(jobs).await?;
        let connection = self.commands.connection().await?;
        self.cache.begin(connection.epoch);
        let (commands, known, cache) = (&self.commands, &self.known, &self.cache);
        let reader = StateReader { commands, connection: &connection, known, cache };
        let states = reader.read(jobs).await?;
        let (decided, call) = self.decide(&connection, jobs, &states)?;
        let results = match call {
            Some(call) => self.commands.run_on(&connection, &call).await?,
            None => Value::Nil,
        };
        self.answer(&connection, jobs, decided, Reply::list(results)?).await
    }

    /// Decides the first of some writes. Returns the decisions, and the call that commits them if
    /// there is something to commit.
    fn decide(
        &mut self,
        connection: &Connection,
        jobs: &mut VecDeque<Job>,
        states: &States,
    ) -> Result<(Vec<Decided>, Option<Call>), Error> {
        let mut group = Group::new(connection.epoch, &self.window, &self.known, &mut self.cache);
        let (mut decided, mut operations) = (Vec::new(), Call::new(&script::COMMIT));
        let mut count = 0;
        for (number, job) in jobs.iter_mut().enumerate() {
            let decision = group.decide(&job.candidate(states.get(&number)))?;
            match &decision {
                Decided::Later => {
                    job.reads = true;
                    break;
                }
                Decided::Operation(operation) => {
                    job.claimed = job.claimed.max(operation.bytes);
                    operation.add_to(&mut operations);
                    count += 1;
                }
                Decided::Final(_) | Decided::Repeated(_) => {}
            }
            decided.push(decision);
            if operations.bytes() > MAX_GROUP_BYTES {
                break;
            }
        }
        let mut call = begin_call(connection.epoch, &self.window);
        call.add(count).append(operations);
        if jobs.iter().take(decided.len()).all(Job::makes_room) {
            call = call.by(&script::COMMIT_WITHOUT_ROOM);
        }
        Ok((decided, (count > 0).then_some(call)))
    }

    /// Answers the writes of a group, up to the first that conflicts with those of another node.
    async fn answer(
        &mut self,
        connection: &Connection,
        jobs: &mut VecDeque<Job>,
        decided: Vec<Decided>,
        mut results: Reply,
    ) -> Result<(), Error> {
        let mut is_first = true;
        for decided in decided {
            let Some(mut job) = jobs.pop_front() else { break };
            match decided {
                Decided::Final(outcome) => job.answer(outcome),
                Decided::Repeated(written) => {
                    let write = &job.write;
                    let found = repeats::answer(&self.commands, &self.known, written, write).await;
                    job.answer(found);
                }
                Decided::Later => {}
                Decided::Operation(operation) => {
                    let status = results.text()?;
                    let values = [results.text()?, results.text()?, results.text()?];
                    if status == "x" {
                        self.resolve(connection, &mut job, &operation, &values[0], is_first).await;
                        if job.conflicts > MAX_CONFLICTS {
                            job.fail(&busy());
                        } else {
                            jobs.push_front(job);
                        }
                        return Ok(());
                    }
                    self.finish(job, *operation, &status, &values)?;
                    is_first = false;
                }
            }
        }
        Ok(())
    }

    /// Prepares a write for another attempt. Only conflicts with other nodes count.
    async fn resolve(
        &mut self,
        connection: &Connection,
        job: &mut Job,
        operation: &Operation,
        reason: &str,
        is_first: bool,
    ) {
        let resource = &operation.change.resource;
        self.cache.forget(resource, &operation.change.id);
        self.cache.forget_next(resource);
        if reason == "epoch" {
            self.commands.drop_connection(connection).await;
        }
        job.conflicts += u32::from(is_first);
        // An id that is reserved is lost if the write is refused. So none is because the cache was
        // out of date: another node has to create records all the time.
        let has_lost_id = job.reads && matches!(reason, "next" | "record");
        let is_counted = matches!(operation.next, Some(NextId::Counter(_)));
        job.reserves |= is_first && is_counted && has_lost_id;
        job.reads = true;
    }

    /// Answers a write that was committed, or refused by the script.
    fn finish(
        &mut self,
        job: Job,
        operation: Operation,
        status: &str,
        [offset, previous, next]: &[String; 3],
    ) -> Result<(), Error> {
        let Operation { mut change, limits, .. } = operation;
        let resource = change.resource.clone();
        match status {
            "r" => {
                let limit = limits.per_resource;
                job.answer(Err(WriteError::TooManyOfResource { resource, limit }.into()));
            }
            "t" => {
                job.answer(Err(WriteError::TooManyRecords { limit: limits.total }.into()));
            }
            "u" => {
                change.position.offset = parse(offset)?;
                change.previous = parse(previous)?;
                job.answer(Ok(CommitOutcome::unchanged(change)));
            }
            _ => {
                change.position = Position { offset: parse(offset)?, ..change.position };
                change.previous = parse(previous)?;
                let bytes = change.after.as_deref().map_or(0, |it| parsed_bytes(&json(it)));
                self.cache.remember(&change, parse(next)?, bytes);
                self.delivery.answer_after(CommitOutcome::changed(change.into()), job.answer);
            }
        }
        Ok(())
    }

    /// Makes the indexes that the writes need.
    async fn make_indexes(&self, jobs: &VecDeque<Job>) -> Result<(), Error> {
        for Job { write, .. } in jobs {
            for (attribute, _) in write.unique_values(None) {
                indexes::ensure(&self.commands, &self.known, &write.resource, &attribute).await?;
            }
            if matches!(write.action, Action::Destroy(_)) {
                for reference in &write.references {
                    let (resource, attribute) = (&reference.resource, &reference.attribute);
                    indexes::ensure(&self.commands, &self.known, resource, attribute).await?;
                }
            }
        }
        Ok(())
    }
}

fn begin_call(Epoch { epoch, number }: Epoch, window: &Window) -> Call {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Call::new(&script::COMMIT)
        .with(number)
        .with(epoch)
        .with(window.count)
        .with(window.bytes)
        .with(millis(window.age))
        .with(millis(window.ledger_age))
        .with(window.ledger_bytes)
        .with(MAX_COUNTED_ID)
}

fn waited(deadline: Duration) -> Error {
    Error::Unavailable(format!("the write waited longer than {:?} for Redis", 2 * deadline))
}

fn busy() -> Error {
    Error::Unavailable(
        "other servers write the same data all the time: try again in a moment".to_owned(),
    )
}
