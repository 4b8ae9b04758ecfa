//! customer_analytics: what a sale and a credit payment add to their customer.

use super::deltas::{CreditNews, Deltas, Side, put};
use crate::domain::TenantId;
use crate::facts::WorkingSet;
use crate::facts::entity::Sale;
use crate::facts::exact::Inexact;

/// All days count, also those before the horizon: lifetime figures and first purchases are for life.
pub(super) fn sale(deltas: &mut Deltas, tenant: TenantId, side: Side, sale: &Sale) -> Result<(), Inexact> {
    let (Some(day), Some(header)) = (sale.counted_day(), &sale.header) else { return Ok(()) };
    let Some(customer) = header.customer else { return Ok(()) };
    let by_day = deltas.customer_day.entry((tenant, customer, day)).or_default();
    by_day.sales += side.count();
    put(&mut by_day.spent, side, header.total)?;
    let total = deltas.customer_total.entry((tenant, customer)).or_default();
    total.sales += side.count();
    put(&mut total.spent, side, header.total)?;
    if let Some(credit) = sale.credit()? {
        by_day.credit_sales += side.count();
        put(&mut by_day.credit, side, credit)?;
        put(&mut total.credit, side, credit)?;
        // A moved time of day moves no sum, but the order in which credit is paid off.
        let news = match side {
            Side::Before => CreditNews::Any,
            Side::After => CreditNews::Since(day),
        };
        note(deltas, (tenant, customer), news);
    }
    Ok(())
}

pub(super) fn payments(deltas: &mut Deltas, set: &WorkingSet) -> Result<(), (TenantId, Inexact)> {
    for ((tenant, _), entry) in set.credit_payments.iter().filter(|(_, entry)| entry.changed()) {
        for (side, payment) in [(Side::Before, &entry.before), (Side::After, &entry.after)] {
            let Some(payment) = payment else { continue };
            let total = deltas.customer_total.entry((*tenant, payment.customer)).or_default();
            total.payments += side.count();
            put(&mut total.paid, side, payment.amount).map_err(|e| (*tenant, e))?;
            note(deltas, (*tenant, payment.customer), CreditNews::Any);
        }
    }
    Ok(())
}

fn note(deltas: &mut Deltas, customer: (TenantId, i64), news: CreditNews) {
    deltas.customers.entry(customer).and_modify(|known| *known = known.and(news)).or_insert(news);
}
