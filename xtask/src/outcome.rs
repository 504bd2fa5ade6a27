//! The outcome of a check.

/// The outcome of a check that was made and has not failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How many tests passed.
    pub(crate) passed: usize,
    /// Parts that could not be checked on this machine, each with the reason.
    pub(crate) not_checked: Vec<String>,
}

impl Outcome {
    /// Adds something that could not be checked.
    pub(crate) fn without(mut self, not_checked: impl Into<String>) -> Self {
        self.not_checked.push(not_checked.into());
        self
    }
}

impl From<usize> for Outcome {
    fn from(passed: usize) -> Self {
        Self { passed, ..Self::default() }
    }
}
