//! What was measured, one JSON object per line.

use std::{fs::File, io::Write as _, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// The median of the rounds, of the coordinator.
    pub(crate) ours: f64,
    /// The same of what it is compared with.
    pub(crate) peer: Option<f64>,
    /// Of both.
    pub(crate) unit: String,
    /// The median of the ratios of each round.
    pub(crate) ratio: Option<f64>,
    /// The least and the greatest of them; without a peer, of the figures themselves.
    pub(crate) spread: [f64; 2],
    /// What it is compared with.
    pub(crate) against: String,
    /// What was meant to be reached, as the ratio (`<0.8x`, `>2x`) or the figure itself (`<60`).
    pub(crate) budget: String,
    /// How often it was measured.
    pub(crate) rounds: usize,
}

/// The rounds of one figure.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

impl Rounds {
    pub(crate) fn ours(&mut self, value: f64) {
        self.ours.push(value);
    }

    pub(crate) fn peer(&mut self, value: f64) {
        self.peer.push(value);
    }

    /// The row of all rounds.
    pub(crate) fn row(&self, name: &str, unit: &str, against: &str, budget: &str) -> Row {
        let mut ratios: Vec<f64> = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect();
        let compared = !ratios.is_empty();
        let spread = spread(if compared { &ratios } else { &self.ours });
        Row {
            name: name.to_owned(),
            ours: median(&mut self.ours.clone()),
            peer: compared.then(|| median(&mut self.peer.clone())),
            unit: unit.to_owned(),
            ratio: compared.then(|| median(&mut ratios)),
            spread,
            against: against.to_owned(),
            budget: budget.to_owned(),
            rounds: self.ours.len(),
        }
    }
}

impl Row {
    /// Whether what was meant to be reached is. None: nothing was said, or it cannot be told.
    pub(crate) fn within(&self) -> Option<bool> {
        let (rule, value) = match self.budget.strip_suffix('x') {
            Some(rule) => (rule, self.ratio?),
            None => (self.budget.as_str(), self.ours),
        };
        let limit: f64 = rule.get(1..)?.parse().ok()?;
        match rule.as_bytes().first()? {
            b'<' => Some(value <= limit),
            b'>' => Some(value >= limit),
            _ => None,
        }
    }
}

/// The file of all rows.
pub(crate) struct Rows {
    file: File,
}

impl Rows {
    /// Empty, or behind what is there.
    pub(crate) fn begin(path: &Path, anew: bool) -> anyhow::Result<Self> {
        let mut options = File::options();
        options.create(true).write(true).truncate(anew).append(!anew);
        let file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Rows { file })
    }

    /// Writes a row down, and shows it.
    pub(crate) fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        let compared = row.ratio.map_or(String::new(), |ratio| format!("  {ratio:.2}x of {}", row.against));
        let [least, most] = row.spread;
        eprintln!("          {:<58} {:>10.3} {:<8}{compared} ({least:.2} to {most:.2})", row.name, row.ours, row.unit);
        writeln!(self.file, "{}", serde_json::to_string(row)?)?;
        Ok(())
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn spread(values: &[f64]) -> [f64; 2] {
    [values.iter().copied().fold(f64::NAN, f64::min), values.iter().copied().fold(f64::NAN, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round_and_not_of_the_medians() {
        let mut rounds = Rounds::default();
        for (ours, peer) in [(1.0, 2.0), (10.0, 20.0), (9.0, 10.0)] {
            rounds.ours(ours);
            rounds.peer(peer);
        }
        let row = rounds.row("n", "ms", "etcd", "<0.8x");
        assert_eq!((row.ours, row.peer, row.ratio, row.spread), (9.0, Some(10.0), Some(0.5), [0.5, 0.9]));
        assert_eq!(row.within(), Some(true));
    }

    #[test]
    fn budgets_are_upper_or_lower_bounds_of_ratio_or_figure() {
        let row = |budget: &str| Row { ours: 5.0, ratio: Some(2.0), budget: budget.to_owned(), ..Row::default() };
        let within = |budget| row(budget).within();
        assert_eq!((within(">2x"), within(">2.1x"), within("<1.9x")), (Some(true), Some(false), Some(false)));
        assert_eq!((within("<5"), within(">6"), within(""), within("?")), (Some(true), Some(false), None, None));
    }
}
