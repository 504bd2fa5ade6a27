//! How long deliveries are kept, and how much of them is told at once.

/// How long what waits for somebody who is away is kept: `client_ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(u64);

impl Ttl {
    /// So many seconds; 0 is for ever.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// When it is over if it begins at a time in Unix milliseconds; what is for ever never is.
    pub fn end(self, begin: u64) -> u64 {
        match self.0 {
            0 => u64::MAX,
            seconds => begin.saturating_add(seconds.saturating_mul(1000)),
        }
    }

    /// The seconds it was made of.
    pub fn as_seconds(self) -> u64 {
        self.0
    }
}

/// How much goes into one batch. The first always does, however large it is: it would never go out
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// At most so many deliveries,
    pub count: usize,
    /// of at most so many bytes, names of events and arguments together.
    pub bytes: usize,
}

impl Portion {
    /// Takes from a source as much as fits, each with its size, and says whether there is more.
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
    fn a_ttl_of_0_is_for_ever() {
        assert_eq!(Ttl::seconds(0).end(5), u64::MAX);
        assert_eq!(Ttl::seconds(2).end(5), 2005);
        assert_eq!(Ttl::seconds(u64::MAX).end(5), u64::MAX);
    }

    fn take(count: usize, bytes: usize, sizes: &[usize]) -> (Vec<usize>, bool) {
        let source = sizes.iter().map(|size| Ok::<_, Infallible>((*size, *size)));
        let Ok(taken) = Portion { count, bytes }.take(source);
        taken
    }

    #[test]
    fn a_portion_ends_before_what_does_not_fit() {
        assert_eq!(take(2, 100, &[1, 2, 3]), (vec![1, 2], true));
        assert_eq!(take(9, 3, &[1, 2, 3]), (vec![1, 2], true));
        assert_eq!(take(3, 6, &[1, 2, 3]), (vec![1, 2, 3], false));
        assert_eq!(take(1, 1, &[]), (vec![], false));
    }

    #[test]
    fn the_first_is_taken_however_large_it_is() {
        assert_eq!(take(9, 3, &[7, 1]), (vec![7], true));
        assert_eq!(take(0, 0, &[7]), (vec![7], false));
    }
}
