//! How long deliveries are kept, and the limits of a batch of them.

/// How long the deliveries of a device that is away are kept: `client_ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(u64);

impl Ttl {
    /// Returns a time to live of this many seconds; 0 means for ever.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the time at which it ends if it begins at `begin`, in Unix milliseconds. One that
    /// lasts for ever ends at `u64::MAX`.
    pub fn end(self, begin: u64) -> u64 {
        match self.0 {
            0 => u64::MAX,
            seconds => begin.saturating_add(seconds.saturating_mul(1000)),
        }
    }

    /// Returns the seconds.
    pub fn as_seconds(self) -> u64 {
        self.0
    }
}

/// The limits of one batch. The first delivery is always in the batch, however large it is:
/// otherwise it would never be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The maximum number of deliveries.
    pub count: usize,
    /// The maximum bytes of all event names and arguments together.
    pub bytes: usize,
}

impl BatchLimits {
    /// Takes items from a source as long as they fit. The source returns each item with its size.
    /// Returns the items and whether the source has more.
    pub fn take<T, E>(
        self,
        source: impl IntoIterator<Item = Result<(T, usize), E>>,
    ) -> Result<(Vec<T>, bool), E> {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        for item in source {
            let (item, size) = item?;
            bytes = bytes.saturating_add(size);
            let fits = taken.len() < self.count && bytes <= self.bytes;
            if !fits && !taken.is_empty() {
                return Ok((taken, true));
            }
            taken.push(item);
        }
        Ok((taken, false))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn ttl_of_0_never_ends() {
        assert_eq!(Ttl::seconds(0).end(5), u64::MAX);
        assert_eq!(Ttl::seconds(2).end(5), 2005);
        assert_eq!(Ttl::seconds(u64::MAX).end(5), u64::MAX);
    }

    fn take(count: usize, bytes: usize, sizes: &[usize]) -> (Vec<usize>, bool) {
        let source = sizes.iter().map(|size| Ok::<_, Infallible>((*size, *size)));
        let Ok(taken) = BatchLimits { count, bytes }.take(source);
        taken
    }

    #[test]
    fn batch_ends_before_the_item_that_does_not_fit() {
        assert_eq!(take(2, 100, &[1, 2, 3]), (vec![1, 2], true));
        assert_eq!(take(9, 3, &[1, 2, 3]), (vec![1, 2], true));
        assert_eq!(take(3, 6, &[1, 2, 3]), (vec![1, 2, 3], false));
        assert_eq!(take(1, 1, &[]), (vec![], false));
    }

    #[test]
    fn first_item_is_taken_however_large_it_is() {
        assert_eq!(take(9, 3, &[7, 1]), (vec![7], true));
        assert_eq!(take(0, 0, &[7]), (vec![7], false));
    }
}
