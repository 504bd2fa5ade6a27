//! Access of the core to JSON.
//!
//! A payload is JSON that belongs to the app. The core orders, stores and forwards payloads, and
//! never reads a record. It reads only envelopes (an ack, a push, a resume), through this trait.
//! Each shell implements the trait for its own JSON: JavaScript values in a browser, `serde_json`
//! elsewhere.

/// Parsed JSON of a shell. Cloning must be cheap: a handle or a reference count.
pub trait Payload: Clone {
    /// Returns an element of an array, or `None` beyond its end or if this is not an array.
    fn item(&self, index: u32) -> Option<Self>;

    /// Returns a field of an object, or `None` if it is missing or `null`.
    fn field(&self, name: &'static str) -> Option<Self>;

    /// Returns an integer from 0 to 2⁵³ − 1.
    fn number(&self) -> Option<u64>;

    /// Returns a string.
    fn text(&self) -> Option<String>;

    /// Returns an id as it is written in the name of an instance room: `7` and `"7"` are both `7`.
    fn id(&self) -> Option<String>;

    /// Returns an estimate of the size as JSON in bytes: at most the size on the wire, and at least
    /// a third of it. In a browser it is the length of the text.
    fn size(&self) -> u64;

    /// Returns all elements of an array, or none if this is not an array.
    fn items(&self) -> impl Iterator<Item = Self> {
        (0..).map_while(|index| self.item(index))
    }
}
