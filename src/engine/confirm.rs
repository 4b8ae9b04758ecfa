//! Which position may be confirmed to the slot. Pure.
//!
//! The target's commits do not wait for the disk. A position may be confirmed only once the commit that stored it is
//! flushed there: else a crash of the target takes the position back behind what the source has given up.

use std::collections::VecDeque;

use crate::lsn::Lsn;

#[derive(Debug, Default)]
pub struct Confirmations {
    /// (target's WAL position after the commit, source position it stored), oldest first.
    waiting: VecDeque<(Lsn, Lsn)>,
}

impl Confirmations {
    /// A commit at the target stored `position`; it is durable once the target's WAL is flushed up to `committed`.
    pub fn committed(&mut self, committed: Lsn, position: Lsn) {
        self.waiting.push_back((committed, position));
    }

    /// The target's WAL is flushed up to `flushed`: the position that may be confirmed now, if it is a new one.
    pub fn flushed(&mut self, flushed: Lsn) -> Option<Lsn> {
        let mut durable = None;
        while let Some((committed, position)) = self.waiting.front().copied() {
            if committed > flushed {
                break;
            }
            durable = Some(position);
            self.waiting.pop_front();
        }
        durable
    }

    /// The stored position has gone back: what was committed before says nothing about it.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_confirmed_before_it_is_on_disk() {
        let mut c = Confirmations::default();
        c.committed(Lsn(10), Lsn(1));
        c.committed(Lsn(20), Lsn(2));
        c.committed(Lsn(30), Lsn(3));
        assert_eq!(c.flushed(Lsn(9)), None);
        assert_eq!(c.flushed(Lsn(20)), Some(Lsn(2)));
        assert_eq!(c.flushed(Lsn(29)), None);
        assert_eq!(c.flushed(Lsn(40)), Some(Lsn(3)));
        assert!(c.is_empty());
    }
}
