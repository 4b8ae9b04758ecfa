//! A whole batch as one transaction of the target, with as much of it as can be in one statement, which often is all of it:
//! see sql/apply/whole.sql.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::write::Call;

/// What `write_whole` does in one statement: the statements whose parameters it takes, in order, and how many each has.
pub(super) const WHOLE: [(&str, usize); 9] = [
    ("add_sales", 1),
    ("add_movements", 1),
    ("add_children", 1),
    ("grow_product_days", 9),
    ("add_inventory", 5),
    ("grow_daily", 15),
    ("move_position", 3),
    ("add_customer_days", 7),
    ("grow_customers", 14),
];
/// Without these, which come last, it is `write_whole_anonymous`.
const NAMED: [&str; 2] = ["add_customer_days", "grow_customers"];
/// What may come with it. Of what it writes they look at a day's row, which the last one to change it shows, and
/// `settle_customers`, which comes after it, at sales and at customers' days.
const BESIDE_WHOLE: [&str; 4] = ["put_sales", "add_product_days", "add_customers", "settle_customers"];

/// The calls of a batch, put together where they can be, between BEGIN and COMMIT where it is more than one statement.
pub fn transaction(mut calls: Vec<Call>) -> Vec<Call> {
    let is_part = |name: &str| WHOLE.iter().any(|(part, _)| *part == name);
    // A day's customers are written with its row.
    let has_day = calls.iter().any(|(name, _)| *name == "grow_daily");
    if has_day && calls.iter().all(|(name, _)| is_part(name) || BESIDE_WHOLE.contains(name)) {
        let (mut parts, others): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(|(name, _)| is_part(name));
        let anonymous = !parts.iter().any(|(name, _)| NAMED.contains(name));
        let taken = WHOLE.into_iter().filter(|(name, _)| !anonymous || !NAMED.contains(name));
        let params = taken.flat_map(|(name, count)| match parts.iter().position(|(part, _)| *part == name) {
            Some(at) => parts.swap_remove(at).1,
            None => (0..count).map(|_| Box::new(Nothing) as _).collect(),
        });
        let whole = (if anonymous { "write_whole_anonymous" } else { "write_whole" }, params.collect());
        let (after, before): (Vec<Call>, Vec<Call>) =
            others.into_iter().partition(|(name, _)| *name == "settle_customers");
        calls = before;
        calls.push(whole);
        calls.extend(after);
    }
    if calls.len() > 1 {
        calls.insert(0, ("begin", Vec::new()));
        calls.push(("commit", Vec::new()));
    }
    calls
}

/// NULL, whatever the parameter's type.
#[derive(Debug)]
struct Nothing;

impl ToSql for Nothing {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
