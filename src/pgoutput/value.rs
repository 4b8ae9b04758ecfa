//! Typed reads of one column's value, from its binary or its text form.
//!
//! The caller gives the column's type oid, for a domain that of its base type. The session pins `DateStyle` to ISO, so
//! the text forms are those of PostgreSQL's defaults.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use postgres_protocol::types as wire;
use postgres_types::Type;
use rust_decimal::Decimal;

use super::tuple::Value;
use super::{float, numeric};
use crate::domain::Instant;

/// 2000-01-01 00:00 UTC, PostgreSQL's epoch, in seconds of Unix time.
const EPOCH_SECONDS: i64 = 946_684_800;
/// The same day in `NaiveDate`'s count from 0001-01-01, which is day 1.
const EPOCH_DAY: i32 = 730_120;
/// From here on oids belong to objects that users and extensions made: enums, citext, domains.
const FIRST_USER_OID: u32 = 16_384;

/// Why a value cannot be used. Says the reason only: values are not for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("the value is unchanged and was not sent")]
    Unchanged,
    #[error("a column of type oid {type_oid} cannot be read as {wanted}")]
    WrongType { type_oid: u32, wanted: &'static str },
    #[error("malformed {0}")]
    Malformed(&'static str),
    #[error("not a number (NaN)")]
    NotANumber,
    #[error("infinite")]
    Infinite,
    #[error("more digits than can be kept exactly")]
    TooPrecise,
    #[error("outside the range of dates that can be kept")]
    OutOfRange,
    #[error("text that is not UTF-8")]
    NotUtf8,
}

/// The point in time of PostgreSQL's timestamps: microseconds since 2000-01-01 00:00 UTC. `None` where it is beyond what
/// can be held (and so for the infinities).
pub fn instant_from_micros(micros: i64) -> Option<Instant> {
    DateTime::from_timestamp(EPOCH_SECONDS, 0)?.checked_add_signed(TimeDelta::microseconds(micros))
}

/// Each read gives `Ok(None)` for NULL and an error for [`Value::Unchanged`], which the caller must treat before.
impl<'a> Value<'a> {
    /// An int2, int4 or int8.
    ///
    /// # Errors
    /// Another type, or bytes that are none of these.
    pub fn as_i64(self, type_oid: u32) -> Result<Option<i64>, ValueError> {
        let Some(form) = self.form()? else { return Ok(None) };
        let bad = |_| ValueError::Malformed("integer");
        match (Type::from_oid(type_oid), form) {
            (Some(Type::INT8), Form::Binary(raw)) => wire::int8_from_sql(raw).map_err(bad),
            (Some(Type::INT4), Form::Binary(raw)) => wire::int4_from_sql(raw).map(i64::from).map_err(bad),
            (Some(Type::INT2), Form::Binary(raw)) => wire::int2_from_sql(raw).map(i64::from).map_err(bad),
            (Some(Type::INT8 | Type::INT4 | Type::INT2), Form::Text(raw)) => {
                utf8(raw)?.parse().map_err(|_| ValueError::Malformed("integer"))
            }
            _ => Err(ValueError::WrongType { type_oid, wanted: "an integer" }),
        }
        .map(Some)
    }

    /// A numeric or an integer, exactly, or a floating-point number as it is printed. The scale is the value's own, not the
    /// column's.
    ///
    /// # Errors
    /// NaN and the infinities; more than 96 bits of digits or 28 places; another type; bytes that are none of these.
    pub fn as_decimal(self, type_oid: u32) -> Result<Option<Decimal>, ValueError> {
        let bad = |_| ValueError::Malformed("floating-point number");
        match (type_oid == Type::NUMERIC.oid(), self.form()?) {
            (_, None) => Ok(None),
            (true, Some(Form::Binary(raw))) => numeric::from_binary(raw).map(Some),
            (true, Some(Form::Text(raw))) => numeric::from_text(utf8(raw)?).map(Some),
            (false, Some(form)) => match (Type::from_oid(type_oid), form) {
                (Some(Type::FLOAT8), Form::Binary(raw)) => {
                    float::from_f64(wire::float8_from_sql(raw).map_err(bad)?).map(Some)
                }
                (Some(Type::FLOAT4), Form::Binary(raw)) => {
                    float::from_f32(wire::float4_from_sql(raw).map_err(bad)?).map(Some)
                }
                (Some(Type::FLOAT8 | Type::FLOAT4), Form::Text(raw)) => float::from_text(utf8(raw)?).map(Some),
                _ => match self.as_i64(type_oid) {
                    Err(ValueError::WrongType { .. }) => Err(ValueError::WrongType { type_oid, wanted: "a number" }),
                    integer => Ok(integer?.map(Decimal::from)),
                },
            },
        }
    }

    /// A timestamptz.
    ///
    /// # Errors
    /// The infinities and years beyond what can be held; another type; bytes that are not a timestamp.
    pub fn as_instant(self, type_oid: u32) -> Result<Option<Instant>, ValueError> {
        let Some(form) = self.form()? else { return Ok(None) };
        if type_oid != Type::TIMESTAMPTZ.oid() {
            return Err(ValueError::WrongType { type_oid, wanted: "a timestamptz" });
        }
        match form {
            Form::Binary(raw) => match wire::timestamp_from_sql(raw) {
                Ok(i64::MAX | i64::MIN) => Err(ValueError::Infinite),
                Ok(micros) => instant_from_micros(micros).ok_or(ValueError::OutOfRange),
                Err(_) => Err(ValueError::Malformed("timestamptz")),
            },
            Form::Text(raw) => instant_from_text(utf8(raw)?),
        }
        .map(Some)
    }

    /// A timestamp without time zone.
    ///
    /// # Errors
    /// As [`Value::as_instant`].
    pub fn as_local(self, type_oid: u32) -> Result<Option<NaiveDateTime>, ValueError> {
        let Some(form) = self.form()? else { return Ok(None) };
        if type_oid != Type::TIMESTAMP.oid() {
            return Err(ValueError::WrongType { type_oid, wanted: "a timestamp without time zone" });
        }
        match form {
            Form::Binary(raw) => match wire::timestamp_from_sql(raw) {
                Ok(i64::MAX | i64::MIN) => Err(ValueError::Infinite),
                Ok(micros) => instant_from_micros(micros).map(|at| at.naive_utc()).ok_or(ValueError::OutOfRange),
                Err(_) => Err(ValueError::Malformed("timestamp")),
            },
            Form::Text(raw) => match utf8(raw)? {
                "infinity" | "-infinity" => Err(ValueError::Infinite),
                text => NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
                    .map_err(|_| ValueError::Malformed("timestamp")),
            },
        }
        .map(Some)
    }

    /// A date.
    ///
    /// # Errors
    /// The infinities and years beyond what can be held; another type; bytes that are not a date.
    pub fn as_date(self, type_oid: u32) -> Result<Option<NaiveDate>, ValueError> {
        let Some(form) = self.form()? else { return Ok(None) };
        if type_oid != Type::DATE.oid() {
            return Err(ValueError::WrongType { type_oid, wanted: "a date" });
        }
        match form {
            Form::Binary(raw) => match wire::date_from_sql(raw) {
                Ok(i32::MAX | i32::MIN) => Err(ValueError::Infinite),
                Ok(days) => EPOCH_DAY
                    .checked_add(days)
                    .and_then(NaiveDate::from_num_days_from_ce_opt)
                    .ok_or(ValueError::OutOfRange),
                Err(_) => Err(ValueError::Malformed("date")),
            },
            Form::Text(raw) => match utf8(raw)? {
                "infinity" | "-infinity" => Err(ValueError::Infinite),
                text => NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| ValueError::Malformed("date")),
            },
        }
        .map(Some)
    }

    /// A boolean.
    ///
    /// # Errors
    /// Another type, or bytes that are not a boolean.
    pub fn as_bool(self, type_oid: u32) -> Result<Option<bool>, ValueError> {
        let Some(form) = self.form()? else { return Ok(None) };
        if type_oid != Type::BOOL.oid() {
            return Err(ValueError::WrongType { type_oid, wanted: "a boolean" });
        }
        match form {
            Form::Binary(raw) => wire::bool_from_sql(raw).map_err(|_| ValueError::Malformed("boolean")),
            Form::Text(b"t") => Ok(true),
            Form::Text(b"f") => Ok(false),
            Form::Text(_) => Err(ValueError::Malformed("boolean")),
        }
        .map(Some)
    }

    /// Text: text, varchar, char(n), name, and types of users and extensions, whose binary form is taken to be text (as
    /// it is for enums and citext).
    ///
    /// # Errors
    /// Another built-in type, or bytes that are not UTF-8.
    pub fn as_str(self, type_oid: u32) -> Result<Option<&'a str>, ValueError> {
        let Some(Form::Binary(raw) | Form::Text(raw)) = self.form()? else { return Ok(None) };
        match Type::from_oid(type_oid) {
            Some(Type::TEXT | Type::VARCHAR | Type::NAME) => utf8(raw).map(Some),
            // Padded on its way only.
            Some(Type::BPCHAR) => Ok(Some(utf8(raw)?.trim_end_matches(' '))),
            None if type_oid >= FIRST_USER_OID => utf8(raw).map(Some),
            _ => Err(ValueError::WrongType { type_oid, wanted: "text" }),
        }
    }

    /// What a cast to text gives: of text itself, of integers, booleans and UUIDs.
    ///
    /// # Errors
    /// As [`Value::as_str`].
    pub fn as_text(self, type_oid: u32) -> Result<Option<Cow<'a, str>>, ValueError> {
        let text = self.as_str(type_oid);
        if !matches!(text, Err(ValueError::WrongType { .. })) {
            return Ok(text?.map(Cow::Borrowed));
        }
        match (Type::from_oid(type_oid), self.form()?) {
            (_, None) => Ok(None),
            (Some(Type::BOOL), _) => {
                Ok(self.as_bool(type_oid)?.map(|value| if value { "true" } else { "false" }.into()))
            }
            (Some(Type::UUID), Some(Form::Text(raw))) => Ok(Some(utf8(raw)?.into())),
            (Some(Type::UUID), Some(Form::Binary(raw))) => uuid(raw).map(|text| Some(text.into())),
            _ => match self.as_i64(type_oid) {
                Err(ValueError::WrongType { .. }) => Err(ValueError::WrongType { type_oid, wanted: "text" }),
                number => Ok(number?.map(|number| number.to_string().into())),
            },
        }
    }

    fn form(self) -> Result<Option<Form<'a>>, ValueError> {
        match self {
            Value::Null => Ok(None),
            Value::Unchanged => Err(ValueError::Unchanged),
            Value::Text(raw) => Ok(Some(Form::Text(raw))),
            Value::Binary(raw) => Ok(Some(Form::Binary(raw))),
        }
    }
}

