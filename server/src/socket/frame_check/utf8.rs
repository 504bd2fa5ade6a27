//! Checks whether masked text that arrives in parts is UTF-8.

use std::str;

/// How many bytes are unmasked at once. A multiple of the size of a mask.
const BLOCK: usize = 256;

/// The maximum size of an incomplete character.
const MAX_INCOMPLETE: usize = 3;

/// The mask of the next bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) fn new(mask: [u8; 4]) -> Self {
        Self(mask)
    }

    /// Copies bytes without their mask.
    pub(super) fn unmask(self, masked: &[u8], bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut();
        let (masked_words, masked_rest) = masked.as_chunks();
        let mask = u32::from_ne_bytes(self.0);
        for (word, masked) in words.iter_mut().zip(masked_words) {
            *word = (u32::from_ne_bytes(*masked) ^ mask).to_ne_bytes();
        }
        for ((byte, masked), mask) in rest.iter_mut().zip(masked_rest).zip(self.0) {
            *byte = masked ^ mask;
        }
    }

    /// Advances the mask by this many bytes.
    pub(super) fn advance(&mut self, count: usize) {
        self.0.rotate_left(count % 4);
    }
}

/// Checks a text that arrives in parts.
#[derive(Debug, Default)]
pub(super) struct Utf8Checker {
    /// The beginning of a character that is not complete.
    incomplete: [u8; MAX_INCOMPLETE],
    count: usize,
}

/// The text cannot be UTF-8, whatever follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8Checker {
    /// Checks the next part.
    pub(super) fn check(&mut self, masked: &[u8], mask: Mask) -> Result<(), NotUtf8> {
        let mut buffer = [0; MAX_INCOMPLETE + BLOCK];
        for block in masked.chunks(BLOCK) {
            let text = &mut buffer[..self.count + block.len()];
            let (incomplete, rest) = text.split_at_mut(self.count);
            incomplete.copy_from_slice(&self.incomplete[..self.count]);
            mask.unmask(block, rest);
            self.keep(incomplete_end(text)?);
        }
        Ok(())
    }

    /// Whether the text so far ends in the middle of a character.
    pub(super) fn is_incomplete(&self) -> bool {
        self.count > 0
    }

    fn keep(&mut self, incomplete: &[u8]) {
        self.count = incomplete.len();
        self.incomplete[..self.count].copy_from_slice(incomplete);
    }
}

/// Returns the incomplete character at the end of a text.
fn incomplete_end(text: &[u8]) -> Result<&[u8], NotUtf8> {
    match str::from_utf8(text) {
        Ok(_) => Ok(&[]),
        Err(error) if error.error_len().is_none() => Ok(&text[error.valid_up_to()..]),
        Err(_) => Err(NotUtf8),
    }
}
