//! The number of bytes that each module takes in the scripts.
//!
//! The bytes are those of esbuild's output, where each module is one passage. The gzipped bytes of
//! a module are those that the script would be smaller by without the passage. They do not add up
//! to the size of the script, because modules share words. Terser makes the whole a few percent
//! smaller afterwards.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::output::print_line;
use crate::scripts::Script;
use crate::size::Size;
use crate::workspace::Workspace;
use crate::{bundle, scripts};

/// A module, and its passage in the script.
struct Module {
    name: String,
    start: usize,
    end: usize,
}

/// Prints a table of the modules of each script, the largest first.
pub(crate) fn print(workspace: &Workspace) -> Result<()> {
    print_line("| script or module | bytes | gzipped |\n| --- | ---: | ---: |")?;
    for script in scripts::all(workspace)? {
        let size = Size::of(&script.path(workspace))?;
        let free = script.budget.saturating_sub(size.zipped);
        print_line(format_args!(
            "| **{}** ({free} bytes free) | {} | {} |",
            script.name, size.plain, size.zipped
        ))?;
        for (module, zipped) in measured(workspace, &script)? {
            print_line(format_args!(
                "| {} | {} | {zipped} |",
                module.name,
                module.end - module.start
            ))?;
        }
    }
    Ok(())
}

/// The modules of a script with the gzipped bytes of each, the largest first.
fn measured(workspace: &Workspace, script: &Script) -> Result<Vec<(Module, usize)>> {
    let text = fs::read(bundle::bundled(workspace, script))?;
    let contents = fs::read_to_string(bundle::contents(workspace, script))?;
    let scratch = workspace.scratch().join("without-a-module.js");
    fs::create_dir_all(workspace.scratch())?;
    let all = zipped(&scratch, &[&text])?;
    let mut measured = Vec::new();
    for module in modules(&contents, &text)? {
        let without = zipped(&scratch, &[&text[..module.start], &text[module.end..]])?;
        measured.push((module, all.saturating_sub(without)));
    }
    fs::remove_file(&scratch)?;
    measured.sort_by_key(|(_, zipped)| std::cmp::Reverse(*zipped));
    Ok(measured)
}

/// The modules in a script, in its order. `contents` is esbuild's metafile, which has the same
/// order.
fn modules(contents: &str, text: &[u8]) -> Result<Vec<Module>> {
    let contents: Value = serde_json::from_str(contents)?;
    let outputs = contents["outputs"].as_object().context("the metafile has no outputs")?;
    let output = outputs.values().next().context("the metafile has no output")?;
    let inputs = output["inputs"].as_object().context("the metafile has no inputs")?;
    let length = |input: &Value| input["bytesInOutput"].as_u64().unwrap_or(0) as usize;
    // The script is one function around all modules.
    let mut start = text.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
    let mut modules = Vec::new();
    for (path, input) in inputs {
        let name = path.trim_start_matches("js-shim/").to_owned();
        let end = start + length(input);
        ensure!(end <= text.len(), "the metafile does not fit the script");
        modules.push(Module { name, start, end });
        start = end;
    }
    modules.retain(|module| module.end > module.start);
    Ok(modules)
}

fn zipped(scratch: &Path, passages: &[&[u8]]) -> Result<usize> {
    fs::write(scratch, passages.concat())?;
    Ok(Size::of(scratch)?.zipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENTS: &str = r#"{"outputs": {"a.js": {"inputs": {
        "js-shim/src/url.js": {"bytesInOutput": 4},
        "js-shim/src/empty.js": {"bytesInOutput": 0},
        "js-shim/src/tag.js": {"bytesInOutput": 3}
    }}}}"#;

    #[test]
    fn each_module_is_one_passage_of_the_script() {
        let text = b"(()=>{url;tag})();";
        let modules = modules(CONTENTS, text).unwrap();
        let passages: Vec<_> =
            modules.iter().map(|module| (&*module.name, &text[module.start..module.end])).collect();
        assert_eq!(passages, [("src/url.js", &b"url;"[..]), ("src/tag.js", b"tag")]);
    }

    #[test]
    fn metafile_of_another_script_is_an_error() {
        assert!(modules(CONTENTS, b"(()=>{})();").is_err());
    }
}
