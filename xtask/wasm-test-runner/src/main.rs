//! The runner that cargo starts for tests made for wasm.
//!
//! It is wasm-bindgen's own, wrapped so that `Cargo.lock` fixes its version together with the rest
//! of the family: an installed one of another version would refuse to read the tests.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
