//! A logical table in SQL: a subselect of its POS table with our column names, values read as the mapping says. The first
//! copy and the recomputation of verify both read the POS through it; the stream reads the same in `facts::plan`.

use super::sql::{RenderError, identifier, literal, text_array};
use super::{TenantScope, keys};
use crate::config::{Column, ColumnType, Config, Physical, Reading, TableKind, TableMapping, Zone};
use crate::facts::Form;

/// The columns of `kind`, NULLs read as the mapping says; no rows where the store lacks it. Besides: `source_key`, the key
/// where it is kept as text; for each `x_at` its local day `x_day`.
pub(super) fn table(kind: TableKind, scope: &TenantScope, cfg: &Config) -> Result<String, RenderError> {
    let Some(mapping) = mapped(kind, scope, cfg) else { return nothing(kind) };
    let mut table = Table { kind, mapping, scope, cfg, joins: Vec::new() };
    let mut outputs = vec![format!("{} AS source_key", table.source_key()?)];
    for column in kind.columns() {
        if column.ty == ColumnType::Day {
            continue;
        }
        outputs.push(format!("{} AS {}", table.value(column)?, identifier(column.name)?));
        if let Some(name) = day_of(column) {
            outputs.push(format!("{} AS {}", table.day(column)?, identifier(&name)?));
        }
    }
    if kind == TableKind::Sale {
        outputs.push(format!("{} AS day", table.sale_day()?));
    }
    Ok(format!("(SELECT {} FROM {}{})", outputs.join(", "), table.from()?, table.conditions()?))
}

fn mapped<'a>(kind: TableKind, scope: &TenantScope, cfg: &'a Config) -> Option<&'a TableMapping> {
    cfg.mapping.tables.get(&kind).filter(|_| scope.has.contains(&kind))
}

/// The name of the local day of `x_at`.
fn day_of(column: &Column) -> Option<String> {
    let stem = column.name.strip_suffix("_at").filter(|_| column.ty == ColumnType::Timestamp);
    stem.map(|stem| format!("{stem}_day"))
}

const fn sql_type(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Key(_) => "bigint",
        ColumnType::Amount => "numeric",
        ColumnType::Timestamp => "timestamptz",
        ColumnType::Day => "date",
        ColumnType::Text => "text",
        ColumnType::Bool => "boolean",
    }
}

/// What NULL is read as where it means nothing.
const fn zero(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Key(_) | ColumnType::Amount => "0",
        ColumnType::Timestamp | ColumnType::Day => "'epoch'",
        ColumnType::Text => "''",
        ColumnType::Bool => "false",
    }
}

fn nothing(kind: TableKind) -> Result<String, RenderError> {
    let mut outputs = vec!["NULL::text AS source_key".to_string()];
    for column in kind.columns() {
        outputs.push(format!("NULL::{} AS {}", sql_type(column.ty), identifier(column.name)?));
        outputs.extend(day_of(column).map(|name| format!("NULL::date AS {name}")));
    }
    Ok(format!("(SELECT {} WHERE false)", outputs.join(", ")))
}

struct Table<'a> {
    kind: TableKind,
    mapping: &'a TableMapping,
    scope: &'a TenantScope,
    cfg: &'a Config,
    joins: Vec<String>,
}

