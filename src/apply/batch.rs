//! What the writer takes at a time.

use crate::domain::{Instant, TenantId};
use crate::facts::{Change, TextKey};
use crate::lsn::Lsn;

/// One step of a batch, in WAL order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Change(TenantId, Change),
    /// A change whose keys the POS keeps as text: their numbers have to be put in first.
    Keyed(TenantId, Box<(Change, Vec<TextKey>)>),
    /// A source transaction ends here.
    Commit,
}

impl Step {
    /// Takes the keys.
    pub fn new(tenant: TenantId, change: Change, keys: &mut Vec<TextKey>) -> Step {
        if keys.is_empty() {
            Step::Change(tenant, change)
        } else {
            Step::Keyed(tenant, Box::new((change, std::mem::take(keys))))
        }
    }

    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Step::Change(tenant, _) | Step::Keyed(tenant, _) => Some(*tenant),
            Step::Commit => None,
        }
    }
}

/// Changes of whole source transactions, or a part of one that is too large for a batch.
#[derive(Debug, Default)]
pub struct Batch {
    pub steps: Vec<Step>,
    /// End of the last source transaction in it and when that was committed. `None`: a part of a transaction, to be
    /// written but not yet made visible.
    pub end: Option<End>,
}

/// Where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Commit end position, or the position of a keepalive with nothing in flight.
    pub lsn: Lsn,
    /// `None` for a keepalive.
    pub committed_at: Option<Instant>,
}

/// Steps in parts of at most `size`, each of whole source transactions where these are not larger.
pub fn in_parts(mut steps: Vec<Step>, size: usize) -> impl Iterator<Item = Vec<Step>> {
    steps.reverse();
    std::iter::from_fn(move || {
        let from = steps.len().saturating_sub(size);
        // The end of the last whole transaction comes first. The last part takes what is left.
        let ends = |rest: &[Step]| rest.iter().position(|step| matches!(step, Step::Commit));
        let cut = if from == 0 { 0 } else { steps.get(from..).and_then(ends).unwrap_or(0) };
        let mut part = steps.split_off(from + cut);
        part.reverse();
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::change::RowOp;

    /// `c` a change, `|` a commit; each change tells its place.
    fn steps(text: &str) -> Vec<Step> {
        let step = |(n, letter): (i64, char)| match letter {
            'c' => Step::Change(TenantId(1), Change::Item(RowOp::Delete(n))),
            _ => Step::Commit,
        };
        (0..).zip(text.chars()).map(step).collect()
    }

    #[test]
    fn parts_end_with_transactions_where_they_can() {
        for (text, expected) in [
            ("", vec![]),
            ("cc|c|", vec![3, 2]),
            ("cc|cc|cc", vec![3, 3, 2]),
            ("ccccccc|c|", vec![4, 4, 2]),
            ("c|c|ccccccc", vec![4, 4, 3]),
        ] {
            let parts: Vec<Vec<Step>> = in_parts(steps(text), 4).collect();
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{text}");
            assert_eq!(parts.concat(), steps(text));
        }
    }
}
