//! Random transactions against a store's POS tables: what the POS does, and what it must not but could.
//!
//! Deterministic for a seed while one workload runs alone on a store. Several may share one: rows are picked with SKIP
//! LOCKED, and what fails by another's doing (deadlock, foreign key) is rolled back and counted.

mod db;
mod edits;
mod ledger;
mod people;
mod sales;
mod stock;
mod values;
mod whole;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use db::Db;
pub use ledger::CostLedger;
use sales::OpenSale;
use values::Values;

/// What one step did.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub action: &'static str,
    /// False: rolled back on purpose, failed by another writer's doing, or nothing there to do it to.
    pub committed: bool,
    /// Items whose primary key was changed, from and to.
    pub renamed_items: Vec<(i64, i64)>,
}

/// How the steps so far ended.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub committed: u64,
    /// Rolled back on purpose.
    pub rolled_back: u64,
    /// Failed by another writer's doing.
    pub failed: u64,
    /// Nothing there to do it to.
    pub idle: u64,
    /// Commits by action.
    pub actions: BTreeMap<&'static str, u64>,
}

pub struct Workload {
    values: Values,
    open: Vec<OpenSale>,
    /// The open sale that the current step goes on with.
    current: usize,
    renamed_items: Vec<(i64, i64)>,
    pub stats: Stats,
}

type Done = Result<bool, Error>;

macro_rules! actions {
    ($($weight:literal $name:ident,)*) => {
        const ACTIONS: &[(u32, &str)] = &[$(($weight, stringify!($name)),)*];

        impl Workload {
            async fn act(&mut self, action: &str, db: &Db<'_>) -> Done {
                match action {
                    $(stringify!($name) => self.$name(db).await,)*
                    other => unreachable!("no action {other}"),
                }
            }
        }
    };
}

// Weights are out of their sum.
actions! {
    20 start_sale, 220 go_on_with_sale, 60 whole_sale, 20 credit_sale, 12 hidden_sale,
    10 refund_sale, 6 cancel_sale, 8 recomplete_sale, 6 uncount_and_recount, 5 complete_without_time,
    8 delete_sale_children_first, 5 delete_sale_parent_first, 6 replace_children, 3 change_sale_id,
    20 edit_total, 12 edit_discount_and_tax, 18 move_in_time, 14 change_customer, 8 touch_sale,
    16 edit_item, 8 move_item_to_sale, 8 move_item_to_product, 10 delete_item, 8 add_item, 3 change_item_id,
    10 edit_payment, 6 move_payment, 6 delete_payment, 8 add_payment,
    10 create_product, 8 edit_product, 3 delete_product, 12 change_price, 4 price_and_sale, 3 drop_price, 8 change_limits, 3 drop_limits,
    4 toggle_tracking, 8 add_reservation, 10 edit_reservation, 4 delete_reservation,
    8 add_batch, 12 edit_batch, 4 delete_batch, 20 add_movement, 6 edit_movement, 4 delete_movement,
    10 create_customer, 8 edit_customer, 3 delete_customer, 24 customer_pays, 6 edit_transaction, 4 delete_transaction,
    5 open_session, 6 close_session, 3 reopen_session, 2 delete_session,
}

impl Workload {
    /// `now` is the moment that random times are spread around; `zone` says where the store's days begin.
    pub fn new(seed: u64, now: DateTime<Utc>, zone: Tz) -> Workload {
        let values = Values::new(seed, now, zone);
        Workload { values, open: Vec::new(), current: 0, renamed_items: Vec::new(), stats: Stats::default() }
    }

    /// Gives an empty store something to sell, someone to sell it to, and an open till.
    pub async fn populate(&mut self, client: &mut Client, schema: &str) -> Result<(), Error> {
        let first = ["open_session", "create_product", "create_customer", "create_product", "create_customer"];
        for action in first.into_iter().cycle().take(30) {
            self.perform(action, client, schema).await?;
        }
        Ok(())
    }

    /// One random transaction.
    ///
    /// # Errors
    /// Only what should end a test: a lost connection, or a statement that no other writer can have made fail.
    pub async fn step(&mut self, client: &mut Client, schema: &str) -> Result<Step, Error> {
        let action = self.choose_action();
        self.perform(action, client, schema).await
    }

    fn choose_action(&mut self) -> &'static str {
        let mut left = self.values.below(ACTIONS.iter().map(|(weight, _)| weight).sum());
        let chosen = ACTIONS.iter().find(|(weight, _)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        chosen.expect("a weight below the sum").1
    }

    async fn perform(&mut self, action: &'static str, client: &mut Client, schema: &str) -> Result<Step, Error> {
        let open = self.open.clone();
        self.renamed_items.clear();
        let roll_back = self.values.chance(4);
        let outcome = match self.attempt(action, roll_back, client, schema).await {
            Ok(outcome) => outcome,
            Err(err) if by_another(&err) => Outcome::Failed,
            Err(err) => return Err(err),
        };
        match outcome {
            Outcome::Committed => {
                self.stats.committed += 1;
                *self.stats.actions.entry(action).or_default() += 1;
            }
            Outcome::RolledBack => self.stats.rolled_back += 1,
            Outcome::Failed => self.stats.failed += 1,
            Outcome::Idle => self.stats.idle += 1,
        }
        let committed = outcome == Outcome::Committed;
        if !committed {
            self.open = open;
            self.renamed_items.clear();
            // An open sale that cannot go on was deleted by someone.
            if outcome != Outcome::RolledBack && action == "go_on_with_sale" && self.current < self.open.len() {
                self.open.remove(self.current);
            }
        }
        Ok(Step { action, committed, renamed_items: std::mem::take(&mut self.renamed_items) })
    }

    async fn attempt(
        &mut self,
        action: &'static str,
        roll_back: bool,
        client: &mut Client,
        schema: &str,
    ) -> Result<Outcome, Error> {
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!("SET LOCAL search_path TO \"{schema}\"; SET LOCAL lock_timeout = '10s'"))
            .await?;
        let db = Db(&transaction);
        if self.values.chance(5) {
            let (open, unwanted) = (self.open.clone(), self.choose_action());
            db.run("SAVEPOINT unwanted").await?;
            self.act(unwanted, &db).await?;
            db.run("ROLLBACK TO SAVEPOINT unwanted").await?;
            self.open = open;
            self.renamed_items.clear();
        }
        if self.values.chance(5) {
            db.run("SAVEPOINT wanted").await?;
        }
        if !self.act(action, &db).await? {
            transaction.rollback().await?;
            return Ok(Outcome::Idle);
        }
        if roll_back {
            transaction.rollback().await?;
            return Ok(Outcome::RolledBack);
        }
        transaction.commit().await?;
        Ok(Outcome::Committed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    RolledBack,
    Failed,
    Idle,
}

/// Whether another writer on the same store can have made it fail.
fn by_another(err: &Error) -> bool {
    let codes = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::UNIQUE_VIOLATION,
    ];
    err.code().is_some_and(|code| codes.contains(code))
}
