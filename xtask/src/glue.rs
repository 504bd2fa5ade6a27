//! The JS around the client, without what no browser of ours needs.
//!
//! wasm-bindgen writes for every browser that has ever had wasm, and for modules of gigabytes. Ours
//! runs where there is ES2022, is started once, with its bytes, and passes text of kilobytes. Each
//! passage taken out must be there as it was when this was written; a new wasm-bindgen fails the
//! build here.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use regex::Regex;

/// From where, up to where, and what stands there instead.
type Passage = (&'static str, &'static str, &'static str);

const NEEDLESS: [Passage; 16] = [
    // None of our closures is called while it runs.
    ("function makeMutClosure(", "function passStringToWasm0", ""),
    // The runtime frees its one client, and the client its closures.
    ("const ClientFinalization = ", "function addToExternrefTable0", ""),
    ("const QueriesFinalization = ", "function getStringFromWasm0", ""),
    ("const CLOSURE_DTORS = ", "let cachedDataViewMemory0", ""),
    // `encodeInto` is in every browser with ES2022.
    ("if (!('encodeInto' in cachedTextEncoder)) {", "let WASM_VECTOR_LEN", ""),
    // A decoder of Safari's wears out after 2 GB, and none has to be warmed up.
    ("cachedTextDecoder.decode();\nconst MAX_SAFARI_DECODE_BYTES", "function decodeText", ""),
    (
        "    numBytesDecoded += bytes.length;",
        "    return cachedTextDecoder.decode(bytes)",
        // Nearly all is short and ASCII, and made from it sooner than a decoder has been asked.
        "    if (bytes.length < 999) {
        const text = String.fromCharCode.apply(null, bytes);
        if (/^[ -~]*$/.test(text)) return text;
    }
",
    ),
    // The module always exports its `realloc`.
    ("    if (realloc === undefined) {", "    let len = arg.length;", ""),
    // Text that is not ASCII is rare, so the function begins again for it.
    (
        "        if (offset !== 0) {",
        "        ptr = realloc(ptr, len, offset, 1)",
        "        ptr = realloc(ptr, len, len *= 3, 1);
        const view = getUint8ArrayMemory0().subarray(ptr, ptr + len);
        offset = cachedTextEncoder.encodeInto(arg, view).written;
",
    ),
    // A detached buffer is another buffer, and of no length.
    (
        "    if (cachedDataViewMemory0 === null",
        "        cachedDataViewMemory0 = new DataView",
        "    if (cachedDataViewMemory0?.buffer !== wasm.memory.buffer) {\n",
    ),
    (
        "    if (cachedUint8ArrayMemory0 === null",
        "        cachedUint8ArrayMemory0 = new Uint8Array",
        "    if (!cachedUint8ArrayMemory0?.byteLength) {\n",
    ),
    // We hand over bytes, and no options.
    (
        "    if (module !== undefined) {\n        if (Object.getPrototypeOf(module) === Object.prototype) {\n            ({module} = module)",
        "    const imports = __wbg_get_imports();\n    if (!(module instanceof",
        "",
    ),
    (
        "    if (!(module instanceof WebAssembly.Module)) {",
        "    const instance = new WebAssembly.Instance(module, imports);",
        "    module = new WebAssembly.Module(module);\n",
    ),
    // Nobody asks for these, and nothing can have been cached before the start.
    ("let wasmModule, wasmInstance, wasm;", "\nfunction __wbg_finalize_init", "let wasm;"),
    ("    wasmInstance = instance;", "    wasm = instance.exports;", ""),
    ("    wasmModule = module;", "    wasm.__wbindgen_start", ""),
];

