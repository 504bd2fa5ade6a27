//! The deadline of a read.

use std::time::Duration;

use super::runtime::{self, Moment};
use crate::{Error, ReadOptions};

/// The time of a read. It is spent from the time of its request when the read ends.
pub(super) struct ReadClock<'a> {
    begin: Moment,
    deadline: Duration,
    options: &'a ReadOptions,
}

impl<'a> ReadClock<'a> {
    pub(super) fn begin(deadline: Duration, options: &'a ReadOptions) -> Self {
        Self { begin: Moment::now(), deadline, options }
    }

    fn left(&self) -> Duration {
        self.options.time.left_of(self.deadline).saturating_sub(self.begin.elapsed())
    }

    /// Returns an error if the read has to end.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.left().is_zero() {
            true => Err(Error::ReadDeadline(self.deadline)),
            false => Ok(()),
        }
    }

    /// Waits for a part of the read.
    pub(super) async fn within<T>(
        &self,
        part: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match runtime::within(self.left(), part).await {
            Some(outcome) => outcome,
            None => Err(Error::ReadDeadline(self.deadline)),
        }
    }
}

impl Drop for ReadClock<'_> {
    fn drop(&mut self) {
        self.options.time.spend(self.begin.elapsed());
    }
}
