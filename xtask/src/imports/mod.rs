//! The check that files do not import each other in cycles, and that crates import what the table
//! in CONTRIBUTING.md has.
//!
//! In reading order:
//!
//! - [`packages`]: the packages of the workspace, and what each depends on;
//! - [`table`]: the comparison of them with the table;
//! - [`graph`]: which file imports which, and the cycles in that;
//! - [`script`]: the imports of scripts;
//! - [`rust`]: the imports of a crate, from its [`tree`] of modules, the [`contents`] of each, and
//!   the paths in [`tokens`] of macros.

mod contents;
mod graph;
mod packages;
mod rust;
mod script;
mod table;
mod tokens;
mod tree;

use anyhow::{Result, bail};

use graph::Graph;
use packages::Package;

use crate::outcome::Outcome;
use crate::output::print_line;
use crate::workspace::Workspace;

/// Checks the table and the files. Each of the two is one check of the outcome.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let packages = packages::read(workspace)?;
    table::check(workspace, &packages)?;
    check_cycles(&read_graph(workspace, &packages)?)?;
    Ok(2.into())
}

fn read_graph(workspace: &Workspace, packages: &[Package]) -> Result<Graph> {
    let mut graph = Graph::default();
    for file in packages.iter().flat_map(|package| &package.roots) {
        rust::add_crate(&mut graph, workspace.root(), file)?;
    }
    for folder in [workspace.shim(), workspace.demo()] {
        script::add_scripts(&mut graph, workspace.root(), &folder)?;
    }
    Ok(graph)
}

fn check_cycles(graph: &Graph) -> Result<()> {
    let cycles = graph.cycles().into_iter();
    let cycles: Vec<_> = cycles.map(|cycle| format!("  {cycle}")).collect();
    if !cycles.is_empty() {
        bail!(
            "files import each other in cycles; move what both need into a file of its own, or declare \
             a trait in one file and implement it in the other:\n{}",
            cycles.join("\n")
        );
    }
    print_line(format_args!("{} files import others, in no cycle", graph.len()))?;
    Ok(())
}
