//! daily_sales_report: what a sale and a cashier session add to their day.

use super::deltas::{Calendar, Deltas, Side, put};
use crate::domain::{BusinessDay, TenantId};
use crate::facts::WorkingSet;
use crate::facts::entity::{PaymentKind, Sale};
use crate::facts::exact::Inexact;

/// A counted sale adds to its day; a refunded one adds to the day's refunds.
pub(super) fn sale(
    deltas: &mut Deltas,
    tenant: TenantId,
    horizon: BusinessDay,
    side: Side,
    sale: &Sale,
) -> Result<(), Inexact> {
    let Some(header) = &sale.header else { return Ok(()) };
    if let Some(day) = sale.refunded_day().filter(|day| *day >= horizon) {
        let delta = deltas.daily.entry((tenant, day)).or_default();
        delta.refunds += side.count();
        put(&mut delta.refund_total, side, header.total)?;
    }
    let Some(day) = sale.counted_day().filter(|day| *day >= horizon) else { return Ok(()) };
    let delta = deltas.daily.entry((tenant, day)).or_default();
    delta.sales += side.count();
    put(&mut delta.total, side, header.total)?;
    put(&mut delta.discount, side, header.discount)?;
    put(&mut delta.tax, side, header.tax)?;
    for payment in &sale.payments {
        let column = match payment.kind {
            PaymentKind::Cash => &mut delta.cash,
            PaymentKind::Card => &mut delta.card,
            PaymentKind::Credit => &mut delta.credit,
            PaymentKind::Other => &mut delta.other,
        };
        put(column, side, payment.amount)?;
    }
    for item in &sale.items {
        put(&mut delta.quantity, side, item.quantity)?;
    }
    Ok(())
}

pub(super) fn sessions(deltas: &mut Deltas, set: &WorkingSet, calendar: &Calendar) {
    for ((tenant, _), entry) in set.sessions.iter().filter(|(_, entry)| entry.changed()) {
        let horizon = calendar.get(tenant).copied().unwrap_or_default().horizon;
        for (side, session) in [(Side::Before, &entry.before), (Side::After, &entry.after)] {
            let Some(session) = session else { continue };
            if let Some(day) = session.opened_day.filter(|day| *day >= horizon) {
                deltas.daily.entry((*tenant, day)).or_default().opened += side.count();
            }
            if let Some(day) = session.closed_day.filter(|day| *day >= horizon) {
                deltas.daily.entry((*tenant, day)).or_default().closed += side.count();
            }
        }
    }
}
