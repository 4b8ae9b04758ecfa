//! Exact arithmetic on decimals, and how PostgreSQL prints the outcome.

use rust_decimal::{Decimal, RoundingStrategy};

/// Rounded half away from zero to `digits` decimals, all of them shown.
pub fn rounded(value: Decimal, digits: u32) -> Decimal {
    let mut value = value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero);
    if value.is_zero() {
        value = Decimal::ZERO;
    }
    value.rescale(digits);
    value
}

pub fn money(value: Decimal) -> String {
    rounded(value, 2).to_string()
}

pub fn amount(value: Decimal) -> String {
    rounded(value, 3).to_string()
}

/// `value` in units of 10^-`digits`; it must not have more decimals.
pub fn units(mut value: Decimal, digits: u32) -> i128 {
    assert!(value.normalize().scale() <= digits, "{value} has more than {digits} decimals");
    value.rescale(digits);
    value.mantissa()
}

/// The decimals that are needed to write all of these.
pub fn decimals(values: &[Decimal]) -> u32 {
    values.iter().map(|value| value.normalize().scale()).max().unwrap_or(0)
}

/// `over` / `under` as [`share`] has it.
pub fn ratio(over: Decimal, under: Decimal) -> String {
    let digits = decimals(&[over, under]);
    share(units(over, digits), units(under, digits))
}

/// The quotient in hundredths, rounded half away from zero, held within numeric(12,2).
pub fn share(over: i128, under: i128) -> String {
    let positive = (over < 0) == (under < 0);
    let (over, under) = (over.unsigned_abs(), under.unsigned_abs());
    let hundredths = i128::try_from((over * 200 + under) / (2 * under)).expect("a quotient that fits");
    let hundredths = if positive { hundredths } else { -hundredths }.clamp(-999_999_999_999, 999_999_999_999);
    Decimal::from_i128_with_scale(hundredths, 2).to_string()
}
