//! A small map by name, and a small queue.
//!
//! Those of the standard library do more than is needed here. Every visitor downloads the module,
//! and they would add three times the size of the rest of the core.

/// A map by name, stored as two sorted vectors. A client has tens of names, or sometimes thousands.
#[derive(Debug)]
pub(crate) struct NameMap<V> {
    names: Vec<String>,
    /// Each value has the index of its name.
    values: Vec<V>,
}

impl<V> NameMap<V> {
    pub(crate) const fn new() -> Self {
        Self { names: Vec::new(), values: Vec::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.values.get(find(&self.names, name).ok()?)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.values.get_mut(find(&self.names, name).ok()?)
    }

    pub(crate) fn get_or_insert(&mut self, name: &str, make: fn() -> V) -> &mut V {
        let at = find(&self.names, name).unwrap_or_else(|at| {
            self.names.insert(at, name.into());
            self.values.insert(at, make());
            at
        });
        &mut self.values[at]
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Ok(at) = find(&self.names, name) {
            self.names.remove(at);
            self.values.remove(at);
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        let mut at = 0;
        while let (Some(name), Some(value)) = (self.names.get(at), self.values.get(at)) {
            if keep(name, value) {
                at += 1;
            } else {
                self.names.remove(at);
                self.values.remove(at);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut V)> {
        self.names.iter().zip(&mut self.values)
    }

    /// Returns a copy of the names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Returns whether a name starts with this prefix.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        let at = find(&self.names, prefix).unwrap_or_else(|at| at);
        self.names.get(at).is_some_and(|name| name.as_bytes().starts_with(prefix.as_bytes()))
    }
}

fn find(names: &[String], name: &str) -> Result<usize, usize> {
    names.binary_search_by(|other| other.as_str().cmp(name))
}

/// A first-in, first-out queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// In reverse order.
    front: Vec<T>,
    back: Vec<T>,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { front: Vec::new(), back: Vec::new() }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.back.push(item);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.front.is_empty() {
            core::mem::swap(&mut self.front, &mut self.back);
            self.front.reverse();
        }
        self.front.pop()
    }

    /// Returns the last pushed item, if no item was removed since.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.back.last_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn name_map_equals_a_btree_map(acts in prop::collection::vec(("[a-c]{0,2}(/[ab])?", 0..3u8), 0..60)) {
            let mut names = NameMap::new();
            let mut model = BTreeMap::new();
            for (count, (name, act)) in acts.iter().enumerate() {
                match act {
                    0 => {
                        *names.get_or_insert(name, || 0) = count;
                        model.insert(name.clone(), count);
                    }
                    1 => {
                        names.remove(name);
                        model.remove(name);
                    }
                    _ => prop_assert_eq!(names.get(name), model.get(name)),
                }
                let has_prefix = model.keys().any(|key| key.starts_with(name.as_str()));
                prop_assert_eq!(names.has_prefix(name), has_prefix);
                let keys: Vec<_> = model.keys().cloned().collect();
                prop_assert_eq!(names.names(), keys);
            }
        }

        #[test]
        fn queue_is_first_in_first_out(acts in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut queue = Queue::new();
            let mut model = VecDeque::new();
            for (count, push) in acts.into_iter().enumerate() {
                if push {
                    queue.push(count);
                    model.push_back(count);
                } else {
                    prop_assert_eq!(queue.pop(), model.pop_front());
                }
            }
        }
    }
}
