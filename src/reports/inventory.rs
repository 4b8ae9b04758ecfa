//! inventory_snapshot: what ledger entries, batches and reservations add to a product's stock.

use super::deltas::{Deltas, Side, put};
use crate::domain::{Money, TenantId};
use crate::facts::WorkingSet;
use crate::facts::exact::Inexact;

pub(super) fn stock(deltas: &mut Deltas, set: &WorkingSet) -> Result<(), (TenantId, Inexact)> {
    for ((tenant, _), entry) in set.movements.iter().filter(|(_, entry)| entry.changed()) {
        for (side, block) in [(Side::Before, &entry.before), (Side::After, &entry.after)] {
            for movement in block.iter().flat_map(|block| &block.entries) {
                let delta = deltas.stock.entry((*tenant, movement.product)).or_default();
                put(&mut delta.on_hand, side, movement.quantity).map_err(|e| (*tenant, e))?;
            }
        }
    }
    for ((tenant, _), block) in &set.new_movements {
        for movement in &block.entries {
            let delta = deltas.stock.entry((*tenant, movement.product)).or_default();
            put(&mut delta.on_hand, Side::After, movement.quantity).map_err(|e| (*tenant, e))?;
        }
    }
    for (entries, reserved) in [(&set.batches, false), (&set.reservations, true)] {
        for ((tenant, _), entry) in entries.iter().filter(|(_, entry)| entry.changed()) {
            for (side, share) in [(Side::Before, &entry.before), (Side::After, &entry.after)] {
                let Some(share) = share else { continue };
                let delta = deltas.stock.entry((*tenant, share.product)).or_default();
                let sum: &mut Money = if reserved { &mut delta.reserved } else { &mut delta.on_hand };
                put(sum, side, share.quantity).map_err(|e| (*tenant, e))?;
            }
        }
    }
    for ((tenant, _), entry) in set.pricing.iter().filter(|(_, entry)| entry.changed()) {
        for pricing in entry.before.iter().chain(&entry.after) {
            deltas.products.insert((*tenant, pricing.product));
        }
    }
    for ((tenant, _), entry) in set.stock_limits.iter().filter(|(_, entry)| entry.changed()) {
        for limits in entry.before.iter().chain(&entry.after) {
            deltas.products.insert((*tenant, limits.product));
        }
    }
    deltas.products.extend(set.products.keys());
    Ok(())
}