/// Replacements of long code by shorter code, at all places.
const LONGER: [(&str, &str); 14] = [
    (r"__proto__: null,", ""),
    // Addresses of what there are kilobytes of are positive, and so are all our numbers.
    (r"ptr = ptr >>> 0;", ""),
    (r" >>> 0\b", ""),
    (r"f\.apply\(this, args\)", "f(...args)"),
    (
        r"const val = arg0;\s+const ret = typeof\(val\) === 'object' && val !== null;",
        "const ret = typeof(arg0) === 'object' && arg0 !== null;",
    ),
    (
        r"const obj = arg1;\s+const ret = typeof\(obj\) === '(\w+)' \? obj : undefined;",
        "const ret = typeof(arg1) === '$1' ? arg1 : undefined;",
    ),
    // All text goes to the same memory.
    (r", wasm\.__wbindgen_malloc, wasm\.__wbindgen_realloc\)", ")"),
    (
        r"\(arg, malloc, realloc\)",
        "(arg, malloc = wasm.__wbindgen_malloc, realloc = wasm.__wbindgen_realloc)",
    ),
    (r"= makeMutClosure\(", "= makeClosure("),
    (r"(\w+Finalization|CLOSURE_DTORS)\.(un)?register\(.*\);", ""),
    // Text that cannot be taken over is a page without memory, and nobody gives that back.
    (r"(?s)try \{(\s+ptr0 = .*?)\} catch \(e\) \{.*?throw e;\s+\}", "$1"),
    (
        r"function\(\) \{ return handleError\(function \((.*)\) \{",
        "(...args) => handleError(($1) => {",
    ),
    (r"\}, arguments\); \},", "}, args),"),
    (r": function\((.*)\) \{", ": ($1) => {"),
];

/// Takes what is needless out of the files of all modules. Each passage must be in one of them.
pub(crate) fn trim(files: &[PathBuf]) -> Result<()> {
    let read = |js| fs::read_to_string(js).context("the JS around a module cannot be read");
    let mut texts = files.iter().map(read).collect::<Result<Vec<_>>>()?;
    for longer in &LONGER {
        replace(&mut texts, longer.0, |text| shorter(text, longer))?;
    }
    for passage in &NEEDLESS {
        replace(&mut texts, passage.0, |text| without(text, passage))?;
    }
    files.iter().zip(texts).try_for_each(|(js, text)| Ok(fs::write(js, text)?))
}

/// Replaces something in all texts. It is an error if none of them has it.
fn replace(
    texts: &mut [String],
    what: &str,
    replaced: impl Fn(&str) -> Result<Option<String>>,
) -> Result<()> {
    let mut is_there = false;
    for text in texts {
        if let Some(other) = replaced(text)? {
            *text = other;
            is_there = true;
        }
    }
    if !is_there {
        bail!("the JS around the client is not as expected: `{}` is not there", what.trim());
    }
    Ok(())
}

fn shorter(text: &str, (longer, instead): &(&str, &str)) -> Result<Option<String>> {
    let longer = Regex::new(longer)?;
    Ok(longer.is_match(text).then(|| longer.replace_all(text, *instead).into_owned()))
}

fn without(text: &str, (from, to, instead): &Passage) -> Result<Option<String>> {
    let Some((before, rest)) = text.split_once(from) else { return Ok(None) };
    match rest.find(to) {
        Some(end) if !rest.contains(from) => Ok(Some(format!("{before}{instead}{}", &rest[end..]))),
        _ => bail!("the JS around the client is not as expected after `{}`", from.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passage_is_removed_up_to_its_end() {
        assert_eq!(without("a [b c] d", &("[b", "]", "<")).unwrap().unwrap(), "a <] d");
    }

    #[test]
    fn long_expression_is_shortened_everywhere() {
        let arrow = (r": function\((.*)\) \{", ": ($1) => {");
        let short = shorter("a: function(b) {},\nc: function() {}", &arrow).unwrap();
        assert_eq!(short.unwrap(), "a: (b) => {},\nc: () => {}");
        assert_eq!(shorter("a: b", &arrow).unwrap(), None);
    }

    #[test]
    fn passage_must_be_in_one_of_the_files() {
        let cut = |texts: &mut [String]| replace(texts, "b", |it| without(it, &("b", "c", "")));
        let mut texts = ["a c", "a b c"].map(str::to_owned);
        cut(&mut texts).unwrap();
        assert_eq!(texts, ["a c", "a c"]);
        assert!(cut(&mut texts).is_err());
    }

    #[test]
    fn changed_passage_is_an_error() {
        assert!(without("a b", &("b", "c", "")).is_err());
        assert!(without("b c b", &("b", "c", "")).is_err());
    }
}
