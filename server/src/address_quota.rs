//! How often each address did something within an hour.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use backwire_environment::HashMap;
use parking_lot::Mutex;

/// After this time, all counts begin again.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Addresses that are counted. With more, all counts begin again, so that the memory has a bound.
const MAX_ADDRESSES: usize = 100_000;

/// Counts what each address did in the current hour.
#[derive(Debug)]
pub(crate) struct AddressQuota {
    max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begin: Option<Instant>,
    by_address: HashMap<Option<IpAddr>, usize>,
}

impl AddressQuota {
    /// Creates a quota. `max` is how often an address may do something in an hour.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, counts: Mutex::default() }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Counts one more time for an address. Returns whether the quota allows it.
    pub(crate) fn take(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut counts = self.counts.lock();
        counts.begin_again(now);
        let count = counts.by_address.entry(address).or_default();
        let is_allowed = *count < self.max;
        *count += usize::from(is_allowed);
        is_allowed
    }
}

impl Counts {
    fn begin_again(&mut self, now: Instant) {
        let is_over = self.begin.is_none_or(|begin| now - begin >= PERIOD);
        if is_over || self.by_address.len() >= MAX_ADDRESSES {
            self.begin = Some(now);
            self.by_address = HashMap::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_of_an_address_begins_again_after_an_hour() {
        let (quota, begin) = (AddressQuota::new(2), Instant::now());
        let [first, second] = [1, 2].map(|number| Some([10, 0, 0, number].into()));
        assert_eq!([first; 3].map(|address| quota.take(address, begin)), [true, true, false]);
        assert!(quota.take(second, begin));
        assert!(quota.take(first, begin + PERIOD));
    }

    #[test]
    fn number_of_addresses_is_bounded() {
        let (quota, now) = (AddressQuota::new(1), Instant::now());
        for number in 0..=MAX_ADDRESSES as u32 {
            assert!(quota.take(Some(std::net::Ipv4Addr::from_bits(number).into()), now));
        }
        assert_eq!(quota.counts.lock().by_address.len(), 1);
    }
}
