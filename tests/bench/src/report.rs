//! Table and plot of what was measured.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use crate::row::Row;

const BEGIN: &str = "<!-- figures: written by make bench -->";
const END: &str = "<!-- end of figures -->";

/// Writes the table into a document, between two marks, and the plot beside it.
pub(crate) fn write(rows: &Path, into: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(rows).with_context(|| format!("cannot read {}: measure first", rows.display()))?;
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>()?;
    let document = fs::read_to_string(into).with_context(|| format!("cannot read {}", into.display()))?;
    let (before, rest) = document.split_once(BEGIN).context("the document has no place for figures")?;
    let (_, after) = rest.split_once(END).context("the place for figures has no end")?;
    let machine = machine();
    fs::write(into, format!("{before}{BEGIN}\n{machine}\n\n{}{END}{after}", table(&rows)))?;
    fs::write(into.with_extension("svg"), plot(&rows))?;
    Ok(())
}

/// Where and when it was measured.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |m| m.1);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "Measured on {} on {cores} cores ({model}), Linux {}, load at the end {}.",
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        kernel.trim().split('-').next().unwrap_or_default(),
        load.split(' ').next().unwrap_or("?"),
    )
}

fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("| what | ours | peer | ratio (least to greatest) | budget | met |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let [least, most] = row.spread;
        let ours = format!("{} {}", figure(row.ours), row.unit);
        let peer = row.peer.map_or(String::new(), |peer| format!("{} {} ({})", figure(peer), row.unit, row.against));
        let spread = match row.ratio {
            Some(ratio) => format!("{ratio:.2} ({least:.2} to {most:.2})"),
            None if row.rounds > 1 => format!("{} to {}", figure(least), figure(most)),
            None => String::new(),
        };
        let met = row.within().map_or("", |met| if met { "yes" } else { "**no**" });
        let budget = row.budget.replace('<', "≤ ").replace('>', "≥ ");
        let _ = writeln!(text, "| {} | {ours} | {peer} | {spread} | {budget} | {met} |", row.name);
    }
    text
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Bars of the ratios with their spread, on a logarithmic scale; 1 is what it is compared with.
fn plot(rows: &[Row]) -> String {
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 420.0;
    const LINE: f64 = 18.0;
    let rows: Vec<(&Row, f64)> = rows.iter().filter_map(|row| Some((row, row.ratio.filter(|r| *r > 0.0)?))).collect();
    let x =
        |ratio: f64| LEFT + WIDTH * ((ratio.clamp(0.02, 10.0).ln() - 0.02_f64.ln()) / (10.0_f64.ln() - 0.02_f64.ln()));
    let height = LINE * (rows.len() as f64 + 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 60.0
    );
    for mark in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let (at, colour) = (x(mark), if mark == 1.0 { "black" } else { "#ddd" });
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{LINE}\" y2=\"{height}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"12\" text-anchor=\"middle\">{mark}x</text>"
        );
    }
    for (n, (row, ratio)) in rows.iter().enumerate() {
        let top = LINE * (n as f64 + 1.5);
        let (from, to) = (x(1.0).min(x(*ratio)), x(1.0).max(x(*ratio)));
        let colour = match row.within() {
            Some(false) => "#c0392b",
            Some(true) => "#27ae60",
            None => "#5d8aa8",
        };
        let (middle, [least, most]) = (top + 5.0, row.spread.map(x));
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"10\" fill=\"{colour}\"/>\
             <line x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>",
            LEFT - 8.0,
            top + 9.0,
            row.name,
            to - from,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64, budget: &str) -> Row {
        Row {
            name: "set to wake".to_owned(),
            ours: 0.456,
            peer: Some(0.912),
            unit: "ms".to_owned(),
            ratio: Some(ratio),
            spread: [0.4, 0.6],
            against: "etcd".to_owned(),
            budget: budget.to_owned(),
            rounds: 3,
        }
    }

    #[test]
    fn the_table_says_what_is_met() {
        let text = table(&[row(0.5, "<0.8x"), row(0.9, "<0.8x")]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| set to wake | 0.456 ms | 0.912 ms (etcd) | 0.50 (0.40 to 0.60) | ≤ 0.8x | yes |");
        assert!(lines[1].ends_with("| **no** |"), "{text}");
    }

    #[test]
    fn a_document_keeps_all_but_its_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        let (rows, into) = (folder.path().join("rows"), folder.path().join("performance.md"));
        fs::write(&rows, format!("{}\n", serde_json::to_string(&row(2.0, "")).expect("plain"))).expect("written");
        fs::write(&into, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).expect("written");
        write(&rows, &into).expect("written");
        let text = fs::read_to_string(&into).expect("there");
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n") && !text.contains("old"), "{text}");
        assert!(text.contains("2.00 (0.40 to 0.60)"), "{text}");
        assert!(fs::read_to_string(into.with_extension("svg")).expect("there").contains("set to wake"));
    }
}
