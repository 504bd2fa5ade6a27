//! The lines of one request.

/// Lines in one request, which is also the server's limit.
const MAX_LINES: usize = 1000;

/// Bytes in one request after which no more lines are added to it: half of the server's default
/// limit.
const BATCH_BYTES: usize = 512 << 10;

/// Lines for one request, each with its number. Empty lines are skipped.
#[derive(Default)]
pub(super) struct LineBatch {
    pub(super) numbers: Vec<usize>,
    pub(super) body: String,
}

impl LineBatch {
    pub(super) fn add(&mut self, number: usize, line: &str) {
        if !line.trim().is_empty() {
            self.numbers.push(number);
            self.body.push_str(line);
            self.body.push('\n');
        }
    }

    /// Whether there is room for another line.
    pub(super) fn has_room(&self) -> bool {
        self.numbers.len() < MAX_LINES && self.body.len() < BATCH_BYTES
    }
}