impl Table<'_> {
    fn from(&self) -> Result<String, RenderError> {
        let table = format!("{}.{} src", identifier(&self.scope.name)?, identifier(&self.mapping.table)?);
        Ok(self.joins.iter().fold(table, |from, join| format!("{from} LEFT JOIN {join}")))
    }

    /// A WHERE clause that leaves out rows that are not there for us.
    fn conditions(&self) -> Result<String, RenderError> {
        let mut conditions = Vec::new();
        if let Some(name) = &self.mapping.rows.deleted_at {
            conditions.push(format!("{} IS NULL", source(name)?));
        }
        for (name, words) in &self.mapping.rows.only {
            conditions.push(one_of(name, words)?);
        }
        Ok(if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) })
    }

    fn form(&self, column: &Column) -> Option<Form> {
        self.scope.forms.get(&(self.kind, column.name)).copied()
    }

    fn value(&mut self, column: &Column) -> Result<String, RenderError> {
        let value = match self.mapping.reading(column.name) {
            Reading::Column(physical) => self.column(column, physical)?,
            Reading::Constant(None) => return Ok(format!("NULL::{}", sql_type(column.ty))),
            Reading::Constant(Some(value)) => return Ok(format!("{}::{}", literal(value)?, sql_type(column.ty))),
            Reading::Computed { round } if self.kind == TableKind::SaleItem => return self.line_total(*round),
            Reading::Computed { .. } => return self.sum_of_items(),
            Reading::Moved(moved) => {
                let (from, to) = (one_of(&moved.from, &moved.inside)?, one_of(&moved.to, &moved.inside)?);
                let (from, to) = (format!("coalesce({from}, false)"), format!("coalesce({to}, false)"));
                let (incoming, outgoing) = (literal(&moved.incoming)?, literal(&moved.outgoing)?);
                return Ok(format!(
                    "CASE WHEN {to} AND NOT {from} THEN {incoming} WHEN {from} AND NOT {to} THEN {outgoing} ELSE '' END"
                ));
            }
        };
        let bare = column.nullable || self.scope.filled.contains(&(self.kind, column.name));
        Ok(if bare { value } else { format!("coalesce({value}, {})", zero(column.ty)) })
    }

    fn column(&mut self, column: &Column, physical: &Physical) -> Result<String, RenderError> {
        let source = source(&physical.name)?;
        let zone = || self.zone_of(physical);
        Ok(match (column.ty, self.form(column)) {
            (ColumnType::Key(kind), Some(_)) => {
                let alias = format!("k{}", self.joins.len());
                self.joins.push(keys::join(&alias, kind, &source)?);
                // A key without a number would be a fault of what is kept: it has to show.
                format!("CASE WHEN {source} IS NOT NULL THEN coalesce({alias}.id, -1) END")
            }
            (ColumnType::Amount, form) => {
                let exact =
                    if form.is_some() { format!("{source}::text::numeric") } else { format!("{source}::numeric") };
                let unit = format!("0.{:0>1$}", 1, usize::try_from(physical.scale).unwrap_or(0));
                let scaled = if physical.scale == 0 { exact } else { format!("{exact} * {unit}") };
                physical.round.map_or(scaled.clone(), |digits| format!("round({scaled}, {digits})"))
            }
            (ColumnType::Timestamp | ColumnType::Day, Some(Form::Local)) => {
                format!("({source} AT TIME ZONE {})", zone()?)
            }
            (ColumnType::Timestamp, Some(_)) => {
                format!("({source}::timestamp AT TIME ZONE {})", literal(self.scope.zone.name())?)
            }
            (ColumnType::Day, _) => source,
            (ty, _) => format!("{source}::{}", sql_type(ty)),
        })
    }

    fn zone_of(&self, physical: &Physical) -> Result<String, RenderError> {
        literal(match physical.zone {
            Some(Zone::Named(zone)) => zone.name(),
            Some(Zone::Store) | None => self.scope.zone.name(),
        })
    }

    /// The local day of a point in time; NULL where that is.
    fn day(&mut self, column: &Column) -> Result<String, RenderError> {
        if let (Reading::Column(physical), Some(Form::Date)) = (self.mapping.reading(column.name), self.form(column)) {
            let day = source(&physical.name)?;
            let local = format!("('epoch'::timestamptz AT TIME ZONE {})::date", literal(self.scope.zone.name())?);
            return Ok(if column.nullable { day } else { format!("coalesce({day}, {local})") });
        }
        let at = self.value(column)?;
        Ok(format!("({at} AT TIME ZONE {})::date", literal(self.scope.zone.name())?))
    }

    /// That of a column of its own, else of `completed_at`; none where the sale is not completed.
    fn sale_day(&mut self) -> Result<String, RenderError> {
        let named = |name: &str| self.kind.columns().iter().find(|column| column.name == name);
        let (Some(completed_at), Some(day)) = (named("completed_at"), named("day")) else {
            return Ok("NULL::date".to_string());
        };
        let completed_day = self.day(completed_at)?;
        let Reading::Column(physical) = self.mapping.reading(day.name) else { return Ok(completed_day) };
        let own = match self.form(day) {
            Some(Form::Date) => source(&physical.name)?,
            _ => format!("({} AT TIME ZONE {})::date", self.column(day, physical)?, literal(self.scope.zone.name())?),
        };
        let completed = self.value(completed_at)?;
        Ok(format!("CASE WHEN {completed} IS NOT NULL THEN coalesce({own}, {completed_day}) END"))
    }

    fn line_total(&mut self, round: u32) -> Result<String, RenderError> {
        let mut factors = Vec::new();
        for column in self.kind.columns().iter().filter(|c| matches!(c.name, "quantity" | "unit_price")) {
            factors.push(self.value(column)?);
        }
        Ok(format!("round({}, {round})", factors.join(" * ")))
    }

    fn sum_of_items(&mut self) -> Result<String, RenderError> {
        let items = table(TableKind::SaleItem, self.scope, self.cfg)?;
        let Some(id) = self.kind.columns().first() else { return Ok("0".to_string()) };
        let id = self.value(id)?;
        self.joins.push(format!(
            "(SELECT i.sale_id, sum(i.line_total) AS total FROM {items} i GROUP BY i.sale_id) items ON items.sale_id = {id}"
        ));
        Ok("coalesce(items.total, 0)".to_string())
    }

    fn source_key(&self) -> Result<String, RenderError> {
        let id = self.kind.columns().first().filter(|id| self.form(id) == Some(Form::Text));
        Ok(match id {
            Some(id) => format!("{}::text", source(self.mapping.column(id.name))?),
            None => "NULL::text".to_string(),
        })
    }
}

fn source(name: &str) -> Result<String, RenderError> {
    identifier(name).map(|name| format!("src.{name}"))
}

fn one_of(name: &str, words: &[String]) -> Result<String, RenderError> {
    Ok(format!("{}::text = ANY ({})", source(name)?, text_array(words)?))
}

/// Every key of the store that is kept as text, each once, with whose key it is; `None`: there is no such key.
pub(super) fn text_keys(scope: &TenantScope, cfg: &Config) -> Result<Option<String>, RenderError> {
    let mut parts = Vec::new();
    for (kind, name) in scope.forms.iter().filter(|(_, form)| **form == Form::Text).map(|(column, _)| column) {
        let Some(mapping) = mapped(*kind, scope, cfg) else { continue };
        let Some(Column { ty: ColumnType::Key(of), .. }) = kind.columns().iter().find(|c| c.name == *name) else {
            continue;
        };
        let table = Table { kind: *kind, mapping, scope, cfg, joins: Vec::new() };
        let key = source(mapping.column(name))?;
        parts.push(format!(
            "SELECT {}::text, {key}::text COLLATE \"C\" FROM {}{}",
            literal(of.name())?,
            table.from()?,
            table.conditions()?
        ));
    }
    let all = parts.join(" UNION ");
    Ok((!parts.is_empty()).then(|| format!("SELECT a.kind, a.key FROM ({all}) a (kind, key) WHERE a.key IS NOT NULL")))
}
