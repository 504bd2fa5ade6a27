//! Panics without words.
//!
//! In a browser a panic is a trap: nobody is there to read its message, and Rust on this target
//! prints none. Yet the code that would put the message together, and the tables it takes to print
//! any string, are a seventh of the module. So the functions that start a panic are made to trap at
//! once, and what only they needed is found to be dead when the module is optimised. A nightly
//! compiler does the same on request (`panic=immediate-abort`); this does it with the compiler we
//! have.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rustc_demangle::demangle;
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module, ModuleConfig};

/// The functions that panics start with, which never return. The last is wasm-bindgen's own kind of
/// panic.
const STARTS: [&str; 11] = [
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
    "core::cell::panic_already",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::panicking::",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "wasm_bindgen::throw_str",
];

/// Functions that are only called to write the message of a panic, or never: the table of functions
/// keeps them.
/// The last is wasm-bindgen's support for promises inside of wasm, of which the client has none.
const UNCALLED: [&str; 4] =
    ["core::fmt::", "alloc::fmt::", "std::panicking::", "js_sys::futures::"];

/// The words themselves, as they lie in the module's data; the last are the digits they are printed
/// with.
const WORDS: [&str; 26] = [
    "slice index starts at ",
    " but ends at ",
    "index out of bounds: the len is ",
    " but the index is ",
    "range start index ",
    "range end index ",
    " out of range for slice of length ",
    "insertion index (is ",
    ") should be <= len (is ",
    "removal index (is ",
    ") should be < len (is ",
    "cannot access a Thread Local Storage value during or after destruction: ",
    "Attempted to initialize thread-local while it is being dropped",
    "attempted to take ownership of Rust value while it was borrowed",
    "null pointer passed to rust",
    "recursive use of an object detected which would lead to unsafe aliasing in rust",
    "FnOnce called more than once",
    "closure invoked recursively or after being dropped",
    "called `Result::unwrap_throw()` on an `Err` value",
    "called `Option::unwrap_throw()` on a `None` value",
    "Tried to shrink to a larger capacity",
    "mid > len",
    "capacity overflow",
    "RefCell already mutably borrowed",
    "RefCell already borrowed",
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
     5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899",
];

/// Reads a module, with its panics made traps.
pub(crate) fn silenced(wasm: &Path) -> Result<Module> {
    let mut module = ModuleConfig::new().generate_dwarf(false).parse(&fs::read(wasm)?)?;
    let silent: Vec<_> = module
        .funcs
        .iter_local()
        .filter(|(id, function)| {
            // The alternate form leaves out the hashes that tell builds of a crate apart.
            let name =
                module.funcs.get(*id).name.as_deref().map(|name| format!("{:#}", demangle(name)));
            let returns = !module.types.results(function.ty()).is_empty();
            name.is_some_and(|name| is_uncalled(&name) || (!returns && starts_a_panic(&name)))
        })
        .map(|(id, _)| id)
        .collect();
    for function in silent {
        trap(&mut module, function);
    }
    let data: Vec<_> = module.data.iter().map(|data| data.id()).collect();
    for data in data {
        blank(&mut module.data.get_mut(data).value);
    }
    Ok(module)
}

/// Zeroes what only the words of a panic would read: nothing moves, and zeros zip to nothing.
fn blank(data: &mut [u8]) {
    for word in WORDS.map(str::as_bytes) {
        while let Some(at) = data.windows(word.len()).position(|window| window == word) {
            data[at..at + word.len()].fill(0);
        }
    }
    // The source file of the panic.
    let is_in_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte);
    while let Some(end) = data.windows(3).position(|window| window == b".rs") {
        let start = data[..end].iter().rposition(|byte| !is_in_path(byte)).map_or(0, |at| at + 1);
        data[start..end + 3].fill(0);
    }
}

fn starts_a_panic(name: &str) -> bool {
    STARTS.iter().any(|start| name.starts_with(start))
}

/// Methods of traits are named after their type first: `<char as core::fmt::Debug>::fmt`.
fn is_uncalled(name: &str) -> bool {
    UNCALLED.iter().any(|path| {
        let is_path = |at: usize| name[..at].chars().last().is_none_or(|c| " <&".contains(c));
        name.match_indices(path).any(|(at, _)| is_path(at))
    })
}

/// Gives a function the shortest body there is.
fn trap(module: &mut Module, function: FunctionId) {
    let signature = module.types.get(module.funcs.get(function).ty());
    let (parameters, results) = (signature.params().to_vec(), signature.results().to_vec());
    let mut builder = FunctionBuilder::new(&mut module.types, &parameters, &results);
    builder.func_body().unreachable();
    let arguments = parameters.iter().map(|kind| module.locals.add(*kind)).collect();
    module.funcs.get_mut(function).kind = FunctionKind::Local(builder.local_func(arguments));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_call_is_recognized_by_its_name() {
        assert!(starts_a_panic("core::panicking::panic_fmt"));
        assert!(starts_a_panic("alloc::raw_vec::handle_error"));
    }

    #[test]
    fn formatting_call_is_recognized_everywhere() {
        assert!(is_uncalled("core::fmt::write"));
        assert!(is_uncalled("<char as core::fmt::Debug>::fmt"));
        assert!(is_uncalled("<&core::fmt::Arguments as core::fmt::Display>::fmt"));
    }

    #[test]
    fn only_panic_messages_are_blanked() {
        let mut data = b"push\0range end index \0/rustc/1/library/core/src/cell.rs\0todo".to_vec();
        let length = data.len();
        blank(&mut data);
        assert_eq!(data.len(), length);
        let left: Vec<_> = data.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        assert_eq!(left, [b"push", b"todo"]);
    }

    #[test]
    fn other_content_is_unchanged() {
        for name in
            ["client_request", "backwire_protocol::packet::Packet::decode", "my_core::fmt::x"]
        {
            assert!(!starts_a_panic(name) && !is_uncalled(name), "{name}");
        }
    }
}
