//! product_performance: what the items of a counted sale add to product and day.

use super::deltas::{Deltas, Side, line_cost, put};
use crate::domain::{BusinessDay, TenantId};
use crate::facts::entity::Sale;
use crate::facts::exact::Inexact;

pub(super) fn sale(
    deltas: &mut Deltas,
    tenant: TenantId,
    horizon: BusinessDay,
    side: Side,
    sale: &Sale,
) -> Result<(), Inexact> {
    let Some(day) = sale.counted_day().filter(|day| *day >= horizon) else { return Ok(()) };
    for (at, item) in sale.items.iter().enumerate() {
        let delta = deltas.product_day.entry((tenant, item.product, day)).or_default();
        delta.lines += side.count();
        // Distinct sales: the first line of a product in the sale stands for the sale.
        let earlier = sale.items.iter().take(at).any(|other| other.product == item.product);
        delta.sales += if earlier { 0 } else { side.count() };
        put(&mut delta.quantity, side, item.quantity)?;
        put(&mut delta.revenue, side, item.total)?;
        put(&mut delta.price_sum, side, item.price)?;
        put(&mut delta.cost, side, line_cost(item.quantity, item.cost)?)?;
    }
    Ok(())
}
