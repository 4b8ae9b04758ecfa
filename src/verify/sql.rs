//! Renders the recomputation queries under `sql/verify` for one store.
//!
//! A template names logical tables and settings in braces; what takes their place is either a generated subselect of
//! quoted physical names or a quoted literal, so no name or value from the config or the catalog is ever read as SQL.

use super::{TenantScope, logical};
use crate::config::{Config, StockSource, TableKind};

/// A query template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("unknown placeholder {0:?} in a verify query")]
    UnknownPlaceholder(String),
    #[error("placeholder without a closing brace in a verify query")]
    Unclosed,
    #[error("a name or value contains a zero byte: {0:?}")]
    ZeroByte(String),
}

/// Replaces every `{placeholder}` of `template` by its SQL for this store.
///
/// # Errors
/// When the template names something unknown, or a name cannot be written in SQL at all.
pub fn render(template: &str, scope: &TenantScope, cfg: &Config) -> Result<String, RenderError> {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or(RenderError::Unclosed)?;
        out.push_str(&placeholder(name, scope, cfg)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn placeholder(name: &str, scope: &TenantScope, cfg: &Config) -> Result<String, RenderError> {
    let unknown = || RenderError::UnknownPlaceholder(name.to_string());
    match name {
        "today" => Ok(format!("DATE '{}'", scope.today)),
        "horizon" => Ok(format!("DATE '{}'", scope.horizon)),
        "window_days" => Ok(cfg.rfm.window_days.to_string()),
        "by_movements" => Ok(by_movements(scope).to_string()),
        "completed" => text_array(&cfg.mapping.completed_statuses),
        "refunded" => text_array(&cfg.mapping.refunded_statuses),
        "reservation_active" => text_array(&cfg.mapping.reservation_active_statuses),
        "payment_types" => text_array(&cfg.mapping.transaction_payment_types),
        "company_types" => text_array(&cfg.mapping.company_types),
        "cash" => text_array(&cfg.payments.cash),
        "card" => text_array(&cfg.payments.card),
        "credit" => text_array(&cfg.payments.credit),
        "incoming" => text_array(&cfg.inventory.incoming),
        "outgoing" => text_array(&cfg.inventory.outgoing),
        "signed" => text_array(&cfg.inventory.signed),
        _ => {
            let (word, argument) = name.split_once(' ').ok_or_else(unknown)?;
            match word {
                "table" => {
                    let kind = TableKind::ALL.into_iter().find(|k| k.name() == argument).ok_or_else(unknown)?;
                    logical::table(kind, scope, cfg)
                }
                "recency" => nth(&cfg.rfm.recency_days, argument).ok_or_else(unknown),
                "frequency" => nth(&cfg.rfm.frequency, argument).ok_or_else(unknown),
                "monetary" => nth(&cfg.rfm.monetary, argument).ok_or_else(unknown),
                _ => Err(unknown()),
            }
        }
    }
}

/// Whether the stock of this store is the sum of its ledger (else: of its active batches).
fn by_movements(scope: &TenantScope) -> bool {
    match scope.stock_source {
        StockSource::Movements => true,
        StockSource::Batches => false,
        StockSource::Auto => scope.has.contains(&TableKind::StockMovement),
    }
}

/// The `argument`-th (from 1) threshold as a numeric literal.
fn nth(values: &[impl ToString], argument: &str) -> Option<String> {
    let index = argument.parse::<usize>().ok()?.checked_sub(1)?;
    values.get(index).map(|v| format!("({})", v.to_string()))
}

/// `name` as a quoted SQL identifier.
///
/// # Errors
/// When it contains a zero byte, which no identifier can.
pub fn identifier(name: &str) -> Result<String, RenderError> {
    without_zero(name).map(|n| format!("\"{}\"", n.replace('"', "\"\"")))
}

/// `value` as a quoted SQL string, whatever `standard_conforming_strings` says.
///
/// # Errors
/// When it contains a zero byte, which no text can.
pub fn literal(value: &str) -> Result<String, RenderError> {
    let quoted = without_zero(value)?.replace('\'', "''");
    Ok(if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") })
}

fn without_zero(text: &str) -> Result<&str, RenderError> {
    if text.contains('\0') { Err(RenderError::ZeroByte(text.to_string())) } else { Ok(text) }
}

pub(super) fn text_array(values: &[String]) -> Result<String, RenderError> {
    let quoted = values.iter().map(|v| literal(v)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("ARRAY[{}]::text[]", quoted.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn quotes_hostile_names_and_values() {
        assert_eq!(identifier("a\"b").unwrap(), "\"a\"\"b\"");
        assert_eq!(literal("o'clock").unwrap(), "'o''clock'");
        assert_eq!(literal("a\\'b").unwrap(), "E'a\\\\''b'");
        assert!(identifier("a\0").is_err() && literal("\0").is_err());
        assert_eq!(text_array(&[]).unwrap(), "ARRAY[]::text[]");
        assert_eq!(text_array(&["a".into(), "b'".into()]).unwrap(), "ARRAY['a', 'b''']::text[]");
    }

    #[test]
    fn thresholds_count_from_one() {
        assert_eq!(nth(&[7, 30], "2").as_deref(), Some("(30)"));
        for bad in ["0", "3", "", "x", "-1"] {
            assert_eq!(nth(&[7, 30], bad), None, "{bad:?}");
        }
    }
}
