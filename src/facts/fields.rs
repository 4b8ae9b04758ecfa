//! The mapped values of one tuple, by logical column.

use std::borrow::Cow;

use chrono_tz::Tz;
use foldhash::HashMap;
use postgres_types::Type;
use rust_decimal::{Decimal, RoundingStrategy};

use super::entity::StockShare;
use super::exact::{is_too_large, is_too_late, multiply};
use super::form::Form;
use super::local;
use super::plan::{MAX_KEY_BYTES, Plan, Refusal, RowError};
use crate::config::ColumnType;
use crate::domain::{BusinessDay, Instant};
use crate::pgoutput::{Value, ValueError};

/// The columns of the widest logical table.
pub(super) const MAX_COLUMNS: usize = 8;

/// How the values of one logical column are read.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub oid: u32,
    pub scale: u32,
    pub round: Option<u32>,
    /// Of timestamps without time zone.
    pub zone: Tz,
    pub form: Option<Form>,
    /// The value of every row, where the POS has no such column; without one, NULL.
    pub constant: Option<Box<str>>,
}

impl Slot {
    pub fn constant(ty: ColumnType, value: Option<&str>) -> Slot {
        let oid = match ty {
            ColumnType::Key(_) => Type::INT8,
            ColumnType::Amount => Type::NUMERIC,
            ColumnType::Timestamp | ColumnType::Day => Type::TIMESTAMPTZ,
            ColumnType::Text => Type::TEXT,
            ColumnType::Bool => Type::BOOL,
        };
        // As the server would send it.
        let value = match (ty, value) {
            (ColumnType::Bool, Some("true")) => Some("t"),
            (ColumnType::Bool, Some("false")) => Some("f"),
            (_, value) => value,
        };
        Slot { oid: oid.oid(), scale: 0, round: None, zone: Tz::UTC, form: None, constant: value.map(Into::into) }
    }
}

pub(super) struct Fields<'a> {
    pub plan: &'a Plan,
    pub values: [Value<'a>; MAX_COLUMNS],
}

impl<'a> Fields<'a> {
    fn value(&self, column: usize) -> (Value<'a>, u32) {
        let value = self.values.get(column).copied().unwrap_or(Value::Null);
        (value, self.slot(column).map_or(0, |slot| slot.oid))
    }

