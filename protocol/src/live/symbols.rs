//! Ids and rooms as numbers, and sets of them.
//!
//! A result may have many thousands of ids, and an id may be in many results. So each text is
//! stored once, and everything else is lists of numbers. A set consists of a mark at each of its
//! numbers. Starting another set invalidates the marks of the former one.

use super::names::{SEPARATOR, hash, next_item};

/// The number that stands for a text.
pub(super) type Symbol = u32;

/// An interner for texts, with one set of symbols at a time.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Texts by symbol. A free symbol has the empty text.
    texts: Vec<String>,
    free: Vec<Symbol>,
    /// A hash table with open addressing, at most half full. A slot has symbol + 1, or 0 if empty.
    slots: Vec<u32>,
    /// By symbol: the number of the last set that the symbol was added to.
    marks: Vec<u32>,
    /// The number of the current set.
    set: u32,
    /// Unused texts are forgotten when there are more texts than this.
    limit: usize,
}

impl Symbols {
    pub(super) const fn new() -> Self {
        Self {
            texts: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            marks: Vec::new(),
            set: 0,
            limit: 0,
        }
    }

    /// Returns the symbol of a text. The text must not be empty.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if self.texts.len() * 2 >= self.slots.len() {
            self.rehash();
        }
        let slot = self.slot(text);
        if self.slots[slot] == 0 {
            let symbol = self.unused();
            self.texts[symbol as usize] = text.into();
            self.slots[slot] = symbol + 1;
        }
        self.slots[slot] - 1
    }

    /// Returns the symbols of a joined list, without duplicates.
    pub(super) fn intern_list(&mut self, joined: &str) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        let mut rest = joined;
        while let Some(item) = next_item(&mut rest, SEPARATOR) {
            symbols.push(self.intern(item));
        }
        let mut unique = Vec::new();
        self.clear();
        self.add_to(&mut unique, &symbols);
        unique
    }

    pub(super) fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol as usize]
    }

    /// Returns the joined texts of the symbols.
    pub(super) fn join(&self, symbols: &[Symbol]) -> String {
        let mut joined = String::new();
        for symbol in symbols {
            if !joined.is_empty() {
                joined.push(SEPARATOR as char);
            }
            joined.push_str(self.text(*symbol));
        }
        joined
    }

    fn unused(&mut self) -> Symbol {
        self.free.pop().unwrap_or_else(|| {
            self.texts.push(String::new());
            self.marks.push(0);
            self.texts.len() as Symbol - 1
        })
    }

    /// Returns the slot of a text, or the slot where it would be inserted.
    fn slot(&self, text: &str) -> usize {
        let mut slot = hash(text) as usize;
        loop {
            slot &= self.slots.len() - 1;
            let symbol = self.slots[slot];
            if symbol == 0 || self.texts[symbol as usize - 1] == text {
                return slot;
            }
            slot += 1;
        }
    }

    fn rehash(&mut self) {
        self.slots = vec![0; (self.texts.len() * 4 + 2).next_power_of_two()];
        for at in 0..self.texts.len() {
            if !self.texts[at].is_empty() {
                let slot = self.slot(&self.texts[at]);
                self.slots[slot] = at as u32 + 1;
            }
        }
    }

    /// Begins a new, empty set.
    pub(super) fn clear(&mut self) {
        self.set += 1;
    }

    /// Returns the number of the current set, which no later set has.
    pub(super) const fn current(&self) -> u32 {
        self.set
    }

    /// Adds symbols to the set.
    pub(super) fn add(&mut self, symbols: &[Symbol]) {
        for symbol in symbols {
            self.marks[*symbol as usize] = self.set;
        }
    }

    /// Adds symbols to the set, and appends those that were not in the set to a list.
    pub(super) fn add_to(&mut self, list: &mut Vec<Symbol>, symbols: &[Symbol]) {
        for symbol in symbols {
            let mark = &mut self.marks[*symbol as usize];
            if *mark != self.set {
                *mark = self.set;
                list.push(*symbol);
            }
        }
    }

    /// Returns the symbols that are in the set, or those that are not.
    pub(super) fn filter(&self, symbols: &[Symbol], is_in_set: bool) -> Vec<Symbol> {
        let mut filtered = Vec::new();
        for symbol in symbols {
            if (self.marks[*symbol as usize] == self.set) == is_in_set {
                filtered.push(*symbol);
            }
        }
        filtered
    }

    /// Returns whether there are so many texts that unused ones should be forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.texts.len() - self.free.len() > self.limit
    }

    /// Forgets all texts that are not in the set.
    pub(super) fn forget_others(&mut self) {
        for at in 0..self.texts.len() {
            if self.marks[at] != self.set && !self.texts[at].is_empty() {
                self.texts[at] = String::new();
                self.free.push(at as Symbol);
            }
        }
        self.rehash();
        self.limit = (self.texts.len() - self.free.len()) * 2 + 1_000;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn symbol_identifies_its_text(texts in prop::collection::vec("[a-c]{1,4}", 0..200)) {
            let mut symbols = Symbols::new();
            for (count, text) in texts.iter().enumerate() {
                let symbol = symbols.intern(text);
                prop_assert_eq!(symbols.text(symbol), text);
                for other in &texts[..count] {
                    let is_same = symbols.intern(other) == symbol;
                    prop_assert_eq!(is_same, other == text);
                }
            }
        }

        #[test]
        fn texts_in_use_are_not_forgotten(kept in "[a-c]{1,3}", texts in prop::collection::vec("[a-c]{1,3}", 9)) {
            let mut symbols = Symbols::new();
            for text in &texts {
                symbols.intern(text);
            }
            let kept_symbol = symbols.intern(&kept);
            symbols.clear();
            symbols.add(&[kept_symbol]);
            symbols.forget_others();
            let others: Vec<_> = texts.iter().map(|text| symbols.intern(text)).collect();
            prop_assert_eq!(symbols.intern(&kept), kept_symbol);
            for (text, symbol) in texts.iter().zip(others) {
                prop_assert_eq!(symbols.text(symbol), text);
            }
            prop_assert!(symbols.texts.len() <= texts.len() + 1, "free symbols are used again");
        }
    }

    #[test]
    fn list_has_each_text_once() {
        let mut symbols = Symbols::new();
        let list = symbols.intern_list("b\0a\0b\0c");
        assert_eq!(symbols.join(&list), "b\0a\0c");
        assert!(symbols.intern_list("").is_empty());
        assert_eq!(symbols.join(&[]), "");
    }
}
