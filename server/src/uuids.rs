//! The ids that the server gives to new records: UUIDs of version 7, which grow with time.

use backwire_engine::Environment;
use parking_lot::Mutex;
use uuid::Uuid;

/// Bits of a UUID that are random or counted: 12 before the variant and 62 after it.
const TAIL_BITS: u32 = 74;

/// Bits after the variant.
const LOW_BITS: u32 = 62;

const VERSION: u128 = 7 << 76;
const VARIANT: u128 = 0b10 << LOW_BITS;

/// Makes UUIDs. Each is larger than the one before, also within a millisecond and if the clock goes
/// back.
#[derive(Debug)]
pub(crate) struct Uuids {
    environment: Environment,
    /// The milliseconds and the tail of the last one.
    last: Mutex<(u64, u128)>,
}

impl Uuids {
    pub(crate) fn new(environment: Environment) -> Self {
        Self { environment, last: Mutex::default() }
    }

    pub(crate) fn next(&self) -> Uuid {
        let (now, random) = (self.environment.unix_millis(), self.environment.random_u128());
        let mut last = self.last.lock();
        let (millis, tail) = *last;
        let (millis, tail) = match now > millis {
            // The first tail of a millisecond leaves room for larger ones.
            true => (now, random >> (u128::BITS - TAIL_BITS + 1)),
            false => (millis, tail + 1 + u128::from(random as u32)),
        };
        let (millis, tail) = match tail >> TAIL_BITS {
            0 => (millis, tail),
            _ => (millis + 1, random >> (u128::BITS - TAIL_BITS + 1)),
        };
        *last = (millis, tail);
        let (high, low) = (tail >> LOW_BITS, tail & ((1 << LOW_BITS) - 1));
        Uuid::from_u128(u128::from(millis) << 80 | VERSION | high << 64 | VARIANT | low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_valid_and_each_is_larger_than_the_one_before() {
        let uuids = Uuids::new(Environment::tokio());
        let mut last = Uuid::nil();
        for _ in 0..100_000 {
            let next = uuids.next();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert_eq!(last.get_version_num(), 7);
        assert_eq!(last.get_variant(), uuid::Variant::RFC4122);
        let (seconds, _) = last.get_timestamp().unwrap().to_unix();
        assert!(uuids.environment.unix_millis().abs_diff(seconds * 1_000) < 60_000);
    }
}
