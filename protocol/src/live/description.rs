//! The reply header `backwire-query`: how the server has understood a read.


/// What the records of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All records of the resource.
    Whole,
    /// All that fulfil a filter.
    Filter,
    /// Some of them, or some of their attributes: only the server knows what is in it.
    Part,
    /// A single record.
    One,
}

/// What a client must know of a query to keep its result up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What the records are.
    pub kind: Kind,
    /// The attributes that the server sorts by; empty if the order does not matter.
    pub sort: Vec<String>,
}

impl Description {
    /// Reads `kind;name=value;name`, such as `filter;sort=age,first%20name`. Without a header, and
    /// for a kind of the future, it is a part: that is always right, if not always cheap.
    pub fn parse(header: Option<&str>) -> Self {
        let mut fields = header.unwrap_or_default().as_bytes().split(|byte| *byte == b';');
        let kind = match fields.next() {
            Some(b"whole") => Kind::Whole,
            Some(b"filter") => Kind::Filter,
            Some(b"one") => Kind::One,
            _ => Kind::Part,
        };
        let sort = fields.find_map(|field| field.strip_prefix(b"sort=")).unwrap_or_default();
        let names = sort.split(|byte| *byte == b',').filter(|name| !name.is_empty());
        Self { kind, sort: names.map(decode).collect() }
    }

    /// Whether every change in its room may mean any other result.
    pub(super) fn is_part(&self) -> bool {
        self.kind == Kind::Part
    }

    /// Whether the pushes of its room tell which records it has.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Whole | Kind::Filter)
    }

    /// Whether the pushes of its room tell which records it has, but not in which order.
    pub(super) fn is_sorted_list(&self) -> bool {
        self.is_list() && !self.sort.is_empty()
    }

    /// Whether an update of these attributes may mean another order.
    pub(super) fn is_sorted_by(&self, names: &[&str]) -> bool {
        self.sort.iter().any(|name| names.contains(&name.as_str()))
    }
}

/// Decodes `%20`. What is not encoded correctly stays as it is: no attribute has that name.
fn decode(mut encoded: &[u8]) -> String {
    let mut bytes = Vec::new();
    while let [first, rest @ ..] = encoded {
        let (byte, rest) = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (*first, &encoded[1..]),
            },
            _ => (*first, rest),
        };
        bytes.push(byte);
        encoded = rest;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}
