//! JavaScript values as payloads of the core.

use backwire_protocol::Payload;
use js_sys::{JsString, Number};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    // js-sys takes a `&str`, which would copy the whole frame into wasm memory and out again.
    #[wasm_bindgen(js_namespace = JSON, js_name = parse, catch)]
    fn parse_json(text: &JsString) -> Result<JsValue, JsValue>;

    // `Number.prototype.toString` may throw, because it has a radix parameter.
    #[wasm_bindgen(js_name = String)]
    fn text_of(value: &JsValue) -> String;

    /// A value with items and fields. Access never throws, so there is nothing to catch.
    type Object;

    #[wasm_bindgen(method, structural, indexing_getter)]
    fn item(this: &Object, index: u32) -> JsValue;

    #[wasm_bindgen(method, structural, indexing_getter)]
    fn field(this: &Object, name: &str) -> JsValue;
}

/// A handle to a value of the page: parsed JSON for input, JSON text for output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value(pub(crate) JsValue);

impl Value {
    /// Parses JSON. Returns `None` if the text is not JSON.
    pub(crate) fn parse(text: &JsString) -> Option<Self> {
        parse_json(text).ok().map(Self)
    }

    fn object(&self) -> Option<&Object> {
        self.0.is_object().then(|| self.0.unchecked_ref())
    }
}

impl Payload for Value {
    fn item(&self, index: u32) -> Option<Self> {
        let item = self.object()?.item(index);
        (!item.is_undefined()).then_some(Self(item))
    }

    fn field(&self, name: &'static str) -> Option<Self> {
        let field = self.object()?.field(name);
        (!field.is_undefined() && !field.is_null()).then_some(Self(field))
    }

    fn number(&self) -> Option<u64> {
        let number = self.0.as_f64()?;
        let is_whole =
            (0.0..=Number::MAX_SAFE_INTEGER).contains(&number) && number.trunc() == number;
        is_whole.then_some(number as u64)
    }

    fn text(&self) -> Option<String> {
        self.0.as_string()
    }

    fn size(&self) -> u64 {
        self.0.unchecked_ref::<JsString>().length().into()
    }

    fn id(&self) -> Option<String> {
        match self.0.as_f64() {
            Some(_) => Some(text_of(&self.0)),
            None => self.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

    fn value(json: &str) -> Value {
        Value::parse(&JsString::from(json)).expect("JSON")
    }

    #[wasm_bindgen_test]
    fn number_is_a_safe_integer() {
        assert_eq!(value("9007199254740991").number(), Some(9_007_199_254_740_991));
        for json in ["-1", "1.5", "9007199254740992", "\"1\"", "null", "{}"] {
            assert_eq!(value(json).number(), None, "{json}");
        }
    }

    #[wasm_bindgen_test]
    fn numeric_id_equals_the_same_id_as_text() {
        for (json, id) in [("7", "7"), ("\"7\"", "7"), ("-3", "-3"), ("\"a/b\"", "a/b")] {
            assert_eq!(value(json).id().as_deref(), Some(id));
        }
        assert_eq!(value("[]").id(), None);
    }

    #[wasm_bindgen_test]
    fn missing_item_or_field_is_none_without_an_exception() {
        for json in ["null", "1", "\"text\"", "{}", "[]"] {
            assert_eq!(value(json).item(9), None, "{json}");
            assert_eq!(value(json).field("name"), None, "{json}");
            assert_eq!(value(json).items().count(), 0, "{json}");
        }
        assert_eq!(value("{\"name\":null}").field("name"), None);
    }

    #[wasm_bindgen_test]
    fn array_with_null_has_all_its_items() {
        assert_eq!(value("[1,null,3]").items().count(), 3);
    }

    #[wasm_bindgen_test]
    fn invalid_json_is_none() {
        assert_eq!(Value::parse(&JsString::from("{")), None);
    }
}
