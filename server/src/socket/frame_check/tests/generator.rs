//! Random frames of a client.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{FrameChecker, MAX};

/// Frames one after another.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    /// The range of bytes of each frame.
    pub(super) places: Vec<Range<usize>>,
}

impl Frames {
    pub(super) fn push(&mut self, frame: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.places.push(begin..self.bytes.len());
    }

    /// Returns the number of the frame that a byte is in.
    pub(super) fn number(&self, byte: usize) -> usize {
        self.places.iter().position(|place| place.contains(&byte)).unwrap()
    }

    /// Returns the number of the first close frame, according to the checker.
    pub(super) fn close(&self, max: usize) -> usize {
        let mut checker = FrameChecker::new(max);
        let is_close = |place: &Range<usize>| {
            checker.check(&self.bytes[place.clone()]).unwrap();
            checker.is_closed()
        };
        self.places.iter().position(is_close).unwrap()
    }
}

/// Returns the header of a frame. Its length may take more bytes than it needs.
fn header(first: u8, mask: Option<[u8; 4]>, length: usize, size: usize) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut header = match size {
        0 => vec![first, masked | length as u8],
        2 => [&[first, masked | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    header.extend(mask.into_iter().flatten());
    header
}

/// Returns a frame of a client.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 22, 133, 244];
    let size = match payload.len() {
        0..126 => 0,
        126..65536 => 2,
        _ => 8,
    };
    let header = header(first, Some(mask), payload.len(), size);
    header.into_iter().chain(masked(payload, mask)).collect()
}

fn masked(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask)
}

/// Generates random frames, most of which are valid.
pub(super) struct Generator {
    random: StdRng,
    /// The rest of the current message, and whether its first frame was sent.
    message: Option<(Vec<u8>, bool)>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), message: None }
    }

    fn rarely(&mut self) -> bool {
        self.random.random_ratio(1, 40)
    }

    pub(super) fn frames(&mut self) -> Frames {
        self.message = None;
        let mut frames = Frames::default();
        for _ in 0..self.random.random_range(1..12) {
            frames.push(&self.frame());
        }
        frames
    }

    fn frame(&mut self) -> Vec<u8> {
        let (mut first, mut payload) =
            if self.random.random_ratio(1, 3) { self.control() } else { self.data() };
        for bit in [0x80, 0x40, 0x20, 0x10] {
            if self.random.random_ratio(1, 150) {
                first ^= bit;
            }
        }
        if self.rarely() {
            first ^= self.random.random_range(0..16);
        }
        let broken = self.random.random_range(0..payload.len().max(1));
        if let Some(byte) = payload.get_mut(broken).filter(|_| self.random.random_ratio(1, 20)) {
            *byte ^= 1 << self.random.random_range(0..8);
        }
        let sizes = [0, 2, 8].into_iter().filter(|size| *size > 0 || payload.len() < 126);
        let sizes: Vec<_> = sizes.collect();
        let size = if self.rarely() { *sizes.choose(&mut self.random).unwrap() } else { sizes[0] };
        let mask = (!self.rarely()).then(|| self.random.random::<[u8; 4]>());
        let header = header(first, mask, payload.len(), size);
        header.into_iter().chain(masked(&payload, mask.unwrap_or_default())).collect()
    }

    fn control(&mut self) -> (u8, Vec<u8>) {
        let opcode = *[9, 9, 10, 10, 8].choose(&mut self.random).unwrap();
        let length = match self.random.random_range(0..20) {
            0 => self.random.random_range(120..130),
            1 => self.random.random_range(0..3),
            _ => self.random.random_range(0..30),
        };
        let mut payload: Vec<u8> = (0..length).map(|_| b'x').collect();
        if opcode == 8 {
            let codes = [1000, 1001, 1003, 1004, 1005, 1006, 1007, 1013, 1014, 2999, 3000, 4999];
            let code = *codes.choose(&mut self.random).unwrap();
            let code = if self.rarely() { self.random.random() } else { code };
            let code = u16::to_be_bytes(code);
            payload.iter_mut().zip(code).for_each(|(byte, code)| *byte = code);
        }
        (0x80 | opcode, payload)
    }

    fn data(&mut self) -> (u8, Vec<u8>) {
        let is_new = self.message.is_none() || self.rarely();
        let is_text = self.random.random_ratio(3, 4);
        let (left, has_begun) = match self.message.take() {
            Some(message) if !is_new => message,
            _ => (self.payload(is_text), false),
        };
        let opcode = match (is_new, has_begun) {
            (true, _) | (_, false) => {
                if is_text {
                    1
                } else {
                    2
                }
            }
            _ => 0,
        };
        let is_final = self.random.random_ratio(1, 2);
        let end = if is_final { left.len() } else { self.random.random_range(0..=left.len()) };
        if !is_final {
            self.message = Some((left[end..].to_vec(), true));
        } else if self.rarely() {
            // A continuation without a message.
            self.message = Some((Vec::new(), true));
        }
        (if is_final { 0x80 } else { 0 } | opcode, left[..end].to_vec())
    }

    fn payload(&mut self, is_text: bool) -> Vec<u8> {
        let length = match self.random.random_range(0..20) {
            0 => self.random.random_range(MAX - 5..MAX + 5),
            1 => self.random.random_range(0..MAX),
            _ => self.random.random_range(0..20),
        };
        let mut text = String::new();
        while text.len() < length {
            text.push(*['x', 'ä', '€', '😀', '\0', '\u{10ffff}'].choose(&mut self.random).unwrap());
        }
        let bytes = text.into_bytes();
        if is_text { bytes } else { bytes.into_iter().rev().collect() }
    }
}
