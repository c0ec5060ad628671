//! The reference page of module files, made of the table of fields: `docs/modules.md`.
//!
//! Only a test makes it, and says when the file is not as it would be made now.

use std::fmt::Write as _;

use super::{
    explain::short,
    fields::{self, Support, Table},
};
use crate::golden;

const INTRO: &str = include_str!("reference.intro.md");

/// Titles of the parts, in the order of the page.
const PARTS: [(&str, &Table); 4] = [
    ("What every module has", &fields::PROJECT),
    ("image", &fields::IMAGE),
    ("component", &fields::COMPONENT),
    ("application", &fields::APPLICATION),
];

fn page() -> String {
    let mut text = INTRO.to_owned();
    let mut done: Vec<&Table> = Vec::new();
    for (title, table) in PARTS {
        // What all modules have is said once.
        let shared: &[&str] = if std::ptr::eq(table, &fields::PROJECT) { &[] } else { &HEADER };
        let _ = write!(text, "\n## {title}\n\n{}", keys(table, shared));
        done.push(table);
    }
    let mut next: Vec<&Table> = PARTS.iter().flat_map(|(_, table)| inner(table)).collect();
    while !next.is_empty() {
        let table = next.remove(0);
        if done.iter().any(|known| std::ptr::eq(*known, table)) {
            continue;
        }
        done.push(table);
        next.extend(inner(table));
        let _ = write!(text, "\n### {}\n\n{}", table.name().replace('_', " "), keys(table, &[]));
    }
    text
}

const HEADER: [&str; 8] = ["slipstream", "kind", "name", "title", "description", "tags", "notes", "logo"];

fn inner(table: &'static Table) -> Vec<&'static Table> {
    table.fields().filter_map(|field| field.kind.table()).collect()
}

fn keys(table: &'static Table, but: &[&str]) -> String {
    let mut text = String::new();
    if let [most @ .., last] = table.one_of {
        let _ = write!(text, "One of `{}` and `{last}`, and one only.\n\n", most.join("`, `"));
    }
    text += "| key | value | meaning | example | in SlipStream |\n|---|---|---|---|---|\n";
    for field in table.fields().filter(|f| !but.contains(&f.key) && f.support == Support::Now) {
        let cell = |text: &str| text.replace('|', "\\|");
        let must = if field.required { " (required)" } else { "" };
        let default =
            if field.default.is_empty() { String::new() } else { format!("; `{}` without it", field.default) };
        let example = if field.example.is_empty() { String::new() } else { format!("`{}`", cell(field.example)) };
        let was = if field.was.is_empty() { String::new() } else { format!("`{}`", field.was) };
        let _ = writeln!(
            text,
            "| `{}`{must} | {} | {}{default} | {example} | {was} |",
            field.key,
            cell(&short(field.kind)),
            cell(field.help)
        );
    }
    text
}

#[test]
fn the_reference_page_is_the_golden_one() {
    golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/modules.md"), &page());
}
