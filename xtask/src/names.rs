//! Short names between the module and the JS around it.
//!
//! wasm-bindgen tells imports apart by hashes (`__wbg_close_5ee9c5fe4e8754a4`). They stand in both
//! halves, no two are alike, and so they are the part of the download that zips worst. Once both
//! are written nobody else needs them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use walrus::Module;

/// Gives imports and exports of a module short names, also in the JS that goes with it. `name` is
/// the module's own.
pub(crate) fn shorten(name: &str, wasm: &Path, js: &Path) -> Result<()> {
    let mut module = Module::from_file(wasm)?;
    let mut text = fs::read_to_string(js).context("the JS around the client cannot be read")?;
    let mut count = 0;
    for import in module.imports.iter_mut() {
        let short = short_name(&mut count);
        replace(&mut text, &format!("        {}: (", import.name), &format!("        {short}: ("))?;
        import.name = short;
        import.module = "_".to_owned();
    }
    replace(&mut text, &format!("\"./{name}_bg.js\": import0"), "_: import0")?;
    let mut unused = Vec::new();
    for export in module.exports.iter_mut().filter(|export| export.name != "memory") {
        let short = short_name(&mut count);
        if rename_uses(&mut text, &export.name, &short) {
            export.name = short;
        } else {
            unused.push(export.id());
        }
    }
    // Exports that no script can call are removed.
    unused.into_iter().for_each(|export| module.exports.delete(export));
    module.emit_wasm_file(wasm)?;
    Ok(fs::write(js, text)?)
}

/// `a`, `b`, … `z`, `aa`, …
fn short_name(count: &mut usize) -> String {
    let mut rest = *count;
    *count += 1;
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'a' + (rest % 26) as u8));
        if rest < 26 {
            return name;
        }
        rest = rest / 26 - 1;
    }
}

fn replace(text: &mut String, old: &str, new: &str) -> Result<()> {
    if text.matches(old).count() != 1 {
        bail!("the JS around the client is not as expected: `{}` is not there once", old.trim());
    }
    *text = text.replace(old, new);
    Ok(())
}

/// Renames `wasm.name`, where that is the whole name; false if it is nowhere.
fn rename_uses(text: &mut String, old: &str, new: &str) -> bool {
    let pattern = format!("wasm.{old}");
    let mut renamed = String::new();
    let mut is_used = false;
    let mut rest = text.as_str();
    while let Some(at) = rest.find(&pattern) {
        let (before, found) = rest.split_at(at);
        let after = &found[pattern.len()..];
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        is_used |= !goes_on;
        renamed.push_str(before);
        renamed.push_str(&if goes_on { pattern.clone() } else { format!("wasm.{new}") });
        rest = after;
    }
    renamed.push_str(rest);
    *text = renamed;
    is_used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_short_and_all_different() {
        let mut count = 0;
        let names: Vec<_> = (0..800).map(|_| short_name(&mut count)).collect();
        assert_eq!(names[..3], ["a", "b", "c"]);
        assert_eq!((&*names[25], &*names[26], &*names[702]), ("z", "aa", "aaa"));
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn name_is_replaced_as_a_whole_word() {
        let mut text = "wasm.client_a(1); wasm.client_a_b(wasm.client_a);".to_owned();
        assert!(rename_uses(&mut text, "client_a", "c"));
        assert!(!rename_uses(&mut text, "client", "d"));
        assert_eq!(text, "wasm.c(1); wasm.client_a_b(wasm.c);");
    }

    #[test]
    fn missing_name_is_an_error() {
        assert!(replace(&mut "nothing".to_owned(), "old", "new").is_err());
    }
}
