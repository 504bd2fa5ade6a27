//! The verdict as one HTML page that needs no other files.

mod plot;

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::meter::percentile;
use super::story::Event;
use super::verdict::{Check, Outcome, Verdict};
use plot::{Line, Plot};

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c1c1a;--soft:#6b6a65;--rule:#dddbd3;--back:#fcfcfa;--one:#2563a8;--two:#c2571a;--bad:#b3261e;--good:#1d6f42}
@media(prefers-color-scheme:dark){:root{--text:#ecebe6;--soft:#9c9a92;--rule:#3a3936;--back:#1b1b19;--one:#7fb2ec;--two:#f0a06a;--bad:#ff8a80;--good:#7fd1a0}}
body{margin:2rem auto;max-width:60rem;padding:0 1rem;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{font-size:1.2rem;margin:.25rem 0 1.5rem}.good{color:var(--good)}.bad{color:var(--bad)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td{border-top:1px solid var(--rule);padding:.35rem .5rem;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.story{font:13px/1.5 ui-monospace,monospace}.story td{overflow-wrap:anywhere}
svg{display:block;width:100%;height:auto;overflow:visible}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.one{stroke:var(--one)}.two{stroke:var(--two)}.line{fill:none;stroke-width:1.5}.grid{stroke:var(--rule)}.tick{stroke:var(--two);stroke-width:1.5}
svg .one-text{fill:var(--one)}svg .two-text{fill:var(--two)}
pre{font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--rule);padding-left:1rem}
";

/// Checks that the file can be written, and changes nothing.
pub(super) fn check_file(file: &Path) -> io::Result<()> {
    let is_new = !file.exists();
    let opened = File::options().write(true).create(true).truncate(false).open(file);
    let checked =
        if is_new { opened.and_then(|_| fs::remove_file(file)) } else { opened.map(drop) };
    checked.map_err(|error| {
        io::Error::other(format!("--report: {} cannot be written: {error}", file.display()))
    })
}

/// Writes the page to a file.
pub(super) fn write(verdict: &Verdict, file: &Path) -> io::Result<()> {
    fs::write(file, page(verdict)).map_err(|error| {
        io::Error::other(format!("--report: {} was not written: {error}", file.display()))
    })
}

/// Returns the HTML of the page.
fn page(verdict: &Verdict) -> String {
    let class = match verdict.outcome() {
        Outcome::Kept => "good",
        Outcome::NotAllChecked | Outcome::Broken => "bad",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>backwire chaos</title>\n<style>{STYLE}</style>\n\
         <h1>backwire chaos</h1>\n<p class=\"verdict {class}\">{}</p>\n{}{}{}{}</html>\n",
        escape(&verdict.summary()),
        facts(verdict),
        violations(verdict),
        plots(verdict),
        checks(verdict),
    )
}

/// Escapes a text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn facts(verdict: &Verdict) -> String {
    let (median, p99) = verdict.lags();
    let facts = [
        ("server", verdict.server.clone()),
        ("clients", verdict.clients.to_string()),
        ("time", format!("{} s", verdict.seconds.len())),
        ("faults", verdict.faults.len().to_string()),
        ("lag", format!("p50 {median} ms, p99 {p99} ms from a write to a delivery of it")),
        ("repeat", verdict.command.clone()),
    ];
    let rows = facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(&value)));
    format!("<dl>{}</dl>\n", rows.concat())
}

fn violations(verdict: &Verdict) -> String {
    let mut html = String::new();
    if !verdict.violations.is_empty() {
        let messages = verdict.violations.iter().take(super::verdict::MAX_PRINTED);
        let messages: Vec<_> = messages.map(|it| escape(&it.message)).collect();
        // Writing to a String cannot fail.
        let _ = write!(html, "<h2>Violations</h2>\n<pre>{}</pre>\n", messages.join("\n\n"));
    }
    if !verdict.story.is_empty() {
        let rows: String = verdict.story.iter().map(event).collect();
        let _ = write!(
            html,
            "<h2>What happened to {}</h2>\n<p>The offsets are those of the log. A state in \
             red is one that the record did not have.</p>\n<table class=\"story\">{rows}</table>\n",
            escape(&verdict.record)
        );
    }
    html
}

fn event(event: &Event) -> String {
    let class = if event.is_wrong { " class=\"bad\"" } else { "" };
    let (offsets, text) = (event.offsets(), escape(&event.text));
    format!("<tr{class}><td class=\"n\">{offsets}</td><td>{text}</td></tr>")
}

fn plots(verdict: &Verdict) -> String {
    let seconds = &verdict.seconds;
    let of = |value: fn(&super::meter::Second) -> f64| seconds.iter().map(value).collect();
    let lag = |share: f64| {
        let lag =
            |second: &super::meter::Second| f64::from(percentile(&mut second.lags.clone(), share));
        seconds.iter().map(lag).collect()
    };
    let line = |name, values| Line { name, values };
    let online =
        Plot { title: "Clients online", lines: vec![line("", of(|second| second.online as f64))] };
    let deliveries = Plot {
        title: "Per second",
        lines: vec![
            line("deliveries", of(|second| second.deliveries as f64)),
            line("writes", of(|second| second.writes as f64)),
        ],
    };
    let lags = Plot {
        title: "Lag from a write to a delivery, in ms",
        lines: vec![line("p50", lag(0.5)), line("p99", lag(0.99))],
    };
    let plots = [online, deliveries, lags].map(|plot| plot.svg());
    let faults = plot::events(&verdict.possible_faults, &verdict.faults, seconds.len());
    format!("<h2>Over time, in seconds</h2>\n{}{faults}", plots.concat())
}

fn checks(verdict: &Verdict) -> String {
    let row = |Check { guarantee, count }: &Check| {
        format!("<tr><td class=\"n\">{count}</td><td>{}</td></tr>", escape(guarantee))
    };
    let mut rows: Vec<_> = verdict.checks.iter().map(row).collect();
    rows.extend(verdict.not_checked.iter().map(|reason| {
        format!("<tr><td class=\"n\">not checked</td><td>{}</td></tr>", escape(reason))
    }));
    format!("<h2>What was checked, and how often</h2>\n<table>{}</table>\n", rows.concat())
}
