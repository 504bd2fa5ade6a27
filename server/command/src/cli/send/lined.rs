//! Lines that go into one request.

/// Lines in one request, which is what a server takes.
const MOST_LINES: usize = 1000;

/// Bytes in one request after which no more lines go into it: half of what a server takes by itself.
const MANY_BYTES: usize = 512 << 10;

/// Lines for one request, each with its number: empty ones are none.
#[derive(Default)]
pub(super) struct Lined {
    pub(super) numbers: Vec<usize>,
    pub(super) body: String,
}

impl Lined {
    pub(super) fn add(&mut self, number: usize, line: &str) {
        if !line.trim().is_empty() {
            self.numbers.push(number);
            self.body.push_str(line);
            self.body.push('\n');
        }
    }

    /// Whether there is room for another.
    pub(super) fn takes_more(&self) -> bool {
        self.numbers.len() < MOST_LINES && self.body.len() < MANY_BYTES
    }
}
