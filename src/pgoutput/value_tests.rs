#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chrono::{NaiveDate, TimeZone, Utc};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

/// A numeric as numeric_send writes it: `digits` are decimal, of the value times 10^scale.
fn numeric_binary(negative: bool, digits: &str, scale: usize) -> Vec<u8> {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = (whole.len() / 4) as i16 - 1;
    let all = whole + &fraction;
    let mut groups: Vec<u16> =
        all.as_bytes().chunks(4).map(|c| std::str::from_utf8(c).unwrap().parse().unwrap()).collect();
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zero = groups.is_empty();
    let mut out = Vec::new();
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&(if zero { 0 } else { weight }).to_be_bytes());
    out.extend_from_slice(&(if negative && !zero { 0x4000_u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&(scale as u16).to_be_bytes());
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
    out
}

fn binary_decimal(raw: &[u8]) -> Result<Decimal, ValueError> {
    Value::Binary(raw).as_decimal(1700).map(Option::unwrap)
}

fn text_decimal(text: &str) -> Result<Decimal, ValueError> {
    Value::Text(text.as_bytes()).as_decimal(1700).map(Option::unwrap)
}

#[test]
fn numerics_are_exact_or_refused() {
    // As `select numeric_send(…)` gives them.
    let cases: [(&[u16], &str); 8] = [
        (&[0, 0, 0, 0], "0"),
        (&[0, 0, 0, 3], "0.000"),
        (&[3, 1, 0, 4, 1, 2345, 6700], "12345.6700"),
        (&[1, -1_i16 as u16, 0x4000, 1, 5000], "-0.5"),
        (&[1, -1_i16 as u16, 0, 4, 1], "0.0001"),
        (&[1, 6, 0, 0, 1000], "1000000000000000000000000000"),
        (&[1, -7_i16 as u16, 0, 28, 1], "0.0000000000000000000000000001"),
        (&[8, 7, 0, 0, 7, 9228, 1625, 1426, 4337, 5935, 4395, 335], "79228162514264337593543950335"),
    ];
    for (words, text) in cases {
        let mut raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        assert_eq!(binary_decimal(&raw), Ok(text.parse().unwrap()), "{text}");
        assert_eq!(text_decimal(text), Ok(text.parse().unwrap()), "{text}");
        raw.push(0);
        assert!(matches!(binary_decimal(&raw), Err(ValueError::Malformed(_))), "{text}");
    }
    let refused: [(&[u16], &str, ValueError); 6] = [
        (&[0, 0, 0xC000, 0], "NaN", ValueError::NotANumber),
        (&[0, 0, 0xD000, 0x20], "Infinity", ValueError::Infinite),
        (&[0, 0, 0xF000, 0x20], "-Infinity", ValueError::Infinite),
        (&[1, -8_i16 as u16, 0, 29, 1000], "0.00000000000000000000000000001", ValueError::TooPrecise),
        (
            &[8, 7, 0, 0, 7, 9228, 1625, 1426, 4337, 5935, 4395, 336],
            "79228162514264337593543950336",
            ValueError::TooPrecise,
        ),
        (&[1, 0x7FFF, 0, 0, 1], &format!("1{}", "0".repeat(131_071)), ValueError::TooPrecise),
    ];
    for (words, text, error) in refused {
        let raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        assert_eq!((binary_decimal(&raw), text_decimal(text)), (Err(error), Err(error)), "{words:?}");
    }
    for words in
        [&[1_u16, 0, 0, 0, 10_000][..], &[1, 0, 0x1000, 0, 1], &[2, 0, 0, 0, 1], &[0xFFFF, 0, 0, 0], &[0, 0, 0]]
    {
        let raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        assert!(matches!(binary_decimal(&raw), Err(ValueError::Malformed(_))), "{words:?}");
    }
    for text in ["", "-", ".", "1e5", "+1", "1.2.3", " 1", "--1", "0x1", "nan"] {
        assert!(matches!(text_decimal(text), Err(ValueError::Malformed(_))), "{text:?}");
    }
    let many_zeros = format!("12345.67{}", "0".repeat(40));
    assert_eq!(text_decimal(&many_zeros), Ok(Decimal::new(1_234_567, 2)));
    assert_eq!(
        binary_decimal(&numeric_binary(false, &format!("1234567{}", "0".repeat(40)), 42)),
        Ok(Decimal::new(1_234_567, 2))
    );
}

#[test]
fn integers_of_any_width() {
    for (oid, raw, value) in [
        (21, &(-2_i16).to_be_bytes()[..], -2),
        (23, &i32::MIN.to_be_bytes()[..], i64::from(i32::MIN)),
        (20, &i64::MAX.to_be_bytes()[..], i64::MAX),
    ] {
        assert_eq!(Value::Binary(raw).as_i64(oid), Ok(Some(value)));
        assert_eq!(Value::Text(value.to_string().as_bytes()).as_i64(oid), Ok(Some(value)));
        assert_eq!(Value::Binary(raw).as_decimal(oid), Ok(Some(Decimal::from(value))));
        assert!(Value::Binary(&raw[1..]).as_i64(oid).is_err());
        assert!(Value::Text(b"1.0").as_i64(oid).is_err());
    }
    assert!(matches!(Value::Text(b"1").as_i64(1700), Err(ValueError::WrongType { type_oid: 1700, .. })));
    assert!(matches!(Value::Text(b"1").as_decimal(25), Err(ValueError::WrongType { type_oid: 25, .. })));
}

#[test]
fn floating_point_numbers_as_they_are_printed() {
    for (value, text) in [(0.1 + 0.2, "0.30000000000000004"), (-2.5, "-2.5"), (1e-5, "0.00001")] {
        let number: Decimal = text.parse().unwrap();
        assert_eq!(Value::Binary(&f64::to_be_bytes(value)).as_decimal(701), Ok(Some(number)));
    }
    assert_eq!(Value::Text(b"1e-05").as_decimal(701), Ok(Some(Decimal::new(1, 5))));
    assert_eq!(Value::Binary(&0.1_f32.to_be_bytes()).as_decimal(700), Ok(Some(Decimal::new(1, 1))));
    assert_eq!(Value::Binary(&f64::NAN.to_be_bytes()).as_decimal(701), Err(ValueError::NotANumber));
    assert!(Value::Binary(&[0; 4]).as_decimal(701).is_err());
}

#[test]
fn words_of_any_type() {
    let text = |value: Value<'_>, oid| value.as_text(oid).unwrap().map(|text| text.into_owned());
    assert_eq!(text(Value::Binary(&7_i32.to_be_bytes()), 23).as_deref(), Some("7"));
    assert_eq!(text(Value::Binary(&[1]), 16).as_deref(), Some("true"));
    assert_eq!(text(Value::Text(b"f"), 16).as_deref(), Some("false"));
    assert_eq!(text(Value::Binary(b"done  "), 1042).as_deref(), Some("done"));
    let uuid: Vec<u8> = (0..16).map(|n| n * 17).collect();
    assert_eq!(text(Value::Binary(&uuid), 2950).as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
    assert_eq!(text(Value::Null, 2950), None);
    assert!(Value::Binary(&[0; 15]).as_text(2950).is_err() && Value::Binary(&[0; 8]).as_text(1700).is_err());
    assert_eq!(Value::Unchanged.as_text(25), Err(ValueError::Unchanged));
}

#[test]
fn local_times() {
    let local = chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_micro_opt(22, 30, 0, 5).unwrap();
    let micros = (local.and_utc().timestamp_micros() - 946_684_800_000_000).to_be_bytes();
    assert_eq!(Value::Binary(&micros).as_local(1114), Ok(Some(local)));
    assert_eq!(Value::Text(b"2024-02-29 22:30:00.000005").as_local(1114), Ok(Some(local)));
    assert_eq!(Value::Binary(&i64::MAX.to_be_bytes()).as_local(1114), Err(ValueError::Infinite));
    assert!(matches!(Value::Binary(&micros).as_local(1184), Err(ValueError::WrongType { .. })));
}

#[test]
fn times_dates_and_the_rest() {
    let instant = Utc.with_ymd_and_hms(2024, 2, 29, 22, 30, 0).unwrap() + chrono::TimeDelta::microseconds(1);
    let micros = (instant.timestamp_micros() - 946_684_800_000_000).to_be_bytes();
    assert_eq!(Value::Binary(&micros).as_instant(1184), Ok(Some(instant)));
    for text in [
        "2024-02-29 22:30:00.000001+00",
        "2024-03-01 03:30:00.000001+05",
        "2024-02-29 13:00:00.000001-09:30",
        "2024-03-01 03:06:20.000001+04:36:20",
    ] {
        assert_eq!(Value::Text(text.as_bytes()).as_instant(1184), Ok(Some(instant)), "{text}");
    }
    for text in
        ["", "2024-02-29", "2024-02-29 22:30:00", "2024-02-30 22:30:00+00", "2024-02-29 22:30:00+1", "x+00:00:00:00"]
    {
        assert!(Value::Text(text.as_bytes()).as_instant(1184).is_err(), "{text}");
    }
    let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
    assert_eq!(Value::Binary(&8825_i32.to_be_bytes()).as_date(1082), Ok(Some(date)));
    assert_eq!(Value::Text(b"2024-02-29").as_date(1082), Ok(Some(date)));
    for value in [Value::Text(b"infinity"), Value::Text(b"-infinity")] {
        assert_eq!(
            (value.as_date(1082), value.as_instant(1184)),
            (Err(ValueError::Infinite), Err(ValueError::Infinite))
        );
    }
    assert_eq!(Value::Binary(&i64::MAX.to_be_bytes()).as_instant(1184), Err(ValueError::Infinite));
    assert_eq!(Value::Binary(&(i64::MAX - 1).to_be_bytes()).as_instant(1184), Err(ValueError::OutOfRange));
    assert_eq!(Value::Binary(&i32::MIN.to_be_bytes()).as_date(1082), Err(ValueError::Infinite));
    assert_eq!(Value::Binary(&(i32::MAX - 1).to_be_bytes()).as_date(1082), Err(ValueError::OutOfRange));

    assert_eq!((Value::Binary(&[1]).as_bool(16), Value::Text(b"f").as_bool(16)), (Ok(Some(true)), Ok(Some(false))));
    assert!(Value::Text(b"true").as_bool(16).is_err() && Value::Binary(&[]).as_bool(16).is_err());
    assert_eq!(Value::Binary("сум".as_bytes()).as_str(1043), Ok(Some("сум")));
    assert_eq!(Value::Binary(b"completed").as_str(16_500), Ok(Some("completed")));
    assert_eq!(Value::Text(b"\xff").as_str(25), Err(ValueError::NotUtf8));
    assert!(matches!(Value::Binary(&[1]).as_str(16), Err(ValueError::WrongType { .. })));

    assert_eq!(
        (Value::Null.as_i64(20), Value::Null.as_decimal(1700), Value::Null.as_str(25)),
        (Ok(None), Ok(None), Ok(None))
    );
    assert_eq!(Value::Unchanged.as_str(25), Err(ValueError::Unchanged));
    assert_eq!(Value::Unchanged.as_decimal(1700), Err(ValueError::Unchanged));
}

proptest! {
    #[test]
    fn numerics_come_back_exactly(negative: bool, digits in "[0-9]{1,32}", zeros in 0..12_usize, scale in 0..34_usize) {
        // The oracle is the text: what the digits say, less the zeros that end the fraction, or too much for a decimal.
        let digits = format!("{digits}{}", "0".repeat(zeros));
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if negative { "-" } else { "" };
        let text = if scale > 0 { format!("{sign}{whole}.{fraction}") } else { format!("{sign}{whole}") };
        let kept = fraction.trim_end_matches('0');
        let mantissa: u128 = format!("0{whole}{kept}").parse().unwrap_or(u128::MAX);
        let expected = if mantissa == 0 {
            Ok(Decimal::ZERO)
        } else if kept.len() <= 28 && mantissa < 1 << 96 {
            let signed = mantissa as i128 * if negative { -1 } else { 1 };
            Ok(Decimal::from_i128_with_scale(signed, kept.len() as u32))
        } else {
            Err(ValueError::TooPrecise)
        };
        prop_assert_eq!(text_decimal(&text), expected);
        prop_assert_eq!(binary_decimal(&numeric_binary(negative, &digits, scale)), expected, "{}", text);
    }

    #[test]
    fn every_decimal_survives_both_forms(lo: u32, mid: u32, hi: u32, negative: bool, scale in 0..=28_u32) {
        let value = Decimal::from_parts(lo, mid, hi, negative, scale);
        prop_assert_eq!(text_decimal(&value.to_string()), Ok(value));
        let digits = value.mantissa().unsigned_abs().to_string();
        prop_assert_eq!(binary_decimal(&numeric_binary(negative, &digits, scale as usize)), Ok(value));
    }
}
