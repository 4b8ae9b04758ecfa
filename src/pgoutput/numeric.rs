//! `numeric`, exactly: base-10000 digits or decimal text to [`Decimal`], or an error, never rounded.

use rust_decimal::Decimal;

use super::value::ValueError;

/// The largest mantissa a [`Decimal`] holds: 96 bits.
const MAX_MANTISSA: u128 = (1 << 96) - 1;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// `numeric`'s display scale has 14 bits.
const MAX_DISPLAY_SCALE: u16 = 0x3FFF;

/// Base-10000 digits of a 96-bit mantissa: 29 decimal digits, which may begin and end inside a digit.
const MAX_DIGITS: usize = 9;

/// Reads the binary form: digit count, weight of the first digit, sign, display scale, digits.
///
/// # Errors
/// NaN, the infinities, what a [`Decimal`] cannot hold exactly, and bytes that are not a numeric.
pub(super) fn from_binary(bytes: &[u8]) -> Result<Decimal, ValueError> {
    const SHORT: ValueError = ValueError::Malformed("numeric header");
    let (count, rest) = take_u16(bytes).ok_or(SHORT)?;
    let (weight, rest) = take_u16(rest).ok_or(SHORT)?;
    let (sign, rest) = take_u16(rest).ok_or(SHORT)?;
    let (display_scale, mut digits) = take_u16(rest).ok_or(SHORT)?;
    if digits.len() != usize::from(count) * 2 {
        return Err(ValueError::Malformed("numeric digit count"));
    }
    let negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN => return Err(ValueError::NotANumber),
        INFINITY | NEGATIVE_INFINITY => return Err(ValueError::Infinite),
        _ => return Err(ValueError::Malformed("numeric sign")),
    };
    if display_scale > MAX_DISPLAY_SCALE {
        return Err(ValueError::Malformed("numeric scale"));
    }

    let mut weight = i32::from(weight.cast_signed());
    while let Some(rest) = digits.strip_prefix(&[0, 0]) {
        digits = rest;
        weight -= 1;
    }
    while let Some(rest) = digits.strip_suffix(&[0, 0]) {
        digits = rest;
    }
    let count = digits.len() / 2;
    if count > MAX_DIGITS {
        // Still look at the digits: garbage is garbage, not a big number.
        return Err(each_digit(digits, |_, _| ()).err().unwrap_or(ValueError::TooPrecise));
    }
    // count is at most MAX_DIGITS, so this cannot wrap.
    let exponent = 4 * (weight - count as i32 + 1);
    let mut mantissa = 0_u128;
    let mut scale = 0_i32;
    each_digit(digits, |digit, last| {
        // Below the point, the zeros that end the last digit are not part of the value's scale (0.5 is digit 5000).
        let (digit, places) = if last && exponent < 0 { without_zeros(digit) } else { (digit, 4) };
        mantissa = mantissa * u128::from(10_u16.pow(places)) + u128::from(digit);
        if last && exponent < 0 {
            scale = -exponent - (4 - places as i32);
        }
    })?;
    if mantissa == 0 {
        return Ok(Decimal::ZERO);
    }
    if exponent > 0 {
        let power = 10_u128.checked_pow(exponent.unsigned_abs()).ok_or(ValueError::TooPrecise)?;
        mantissa = mantissa.checked_mul(power).ok_or(ValueError::TooPrecise)?;
    }
    decimal(negative, mantissa, scale.unsigned_abs())
}

/// Reads the text form, as `numeric_out` writes it: no exponent.
///
/// # Errors
/// As [`from_binary`].
pub(super) fn from_text(text: &str) -> Result<Decimal, ValueError> {
    const BAD: ValueError = ValueError::Malformed("numeric text");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match digits {
        "NaN" => return Err(ValueError::NotANumber),
        "Infinity" => return Err(ValueError::Infinite),
        _ => {}
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(BAD);
    }
    let fraction_kept = fraction.trim_end_matches('0');
    let mut mantissa = 0_u128;
    for byte in whole.bytes().chain(fraction_kept.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(BAD);
        }
        mantissa = mantissa * 10 + u128::from(byte - b'0');
        if mantissa > MAX_MANTISSA {
            return Err(ValueError::TooPrecise);
        }
    }
    decimal(negative, mantissa, u32::try_from(fraction_kept.len()).map_err(|_| ValueError::TooPrecise)?)
}

pub(super) fn decimal(negative: bool, mantissa: u128, scale: u32) -> Result<Decimal, ValueError> {
    if mantissa > MAX_MANTISSA {
        return Err(ValueError::TooPrecise);
    }
    let mantissa = i128::try_from(mantissa).map_err(|_| ValueError::TooPrecise)?;
    // Refuses a scale above 28.
    Decimal::try_from_i128_with_scale(if negative { -mantissa } else { mantissa }, scale)
        .map_err(|_| ValueError::TooPrecise)
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk::<2>().map(|(head, rest)| (u16::from_be_bytes(*head), rest))
}

/// Calls `act` with each base-10000 digit and whether it is the last.
fn each_digit(mut digits: &[u8], mut act: impl FnMut(u16, bool)) -> Result<(), ValueError> {
    while let Some((digit, rest)) = take_u16(digits) {
        if digit > 9999 {
            return Err(ValueError::Malformed("numeric digit"));
        }
        act(digit, rest.is_empty());
        digits = rest;
    }
    Ok(())
}

/// A non-zero digit of four places without its trailing zeros, and the places that are left.
fn without_zeros(mut digit: u16) -> (u16, u32) {
    let mut places = 4;
    while places > 1 && digit.is_multiple_of(10) {
        digit /= 10;
        places -= 1;
    }
    (digit, places)
}
