//! Panics without words.
//!
//! In a browser a panic is a trap: nobody is there to read its message, and Rust on this target prints
//! none. Yet the code that would put the message together, and the tables it takes to print any string,
//! are a seventh of the module. So the functions that start a panic are made to trap at once, and what
//! only they needed is found to be dead when the module is optimised. A nightly compiler does the same
//! on request (`panic=immediate-abort`); this does it with the compiler we have.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rustc_demangle::demangle;
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module, ModuleConfig};

/// Where panics start: functions of the standard library that never return.
const STARTS: [&str; 10] = [
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
];

/// Reads a module, with its panics made traps.
pub(crate) fn silenced(wasm: &Path) -> Result<Module> {
    let mut module = ModuleConfig::new().generate_dwarf(false).parse(&fs::read(wasm)?)?;
    let starts: Vec<_> = module
        .funcs
        .iter_local()
        .filter(|(_, function)| module.types.results(function.ty()).is_empty())
        .map(|(id, _)| id)
        .filter(|id| module.funcs.get(*id).name.as_deref().is_some_and(starts_a_panic))
        .collect();
    for start in starts {
        trap(&mut module, start);
    }
    Ok(module)
}

fn starts_a_panic(symbol: &str) -> bool {
    // The alternate form leaves out the hashes that tell builds of a crate apart.
    let name = format!("{:#}", demangle(symbol));
    STARTS.iter().any(|start| name.starts_with(start))
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
    fn a_panic_is_known_by_its_symbol() {
        assert!(starts_a_panic("_RNvNtCsgXGp5Oqx2Ny_4core9panicking9panic_fmt"));
        assert!(starts_a_panic("_RNvNtCs5cOc02OMXlo_5alloc7raw_vec12handle_error"));
    }

    #[test]
    fn whatever_else_there_is_stays_as_it_is() {
        assert!(!starts_a_panic("_RNvNtNtCsgXGp5Oqx2Ny_4core3fmt5write"));
        assert!(!starts_a_panic("client_request"));
    }
}
