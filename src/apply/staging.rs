//! A source transaction larger than a batch: what adds to its sales is set aside until all of it has arrived.
//!
//! ```text
//! parts of it ─┬─ adds to a sale ──> {state}.staged ──(its end: sale by sale)──> fold ─> write
//!              └─ the rest ────────> fold ─> write
//! ```
//! Such a transaction mostly goes table by table: all sales, all their items, all payments, the totals. Written as it
//! arrives, a sale's row would be looked up and written anew with each of them.
//!
//! One that is in hand as a whole, but still written in parts, is put in the same order.
//!
//! # Why the order may change
//! Changes of one sale stay in their order, and nothing but a sale's own rows and the prices of its items decides what it
//! comes to: the prices are those at the transaction's end. A change that has to find its sale by an item's or a payment's
//! id, or that takes something away, does not wait: what is set aside is written before it, and from then on everything as
//! it comes.

use std::sync::Arc;

use futures_util::future::maybe_done;
use futures_util::poll;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::{Error, Row};

use super::batch::Step;
use super::sent::Sent;
use super::writer::UNSHOWN;
use super::{ApplyError, Writer};
use crate::domain::TenantId;
use crate::facts::Change;
use crate::facts::change::{ItemRow, PaymentRow, RowOp, SaleRow};
use crate::facts::working_set::Key;

/// How the source transaction is written that is larger than a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Large {
    /// There is none.
    #[default]
    None,
    /// So many changes of it are set aside.
    Staged(i64),
    /// As it comes.
    Direct,
}

/// A change that adds to a sale.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Addition {
    Sale(RowOp<SaleRow>),
    Item(RowOp<ItemRow>),
    Payment(RowOp<PaymentRow>),
}

impl Addition {
    /// With the id of its sale; the change itself where it is something else.
    fn of(change: Change) -> Result<(i64, Addition), Change> {
        match (change.adds_to_sale(), change) {
            (Some(sale), Change::Sale(op)) => Ok((sale, Addition::Sale(op))),
            (Some(sale), Change::Item(op)) => Ok((sale, Addition::Item(op))),
            (Some(sale), Change::Payment(op)) => Ok((sale, Addition::Payment(op))),
            (_, change) => Err(change),
        }
    }

    fn into_change(self) -> Change {
        match self {
            Addition::Sale(op) => Change::Sale(op),
            Addition::Item(op) => Change::Item(op),
            Addition::Payment(op) => Change::Payment(op),
        }
    }
}

/// Puts source transactions of more than `size` steps, which are written in parts, in the order that setting aside would
/// give: first what is not of a sale, then sale by sale. One that takes something from a sale stays as it is.
pub(super) fn by_sale(steps: &mut [Step], size: usize) {
    for transaction in steps.split_inclusive_mut(|step| matches!(step, Step::Commit)) {
        let waits = |step: &Step| match step {
            Step::Change(_, change) => !change.is_of_a_sale() || change.adds_to_sale().is_some(),
            Step::Keyed(..) => false,
            Step::Commit => true,
        };
        if transaction.len() > size && transaction.iter().all(waits) {
            transaction.sort_by_key(|step| match step {
                Step::Change(tenant, change) => change.adds_to_sale().map_or((0, 0, 0), |sale| (1, tenant.0, sale)),
                _ => (2, 0, 0),
            });
        }
    }
}

/// Columns of `{state}.staged`.
#[derive(Default)]
struct Columns {
    tenants: Vec<i32>,
    sales: Vec<i64>,
    places: Vec<i64>,
    changes: Vec<Vec<u8>>,
}

