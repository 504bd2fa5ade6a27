//! Embeds the browser runtime and the stock client if the JavaScript side has been built, as they are and
//! compressed; the server builds without them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

const DIST: &str = "../js-shim/dist";
const STOCK: &str = "../node_modules/socket.io-client/dist/socket.io.min.js";

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (dist, stock) = (root.join(DIST), root.join(STOCK));
    let embedded = [
        constant("BACKWIRE_JS", &dist.join("backwire.js"), &out),
        constant("BACKWIRE_LIVE_JS", &dist.join("backwire.live.js"), &out),
        constant("BACKWIRE_EXTRA_JS", &dist.join("backwire.extra.js"), &out),
        constant("BACKWIRE_ESM_JS", &dist.join("backwire.esm.js"), &out),
        constant("SOCKET_IO_JS", &stock, &out),
    ];
    fs::write(out.join("assets.rs"), embedded.concat()).expect("OUT_DIR can be written to");
    watch(&dist);
    // Where it is missing, the build that brings it touches the other directory as well.
    if stock.exists() {
        println!("cargo::rerun-if-changed={}", stock.display());
    }
}

/// `Some(Embedded { … })` with the contents of a script in each encoding, or `None` where it is missing.
fn constant(name: &str, script: &Path, out: &Path) -> String {
    let content = match fs::read(script) {
        Ok(content) => {
            let compressed = |extension: &str, bytes: Vec<u8>| {
                let path = out.join(name).with_extension(extension);
                fs::write(&path, bytes).expect("OUT_DIR can be written to");
                path
            };
            let (gzip, brotli) =
                (compressed("gz", gzip(&content)), compressed("br", brotli(&content)));
            format!(
                "Some(Embedded {{ identity: include_bytes!({script:?}), \
                 gzip: include_bytes!({gzip:?}), brotli: include_bytes!({brotli:?}) }})"
            )
        }
        Err(_) => "None".to_owned(),
    };
    format!("const {name}: Option<Embedded> = {content};\n")
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes what it is given")
}

fn brotli(content: &[u8]) -> Vec<u8> {
    // The best takes seconds, as build scripts are not optimized.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let quality = if is_release { 11 } else { 5 };
    let params = BrotliEncoderParams { quality, ..BrotliEncoderParams::default() };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*content, &mut compressed, &params)
        .expect("a Vec takes what it is given");
    compressed
}

/// Cargo takes a path that does not exist for changed, so the nearest one that does is watched.
fn watch(dist: &Path) {
    let exists = dist.ancestors().take(2).find(|path| path.exists());
    println!("cargo::rerun-if-changed={}", exists.unwrap_or(Path::new("build.rs")).display());
    println!("cargo::rerun-if-changed=build.rs");
}
