//! The little the core has to know of what it carries.
//!
//! A payload is JSON that belongs to the app. The core orders payloads, keeps them and hands them
//! on; it never looks inside a record. What it must read are envelopes (an ack, a push, a resume),
//! and those it reads through this contract, which each shell fulfils with the JSON it has:
//! JavaScript values in a browser, `serde_json` elsewhere.

/// Parsed JSON of a shell's own kind. Cloning must be cheap: a handle or a reference count.
pub trait Payload: Clone {
    /// The element of an array; `None` beyond its end or if this is no array.
    fn item(&self, index: u32) -> Option<Self>;

    /// The field of an object; `None` where there is none or it is `null`.
    fn field(&self, name: &'static str) -> Option<Self>;

    /// A whole number from 0 to 2⁵³ − 1.
    fn number(&self) -> Option<u64>;

    /// A string.
    fn text(&self) -> Option<String>;

    /// An id as it stands in the name of an instance room: `7` and `"7"` are both `7`.
    fn id(&self) -> Option<String>;

    /// Never more than the bytes it takes on the wire as JSON, never less than a third of them: in a
    /// browser that is the length of the text.
    fn size(&self) -> u64;

    /// All elements of an array; none if this is no array.
    fn items(&self) -> impl Iterator<Item = Self> {
        (0..).map_while(|index| self.item(index))
    }
}
