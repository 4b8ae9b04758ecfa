//! Decimal arithmetic that never rounds in silence, and what is beyond the reports.

use chrono::Datelike;
use rust_decimal::Decimal;

use crate::domain::Instant;

/// Report columns hold less than this before the decimal point, so no source value may reach it: 10^16.
const LARGEST: Decimal = Decimal::from_parts(0x6FC1_0000, 0x0023_86F2, 0, false, 0);

/// No source time may reach this year: its local day in some zone may be one that cannot be held any more.
const LAST_YEAR: i32 = 200_000;

/// 10^16 or more, of either sign.
pub fn is_too_large(amount: Decimal) -> bool {
    amount.abs() >= LARGEST
}

/// Of the year 200000 or later.
pub fn is_too_late(at: Instant) -> bool {
    at.year() >= LAST_YEAR
}

/// A figure has more digits than 28: the store's numbers are beyond what the reports can hold exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum needs more than 28 digits to stay exact")]
pub struct Inexact;

/// `*sum += value`, exactly.
pub fn add(sum: &mut Decimal, value: Decimal) -> Result<(), Inexact> {
    if value.is_zero() {
        return Ok(());
    }
    if sum.is_zero() {
        *sum = value;
        return Ok(());
    }
    // Where the digits do not suffice the library gives up decimal places, which are those lost.
    let scale = sum.scale().max(value.scale());
    let result = sum.checked_add(value).ok_or(Inexact)?;
    if result.scale() < scale && !result.is_zero() {
        return Err(Inexact);
    }
    *sum = result;
    Ok(())
}

/// `a * b`, exactly.
pub fn multiply(a: Decimal, b: Decimal) -> Result<Decimal, Inexact> {
    let (a, b) = (a.normalize(), b.normalize());
    let result = a.checked_mul(b).ok_or(Inexact)?;
    if result.is_zero() && !a.is_zero() && !b.is_zero() {
        return Err(Inexact);
    }
    if result.scale() < a.scale() + b.scale() && !result.is_zero() {
        return Err(Inexact);
    }
    Ok(result)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn adds_and_multiplies_exactly_or_not_at_all() {
        let mut sum = d("0.1");
        add(&mut sum, d("0.2")).unwrap();
        assert_eq!(sum, d("0.3"));
        for (a, b, expected) in
            [("0.00", "5", "5"), ("5", "0.00", "5"), ("1.50", "-1.50", "0"), ("10.5", "-0.25", "10.25")]
        {
            let mut sum = d(a);
            add(&mut sum, d(b)).unwrap();
            assert_eq!(sum, d(expected));
        }
        let mut sum = d("1000000000000000000000000000");
        assert_eq!(add(&mut sum, d("0.001")), Err(Inexact));
        assert_eq!(multiply(d("1.500"), d("2.00")).unwrap(), d("3"));
        assert_eq!(multiply(d("0.000000000000001"), d("0.000000000000001")), Err(Inexact));
        assert_eq!(multiply(d("99999999999999.999"), d("99999999999999.99")), Err(Inexact));
    }
}
