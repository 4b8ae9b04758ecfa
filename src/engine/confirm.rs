//! Which position may be confirmed to the slot. Pure.
//!
//! The target's commits do not wait for the disk. A position may be confirmed only once the commit that stored it is
//! flushed there: else a crash of the target takes the position back behind what the source has given up.

use crate::lsn::Lsn;

#[derive(Debug, Default)]
pub struct Confirmations {
    /// The source position that the last commit at the target stored, while nobody has asked where its WAL ends after it.
    stored: Option<Lsn>,
    /// (Where the target's WAL ended after a commit, the position that it stored), while that is not flushed.
    awaited: Option<(Lsn, Lsn)>,
}

impl Confirmations {
    /// A commit at the target stored `position`.
    pub fn stored(&mut self, position: Lsn) {
        self.stored = Some(position);
    }

    /// After everything stored so far the target's WAL ends at `end`, at most; it is flushed up to `flushed`. The position
    /// that may be confirmed now, if it is a new one.
    pub fn durable(&mut self, end: Lsn, flushed: Lsn) -> Option<Lsn> {
        let reached = |awaited: &mut (Lsn, Lsn)| awaited.0 <= flushed;
        let before = self.awaited.take_if(reached);
        if self.awaited.is_none() {
            self.awaited = self.stored.take().map(|position| (end, position));
        }
        self.awaited.take_if(reached).or(before).map(|(_, position)| position)
    }

    /// Everything stored is flushed: the position that may be confirmed now, if it is a new one.
    pub fn all_durable(&mut self) -> Option<Lsn> {
        let awaited = self.awaited.take().map(|(_, position)| position);
        self.stored.take().or(awaited)
    }

    pub fn is_empty(&self) -> bool {
        self.stored.is_none() && self.awaited.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_confirmed_before_it_is_on_disk() {
        let mut c = Confirmations::default();
        c.stored(Lsn(1));
        assert_eq!(c.durable(Lsn(10), Lsn(9)), None);
        // Stored since; what is asked about meanwhile is the first.
        c.stored(Lsn(2));
        c.stored(Lsn(3));
        assert_eq!(c.durable(Lsn(30), Lsn(9)), None);
        assert_eq!(c.durable(Lsn(31), Lsn(10)), Some(Lsn(1)));
        assert_eq!(c.durable(Lsn(40), Lsn(30)), None);
        assert!(!c.is_empty());
        assert_eq!(c.durable(Lsn(40), Lsn(31)), Some(Lsn(3)));
        assert!(c.is_empty());
        assert_eq!(c.durable(Lsn(50), Lsn(50)), None);
        // On disk as soon as it is asked about.
        c.stored(Lsn(4));
        assert_eq!(c.durable(Lsn(60), Lsn(60)), Some(Lsn(4)));
        // The newer of two.
        c.stored(Lsn(5));
        assert_eq!(c.durable(Lsn(70), Lsn(69)), None);
        c.stored(Lsn(6));
        assert_eq!(c.durable(Lsn(80), Lsn(80)), Some(Lsn(6)));
    }

    #[test]
    fn at_the_end_everything_is() {
        let mut c = Confirmations::default();
        c.stored(Lsn(1));
        assert_eq!(c.durable(Lsn(10), Lsn(9)), None);
        assert_eq!(c.all_durable(), Some(Lsn(1)));
        c.stored(Lsn(2));
        assert_eq!(c.durable(Lsn(20), Lsn(9)), None);
        c.stored(Lsn(3));
        assert_eq!(c.all_durable(), Some(Lsn(3)));
        assert!(c.is_empty());
        assert_eq!(c.all_durable(), None);
    }
}