/// A value that is there.
enum Form<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

fn utf8(raw: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(raw).map_err(|_| ValueError::NotUtf8)
}

/// In lower case, with hyphens, as the server prints it.
fn uuid(raw: &[u8]) -> Result<String, ValueError> {
    let raw = <[u8; 16]>::try_from(raw).map_err(|_| ValueError::Malformed("uuid"))?;
    let mut text = String::with_capacity(36);
    for (at, byte) in raw.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    Ok(text)
}

/// `2026-01-02 03:04:05.678+05`, where the offset may have minutes and seconds (`+04:36:20`).
fn instant_from_text(text: &str) -> Result<Instant, ValueError> {
    const BAD: ValueError = ValueError::Malformed("timestamptz");
    if matches!(text, "infinity" | "-infinity") {
        return Err(ValueError::Infinite);
    }
    // Seen from the end: the date has minus signs of its own.
    let (local, offset) = text.split_at_checked(text.rfind(['+', '-']).ok_or(BAD)?).ok_or(BAD)?;
    let (sign, offset) = match offset.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, offset.strip_prefix('+').ok_or(BAD)?),
    };
    let mut parts = offset.split(':');
    let mut seconds = 0_i64;
    for (unit, limit) in [(3600, 24), (60, 60), (1, 60)] {
        let Some(part) = parts.next() else { break };
        let number: i64 = part.parse().map_err(|_| BAD)?;
        if part.len() != 2 || !(0..limit).contains(&number) {
            return Err(BAD);
        }
        seconds += unit * number;
    }
    if parts.next().is_some() {
        return Err(BAD);
    }
    NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M:%S%.f")
        .map_err(|_| BAD)?
        .checked_sub_signed(TimeDelta::seconds(sign * seconds))
        .map(|utc| utc.and_utc())
        .ok_or(ValueError::OutOfRange)
}
