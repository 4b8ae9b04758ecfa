//! Parsers of single values: durations, cron expressions, names, time zones, thresholds.

use std::time::Duration;

use chrono_tz::Tz;
use rust_decimal::Decimal;
use toml::de::DeValue;

use super::reader::{expected, integer, nearest};

/// PostgreSQL cuts longer identifiers off.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// `50ms`, `10s`, `5m`, `2h`, `365d`: a whole number and one unit, not zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a duration; write a number and a unit, e.g. \"50ms\", \"10s\", \"365d\"");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let ms = number.checked_mul(unit_ms).ok_or_else(|| format!("{text:?} is too long"))?;
    if ms == 0 { Err("must be longer than zero".to_string()) } else { Ok(Duration::from_millis(ms)) }
}

/// `500MB`, `1GB`: a whole number and one of PostgreSQL's units, in bytes.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a size; write a number and kB, MB, GB or TB, e.g. \"500MB\", \"1GB\"");
    let power = match unit {
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << power).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// A duration within bounds, which are told as they would be written.
pub(super) fn duration_within(text: &str, min: &str, max: &str) -> Result<Duration, String> {
    let value = duration(text)?;
    if value < duration(min)? || value > duration(max)? {
        return Err(format!("{text:?} is not within {min} to {max}"));
    }
    Ok(value)
}

/// Whole days, at least `min`.
pub(super) fn days(text: &str, min: u32) -> Result<u32, String> {
    const DAY: u64 = 86_400;
    let value = duration(text)?;
    if value.as_millis() % u128::from(DAY * 1000) != 0 {
        return Err(format!("{text:?} is not a whole number of days"));
    }
    let days = value.as_secs() / DAY;
    u32::try_from(days)
        .ok()
        .filter(|d| (min..=36_500).contains(d))
        .ok_or_else(|| format!("{text:?} is not within {min}d to 36500d"))
}

/// Five fields, or `off`.
pub(super) fn cron(text: &str) -> Result<Option<String>, String> {
    if text == "off" {
        return Ok(None);
    }
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(format!(
            "{text:?} has {fields} fields; write five (minute hour day month weekday), e.g. \"30 0 * * *\", or \"off\""
        ));
    }
    let parser = croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Disallowed)
        .year(croner::parser::Year::Disallowed)
        .build();
    match parser.parse(text) {
        Ok(_) => Ok(Some(text.to_string())),
        Err(e) => Err(format!("{text:?} is not a cron expression: {e}")),
    }
}

pub(super) fn time_zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let hint = nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name()))
            .map_or(String::new(), |known| format!("; did you mean \"{known}\"?"));
        format!("unknown time zone {text:?}{hint}")
    })
}

/// A name of something in PostgreSQL, written without quotes, case kept.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".to_string());
    }
    if text.len() > MAX_IDENTIFIER_BYTES {
        return Err(format!("longer than the {MAX_IDENTIFIER_BYTES} bytes PostgreSQL keeps of a name"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character".to_string());
    }
    Ok(text.to_string())
}

pub(super) fn slot(text: &str) -> Result<String, String> {
    let name = identifier(text)?;
    if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Ok(name)
    } else {
        Err("a slot name holds only lower case letters, digits and underscores".to_string())
    }
}

/// The report schema; `_state` is put behind it for the daemon's own.
pub(super) fn report_schema(text: &str) -> Result<String, String> {
    let name = identifier(text)?;
    if name.len() + "_state".len() > MAX_IDENTIFIER_BYTES {
        return Err(format!("longer than {} bytes", MAX_IDENTIFIER_BYTES - "_state".len()));
    }
    // It goes into the text of functions and comments, where these would end more than the name.
    if name.chars().any(|c| matches!(c, '$' | '{' | '}' | '\'' | '"')) {
        return Err("must not hold any of $ { } ' \"".to_string());
    }
    if name.starts_with("pg_") || name == "information_schema" || name == "public" {
        return Err(format!("{name:?} cannot be the report schema; it would be shared with others"));
    }
    Ok(name)
}

