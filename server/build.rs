//! Embeds the browser runtime and the stock client, uncompressed and compressed. Scripts that have
//! not been built are left out, and the server builds without them.
#![allow(clippy::disallowed_methods, reason = "a build script writes files")]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
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
    let scripts = scripts(&dist);
    let scripts = scripts.iter().map(|name| {
        format!("({:?}, {}),\n", format!("/{name}"), embedded(name, &dist.join(name), &out))
    });
    let code = format!(
        "const SCRIPTS: &[(&str, Option<Embedded>)] = &[\n{}];\n\
         const SOCKET_IO_JS: Option<Embedded> = {};\n",
        scripts.collect::<String>(),
        embedded("socket.io.js", &stock, &out)
    );
    fs::write(out.join("assets.rs"), code).expect("OUT_DIR can be written to");
    watch(&dist);
    // If it is missing, the build that makes it touches the other directory as well.
    if stock.exists() {
        println!("cargo::rerun-if-changed={}", stock.display());
    }
}

/// The file names of the runtime's scripts: `backwire.js`, the ES module, and `backwire.<part>.js`
/// of each part that was built.
fn scripts(dist: &Path) -> BTreeSet<String> {
    let always = ["backwire.js", "backwire.esm.js"].map(str::to_owned);
    let files = fs::read_dir(dist).into_iter().flatten();
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let scripts = names.filter(|name| name.starts_with("backwire.") && name.ends_with(".js"));
    always.into_iter().chain(scripts).collect()
}

/// `Some(Embedded { … })` with a script in each encoding, or `None` if there is no such file.
fn embedded(name: &str, script: &Path, out: &Path) -> String {
    match fs::read(script) {
        Ok(content) => {
            let compressed = |extension: &str, bytes: Vec<u8>| {
                let path = out.join(format!("{name}.{extension}"));
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
        Err(error) if error.kind() == ErrorKind::NotFound => "None".to_owned(),
        Err(error) => panic!("{} cannot be embedded: {error}", script.display()),
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .expect("a write to a Vec does not fail")
}

fn brotli(content: &[u8]) -> Vec<u8> {
    // Cargo does not optimize build scripts, so quality 11 takes seconds.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let quality = if is_release { 11 } else { 5 };
    let params = BrotliEncoderParams { quality, ..BrotliEncoderParams::default() };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*content, &mut compressed, &params)
        .expect("a write to a Vec does not fail");
    compressed
}

/// Cargo takes a path that does not exist for changed, so the nearest one that does is watched.
fn watch(dist: &Path) {
    let exists = dist.ancestors().take(2).find(|path| path.exists());
    println!("cargo::rerun-if-changed={}", exists.unwrap_or(Path::new("build.rs")).display());
    println!("cargo::rerun-if-changed=build.rs");
}
