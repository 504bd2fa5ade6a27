//! The digest of a store: counts and a checksum that do not depend on the order of the items.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::item::Item;

/// A digest of items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// The number of items of each kind.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The sum of the hashes of all items.
    pub(super) sum: [u64; 4],
}

impl Digest {
    pub(super) fn add(&mut self, item: &Item) {
        *self.counts.entry(item.kind()).or_default() += 1;
        let text = serde_json::to_vec(item).expect("items have no maps with other keys than texts");
        let hash = Sha256::digest(&text);
        for (sum, part) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let part = part.try_into().map_or(0, u64::from_le_bytes);
            *sum = sum.wrapping_add(part);
        }
    }

    /// Returns how a copy differs, if it does.
    pub(super) fn differs_from(&self, copy: &Self) -> Option<String> {
        let kinds: BTreeSet<_> = self.counts.keys().chain(copy.counts.keys()).collect();
        let count = |digest: &Self, kind| digest.counts.get(kind).copied().unwrap_or_default();
        for kind in kinds {
            let (source, copy) = (count(self, kind), count(copy, kind));
            if source != copy {
                return Some(format!("{kind}: {copy} instead of {source}"));
            }
        }
        (self.sum != copy.sum).then(|| "the checksums differ".to_owned())
    }
}

/// Returns a checksum as text.
pub(super) fn hexadecimal(sum: [u64; 4]) -> String {
    sum.iter().map(|part| format!("{part:016x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64, epoch: u64) -> Item {
        Item::Epoch { number, epoch }
    }

    fn digest(items: &[Item]) -> Digest {
        let mut digest = Digest::default();
        items.iter().for_each(|item| digest.add(item));
        digest
    }

    #[test]
    fn digest_does_not_depend_on_the_order_and_detects_each_difference() {
        let source = digest(&[epoch(1, 7), epoch(2, 8)]);
        assert_eq!(source, digest(&[epoch(2, 8), epoch(1, 7)]));
        let difference = |items: &[Item]| source.differs_from(&digest(items)).unwrap();
        assert_eq!(difference(&[epoch(1, 7)]), "epochs: 1 instead of 2");
        assert_eq!(difference(&[epoch(1, 8), epoch(2, 7)]), "the checksums differ");
        assert_eq!(difference(&[epoch(1, 7), epoch(1, 7)]), "the checksums differ");
        let other = [epoch(1, 7), Item::LastDelivery(8)];
        assert_eq!(difference(&other), "counters: 1 instead of 0");
        assert_eq!(source.differs_from(&source), None);
    }
}
