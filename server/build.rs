//! Embeds the browser runtime and the stock client if the JavaScript side has been built; the server
//! builds without them.

use std::path::{Path, PathBuf};
use std::{env, fs};

const DIST: &str = "../js-shim/dist";
const STOCK: &str = "../node_modules/socket.io-client/dist/socket.io.min.js";

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let (dist, stock) = (root.join(DIST), root.join(STOCK));
    let embedded = [
        constant("BACKWIRE_JS", &dist.join("backwire.js")),
        constant("BACKWIRE_ESM_JS", &dist.join("backwire.esm.js")),
        constant("SOCKET_IO_JS", &stock),
    ];
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("assets.rs");
    fs::write(target, embedded.concat()).expect("OUT_DIR can be written to");
    watch(&dist);
    // Where it is missing, the build that brings it touches the other directory as well.
    if stock.exists() {
        println!("cargo::rerun-if-changed={}", stock.display());
    }
}

fn constant(name: &str, path: &Path) -> String {
    let content = match path.exists() {
        true => format!("Some(include_bytes!({path:?}))"),
        false => "None".to_owned(),
    };
    format!("const {name}: Option<&[u8]> = {content};\n")
}

/// Cargo takes a path that does not exist for changed, so the nearest one that does is watched.
fn watch(dist: &Path) {
    let exists = dist.ancestors().take(2).find(|path| path.exists());
    println!("cargo::rerun-if-changed={}", exists.unwrap_or(Path::new("build.rs")).display());
    println!("cargo::rerun-if-changed=build.rs");
}