/// `schema.table`, each part as PostgreSQL keeps it; without a dot it is in `public`.
pub(super) fn qualified(text: &str) -> Result<(String, String), String> {
    let (schema, table) = text.split_once('.').unwrap_or(("public", text));
    Ok((identifier(schema)?, identifier(table)?))
}

fn four<T: Copy + PartialOrd>(found: Vec<T>, descending: bool) -> Result<[T; 4], String> {
    let four: [T; 4] = found.try_into().map_err(|v: Vec<T>| format!("expected four values, found {}", v.len()))?;
    let [a, b, c, d] = four;
    let ordered = if descending { a > b && b > c && c > d } else { a < b && b < c && c < d };
    let order = if descending { "descend" } else { "ascend" };
    if ordered { Ok(four) } else { Err(format!("the four values must {order} (the first earns score 5)")) }
}

fn list<'v, T>(value: &'v DeValue<'_>, item: impl Fn(&'v DeValue<'_>) -> Result<T, String>) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or_else(|| expected("a list of four values", value))?;
    list.iter().map(|v| item(v.get_ref())).collect()
}

pub(super) fn ascending_days(value: &DeValue<'_>) -> Result<[u32; 4], String> {
    four(list(value, |v| integer(v, 0, 36_500).map(|n| u32::try_from(n).unwrap_or(u32::MAX)))?, false)
}

pub(super) fn descending_counts(value: &DeValue<'_>) -> Result<[u64; 4], String> {
    four(list(value, |v| integer(v, 0, 1_000_000_000))?, true)
}

pub(super) fn descending_money(value: &DeValue<'_>) -> Result<[Decimal; 4], String> {
    four(list(value, money)?, true)
}

/// Amounts are strings, since a toml float is not exact; whole numbers are fine as they are.
fn money(value: &DeValue<'_>) -> Result<Decimal, String> {
    if value.is_integer() {
        return integer(value, 0, 1_000_000_000_000_000).map(Decimal::from);
    }
    let text = value.as_str().ok_or_else(|| expected("an amount as a string, e.g. \"500000\"", value))?;
    text.parse::<Decimal>()
        .ok()
        .filter(|d| !d.is_sign_negative())
        .ok_or_else(|| format!("{text:?} is not an amount; write e.g. \"500000\" or \"1999.50\""))
}

/// An amount that every row has, as PostgreSQL writes it.
pub(super) fn constant_amount(value: &DeValue<'_>) -> Result<String, String> {
    let text = match value.as_integer() {
        Some(number) => number.as_str(),
        None => value.as_str().ok_or_else(|| expected("an amount as a string, e.g. \"0.5\"", value))?,
    };
    text.parse::<Decimal>().map(|d| d.to_string()).map_err(|_| format!("{text:?} is not an amount; write e.g. \"0.5\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(days("365d", 31), Ok(365));
        for bad in ["", "10", "s", "-1s", "1.5s", "10 s", "0s", "99999999999999999999d", "18446744073709551615d", "1w"]
        {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(days("30d", 31).is_err());
        assert!(days("36h", 1).is_err());
    }

    #[test]
    fn cron_has_five_fields() {
        assert_eq!(cron("off"), Ok(None));
        assert_eq!(cron("*/5 0-3 1,15 * MON"), Ok(Some("*/5 0-3 1,15 * MON".to_string())));
        for bad in ["", "@daily", "0 0 * *", "0 0 0 * * *", "60 0 * * *", "x 0 * * *"] {
            assert!(cron(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names() {
        assert!(slot("Mixed").is_err());
        assert!(slot(&"a".repeat(64)).is_err());
        assert!(report_schema(&"a".repeat(58)).is_err());
        assert!(report_schema("pg_reports").is_err());
        assert_eq!(qualified("users_store"), Ok(("public".to_string(), "users_store".to_string())));
        assert_eq!(qualified("Main.Stores"), Ok(("Main".to_string(), "Stores".to_string())));
    }
}
