//! `double precision` and `real` as the decimal number that PostgreSQL prints of them: the shortest that reads back as
//! the same value.

use rust_decimal::Decimal;

use super::numeric::decimal;
use super::value::ValueError;

/// No number that is printed shortest has more digits.
const MAX_DIGITS: usize = 32;
/// Beyond this exponent nothing fits a [`Decimal`].
const MAX_EXPONENT: i32 = 400;

/// # Errors
/// NaN, the infinities, what a [`Decimal`] cannot hold exactly.
pub(super) fn from_f64(value: f64) -> Result<Decimal, ValueError> {
    refuse(value.is_nan(), value.is_infinite())?;
    // The server's own way to print them is after the same: it also takes the even one of two digits that are as near.
    from_text(ryu::Buffer::new().format_finite(value))
}

/// # Errors
/// As [`from_f64`].
pub(super) fn from_f32(value: f32) -> Result<Decimal, ValueError> {
    refuse(value.is_nan(), value.is_infinite())?;
    let shortest = from_text(ryu::Buffer::new().format_finite(value))?;
    // But the server never prints what lies exactly half-way between two values, lest a reader rounds it to the wrong one; it
    // takes more digits. Such a number is a whole one. A double's would be beyond 10^16, which is refused anyway.
    let exact = f64::from(value);
    let neighbours = [f64::from(value.next_up()), f64::from(value.next_down())];
    let half_way = |number: Decimal| {
        let number = f64::try_from(number).unwrap_or(f64::NAN);
        neighbours.iter().any(|other| (exact + other) / 2.0 == number)
    };
    if !half_way(shortest) {
        return Ok(shortest);
    }
    // After the first digit. Nine digits tell every value from its neighbours.
    for digits in 1..=8 {
        let longer = from_text(&format!("{value:.digits$e}"))?;
        if f64::try_from(longer).is_ok_and(|number| number as f32 == value) && !half_way(longer) {
            return Ok(longer);
        }
    }
    Ok(shortest)
}

fn refuse(nan: bool, infinite: bool) -> Result<(), ValueError> {
    match (nan, infinite) {
        (true, _) => Err(ValueError::NotANumber),
        (_, true) => Err(ValueError::Infinite),
        _ => Ok(()),
    }
}

const BAD: ValueError = ValueError::Malformed("floating-point number");

/// Reads the text form: digits, with or without a point, with or without an exponent.
///
/// # Errors
/// As [`from_f64`].
pub(super) fn from_text(text: &str) -> Result<Decimal, ValueError> {
    let (negative, number) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match number {
        "NaN" => return Err(ValueError::NotANumber),
        "Infinity" => return Err(ValueError::Infinite),
        _ => {}
    }
    let (number, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| BAD)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() + fraction.len() > MAX_DIGITS || exponent.abs() > MAX_EXPONENT {
        return Err(BAD);
    }
    let mut mantissa = 0_u128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(BAD);
        }
        mantissa = mantissa * 10 + u128::from(byte - b'0');
    }
    let mut places = i32::try_from(fraction.len()).map_err(|_| BAD)? - exponent;
    if mantissa == 0 {
        return Ok(Decimal::ZERO);
    }
    while places > 0 && mantissa.is_multiple_of(10) {
        (mantissa, places) = (mantissa / 10, places - 1);
    }
    if places < 0 {
        let power = 10_u128.checked_pow(places.unsigned_abs()).ok_or(ValueError::TooPrecise)?;
        mantissa = mantissa.checked_mul(power).ok_or(ValueError::TooPrecise)?;
    }
    decimal(negative, mantissa, u32::try_from(places.max(0)).map_err(|_| BAD)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_printed() {
        for (value, text) in [
            (0.1 + 0.2, "0.30000000000000004"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000"),
            (123_456_789.125, "123456789.125"),
            (1e-7, "0.0000001"),
            (-0.0, "0"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (5_366_698_448_848_561.0 / 4.0, "1341674612212140.2"),
        ] {
            assert_eq!(from_f64(value).unwrap().to_string(), text);
        }
        assert_eq!(from_f64(0.1 + 0.2 - 0.3), Err(ValueError::TooPrecise));
        assert_eq!(from_f64(1e300), Err(ValueError::TooPrecise));
        assert_eq!(from_f64(f64::NAN), Err(ValueError::NotANumber));
        assert_eq!(from_f64(f64::NEG_INFINITY), Err(ValueError::Infinite));
    }

    #[test]
    fn text_forms() {
        for (text, number) in [("1e-05", "0.00001"), ("1.5e+15", "1500000000000000"), ("0", "0"), ("-12.50", "-12.5")] {
            assert_eq!(from_text(text).unwrap().to_string(), number);
        }
        for bad in ["", "-", "e5", ".5", "1e", "1.2.3", "0x1", "1e9999"] {
            assert!(from_text(bad).is_err(), "{bad:?}");
        }
    }
}