impl Writer {
    /// Writes a part of a source transaction that is larger than a batch, or sets it aside.
    pub(super) async fn write_large(&mut self, sent: &mut Sent, steps: Vec<Step>) -> Result<(), ApplyError> {
        if self.large == Large::None {
            self.large = if self.as_it_comes { Large::Direct } else { Large::Staged(0) };
        }
        let (mut now, mut later) = (Vec::new(), Columns::default());
        for step in steps {
            let (rows, tenant, change) = match (self.large, step) {
                (Large::Staged(rows), Step::Change(tenant, change)) => (rows, tenant, change),
                (_, step) => {
                    now.push(step);
                    continue;
                }
            };
            match Addition::of(change) {
                Ok((sale, addition)) => {
                    later.tenants.push(tenant.0);
                    later.sales.push(sale);
                    later.places.push(rows);
                    later.changes.push(postcard::to_allocvec(&addition).map_err(ApplyError::Staging)?);
                    self.large = Large::Staged(rows + 1);
                }
                Err(change) => {
                    if rows > 0 && change.is_of_a_sale() {
                        self.write_parts(sent, std::mem::take(&mut now)).await?;
                        self.set_aside(sent, std::mem::take(&mut later)).await?;
                        self.write_staged(sent).await?;
                        self.large = Large::Direct;
                    }
                    now.push(Step::Change(tenant, change));
                }
            }
        }
        self.write_parts(sent, now).await?;
        self.set_aside(sent, later).await
    }

    async fn set_aside(&mut self, sent: &mut Sent, columns: Columns) -> Result<(), ApplyError> {
        let Columns { tenants, sales, places, changes } = columns;
        if places.first() == Some(&0) {
            self.client.batch_execute(self.sql.text("make_staged")).await?;
        }
        if places.is_empty() {
            return Ok(());
        }
        let params = vec![Box::new(tenants) as _, Box::new(sales) as _, Box::new(places) as _, Box::new(changes) as _];
        self.hand_over(sent, vec![("stage", params)]).await
    }

    /// Writes what is set aside, of each sale all at once.
    pub(super) async fn write_staged(&mut self, sent: &mut Sent) -> Result<(), ApplyError> {
        let Large::Staged(1..) = std::mem::take(&mut self.large) else { return Ok(()) };
        self.client.batch_execute(self.sql.text("open_staged")).await?;
        // It answers with the cursor's columns, so it cannot be prepared before that is open.
        self.sql.prepare(&self.client, &["next_staged"]).await?;
        let mut next = self.fetch().await;
        let mut part: Vec<(Key, Step)> = Vec::new();
        loop {
            // It is never aborted, and does nothing but wait.
            let rows = (&mut next).await.ok().flatten().ok_or(ApplyError::Unanswered)??;
            let done = rows.is_empty();
            if !done {
                // The server goes on while this part is folded.
                next = self.fetch().await;
            }
            for row in rows {
                let addition: Addition = postcard::from_bytes(row.try_get(2)?).map_err(ApplyError::Staging)?;
                let key @ (tenant, _) = (TenantId(row.try_get(0)?), row.try_get(1)?);
                part.push((key, Step::Change(tenant, addition.into_change())));
            }
            // The last sale may go on in the next part, unless this one is nothing else.
            let last = part.last().map(|(key, _)| *key).filter(|_| !done);
            let whole = part.iter().rposition(|(key, _)| Some(*key) != last).map_or(part.len(), |at| at + 1);
            let rest = part.split_off(whole);
            let steps = std::mem::replace(&mut part, rest).into_iter().map(|(_, step)| step).collect();
            self.write_parts(sent, steps).await?;
            if self.unshown.len() > UNSHOWN {
                self.write_sums(sent).await?;
            }
            (self.moves_on)();
            if done {
                break;
            }
        }
        Ok(self.client.batch_execute(self.sql.text("drop_staged")).await?)
    }