    fn slot(&self, column: usize) -> Option<&'a Slot> {
        self.plan.slots.get(column)
    }

    pub fn refuse(&self, column: usize, reason: impl Into<Refusal>) -> RowError {
        let id = if column == 0 { None } else { self.id() };
        let column = self.plan.kind.columns().get(column).map_or("", |c| c.name);
        RowError { table: self.plan.table.clone(), id, column: column.to_string(), reason: reason.into() }
    }

    /// The row's key, for messages.
    pub fn id(&self) -> Option<String> {
        let (value, oid) = self.value(0);
        value.as_text(oid).ok().flatten().filter(|key| key.len() <= MAX_KEY_BYTES).map(Cow::into_owned)
    }

    pub fn key(&self, column: usize) -> Result<i64, RowError> {
        self.optional_key(column)?.ok_or_else(|| self.refuse(column, Refusal::NoKey))
    }

    /// 0 stands for a key that is text.
    pub fn optional_key(&self, column: usize) -> Result<Option<i64>, RowError> {
        let (value, oid) = self.value(column);
        if self.slot(column).is_some_and(|slot| slot.form == Some(Form::Text)) {
            return Ok((value != Value::Null).then_some(0));
        }
        value.as_i64(oid).map_err(|e| self.refuse(column, e))
    }

    pub fn text_key(&self, column: usize) -> Result<Option<Cow<'a, str>>, RowError> {
        let (value, oid) = self.value(column);
        value.as_text(oid).map_err(|e| self.refuse(column, e))
    }

    /// NULL is 0.
    pub fn amount(&self, column: usize) -> Result<Decimal, RowError> {
        Ok(self.optional_amount(column)?.unwrap_or_default())
    }

    pub fn optional_amount(&self, column: usize) -> Result<Option<Decimal>, RowError> {
        let (value, oid) = self.value(column);
        let amount = value.as_decimal(oid).map_err(|e| self.refuse(column, e))?;
        match (amount, self.slot(column)) {
            (Some(amount), Some(slot)) if slot.scale > 0 || slot.round.is_some() => {
                self.scaled(column, amount, slot).map(Some)
            }
            (Some(amount), _) => self.fitting(column, amount).map(Some),
            (None, _) => Ok(None),
        }
    }

    fn scaled(&self, column: usize, mut amount: Decimal, slot: &Slot) -> Result<Decimal, RowError> {
        let too_precise = |_| self.refuse(column, ValueError::TooPrecise);
        amount.set_scale(amount.scale() + slot.scale).map_err(too_precise)?;
        self.fitting(column, slot.round.map_or(amount, |digits| rounded(amount, digits)))
    }

    fn fitting(&self, column: usize, amount: Decimal) -> Result<Decimal, RowError> {
        if is_too_large(amount) { Err(self.refuse(column, Refusal::TooLarge)) } else { Ok(amount) }
    }

    /// A computed line total.
    pub fn product(&self, quantity: Decimal, price: Decimal, round: u32) -> Result<Decimal, RowError> {
        const LINE_TOTAL: usize = 5;
        let exact = multiply(quantity, price).map_err(|_| self.refuse(LINE_TOTAL, ValueError::TooPrecise))?;
        self.fitting(LINE_TOTAL, rounded(exact, round))
    }

    /// A point in time and its local day in the store.
    pub fn moment(&self, column: usize) -> Result<Option<(Instant, BusinessDay)>, RowError> {
        let (value, oid) = self.value(column);
        let (zone, refuse) = (self.plan.zone, |e| self.refuse(column, e));
        let beyond = || self.refuse(column, ValueError::OutOfRange);
        let at = match self.slot(column).map(|slot| (slot.form, slot.zone)) {
            Some((Some(Form::Date), _)) => {
                let Some(day) = value.as_date(oid).map_err(refuse)? else { return Ok(None) };
                let at = local::midnight(zone, day).filter(|at| !is_too_late(*at)).ok_or_else(beyond)?;
                return Ok(Some((at, day)));
            }
            Some((Some(Form::Local), of)) => {
                let Some(local) = value.as_local(oid).map_err(refuse)? else { return Ok(None) };
                Some(local::instant(of, local).ok_or_else(beyond)?)
            }
            _ => value.as_instant(oid).map_err(refuse)?,
        };
        match at {
            Some(at) if is_too_late(at) => Err(beyond()),
            at => Ok(at.map(|at| (at, self.day(at)))),
        }
    }

    /// What stands for a time that is NULL and may not be.
    pub fn epoch(&self) -> (Instant, BusinessDay) {
        (Instant::default(), self.day(Instant::default()))
    }

    fn day(&self, at: Instant) -> BusinessDay {
        at.with_timezone(&self.plan.zone).date_naive()
    }

    /// NULL is false.
    pub fn flag(&self, column: usize) -> Result<bool, RowError> {
        let (value, oid) = self.value(column);
        Ok(value.as_bool(oid).map_err(|e| self.refuse(column, e))?.unwrap_or(false))
    }

    /// `None` where the stream left the value out as unchanged; NULL is "".
    pub fn text(&self, column: usize) -> Result<Option<Cow<'a, str>>, RowError> {
        match self.value(column) {
            (Value::Unchanged, _) => Ok(None),
            (value, oid) => Ok(Some(value.as_text(oid).map_err(|e| self.refuse(column, e))?.unwrap_or_default())),
        }
    }

    pub fn owned(&self, column: usize) -> Result<Option<String>, RowError> {
        Ok(self.text(column)?.map(Cow::into_owned))
    }

    pub fn word<V: Copy>(&self, column: usize, words: &HashMap<String, V>, other: V) -> Result<Option<V>, RowError> {
        Ok(self.text(column)?.map(|word| words.get(&*word).copied().unwrap_or(other)))
    }

    pub fn one_of(&self, column: usize, words: &[String]) -> Result<Option<bool>, RowError> {
        Ok(self.text(column)?.map(|word| words.iter().any(|known| *known == word)))
    }

    pub fn share(&self, product: usize, quantity: usize) -> Result<StockShare, RowError> {
        Ok(StockShare { product: self.optional_key(product)?.unwrap_or(0), quantity: self.amount(quantity)? })
    }
}

/// Half away from zero, as PostgreSQL's `round(numeric, n)`.
fn rounded(value: Decimal, digits: u32) -> Decimal {
    value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}