    /// Asks for the next part; the question is on its way when this comes back, so that none is asked in a transaction that
    /// comes after a failure. The answer has to be taken in meanwhile: what is not read of it holds up the answers to
    /// everything asked after it.
    async fn fetch(&self) -> JoinHandle<Option<Result<Vec<Row>, Error>>> {
        let (client, statement) = (Arc::clone(&self.client), self.sql.statement("next_staged"));
        let mut rows = Box::pin(maybe_done(async move {
            match statement {
                Ok(statement) => client.query(&statement, &[]).await,
                Err(text) => client.query(text.as_str(), &[]).await,
            }
        }));
        let _ = poll!(&mut rows);
        let rows = tokio::spawn(async move {
            rows.as_mut().await;
            rows.as_mut().take_output()
        });
        // The connection is served by a task of its own.
        tokio::task::yield_now().await;
        rows
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::{BusinessDay, Money};
    use crate::facts::entity::{PaymentKind, SaleStatus};

    const T: TenantId = TenantId(1);

    fn sale(id: i64) -> Change {
        let row = SaleRow {
            status: Some(SaleStatus::Completed),
            customer: Some(-7),
            completed_at: DateTime::from_timestamp_micros(1_700_000_000_123_456),
            day: BusinessDay::from_ymd_opt(2023, 11, 15),
            total: Money::new(i64::MAX, 10),
            discount: Money::ZERO,
            tax: Money::new(-5, 28),
        };
        Change::Sale(RowOp::Update { old_id: None, id, row })
    }

    fn item(id: i64, sale: i64) -> ItemRow {
        ItemRow { sale, product: id, quantity: Money::new(1500, 3), price: Money::ONE, total: Money::new(150, 2) }
    }

    #[test]
    fn what_is_set_aside_comes_back_as_it_was() {
        let payment = PaymentRow { sale: 3, kind: Some(PaymentKind::Credit), amount: Money::MAX };
        for (change, of) in [
            (sale(3), 3),
            (Change::Item(RowOp::Insert(9, item(9, -4))), -4),
            (Change::Payment(RowOp::Insert(1, payment)), 3),
        ] {
            let (sale, addition) = Addition::of(change.clone()).unwrap();
            let kept = postcard::to_allocvec(&addition).unwrap();
            let back: Addition = postcard::from_bytes(&kept).unwrap();
            assert_eq!((sale, back.into_change()), (of, change));
        }
    }

    #[test]
    fn what_takes_away_or_has_to_be_found_is_not_set_aside() {
        for change in [
            Change::Sale(RowOp::Delete(3)),
            Change::Item(RowOp::Update { old_id: None, id: 9, row: item(9, 3) }),
            Change::Item(RowOp::Delete(9)),
            Change::Payment(RowOp::Delete(9)),
        ] {
            assert_eq!(Addition::of(change.clone()), Err(change.clone()));
            assert!(change.is_of_a_sale());
        }
        let product = Change::Product(RowOp::Delete(9));
        assert!(Addition::of(product.clone()) == Err(product.clone()) && !product.is_of_a_sale());
    }

    #[test]
    fn a_transaction_in_parts_goes_sale_by_sale() {
        let step = |change| Step::Change(T, change);
        let (product, gone) = (Change::Product(RowOp::Delete(9)), Change::Item(RowOp::Delete(9)));
        let add = |id, sale| Change::Item(RowOp::Insert(id, item(id, sale)));
        let scattered = [add(1, 2), sale(1), add(2, 1), product.clone(), sale(2)];
        let mut steps: Vec<Step> = scattered.into_iter().map(step).chain([Step::Commit]).collect();
        // A small one, and one that takes something away.
        let rest =
            [step(sale(2)), step(sale(1)), Step::Commit, step(add(1, 2)), step(sale(1)), step(gone), Step::Commit];
        steps.extend(rest.clone());
        by_sale(&mut steps, 3);
        let sorted = [product, sale(1), add(2, 1), add(1, 2), sale(2)];
        let expected: Vec<Step> = sorted.into_iter().map(step).chain([Step::Commit]).chain(rest).collect();
        assert_eq!(steps, expected);
    }
}
