WITH r AS NOT MATERIALIZED (SELECT * FROM {reports}.inventory_snapshot WHERE tenant = {tenant})
SELECT {state}.compat_id(r.product_id, r.date) AS id,
       r.date,
       {state}.clamp(r.quantity_on_hand, 999999999.999)::numeric(12,3) AS quantity_on_hand,
       {state}.clamp(r.reserved_quantity, 999999999.999)::numeric(12,3) AS reserved_quantity,
       {state}.clamp(r.available_quantity, 999999999.999)::numeric(12,3) AS available_quantity,
       {state}.clamp(r.total_cost, 9999999999.99)::numeric(12,2) AS total_cost,
       {state}.clamp(r.total_value, 9999999999.99)::numeric(12,2) AS total_value,
       {state}.clamp(r.turnover_rate, 999.99)::numeric(5,2) AS turnover_rate,
       r.days_of_stock,
       r.is_out_of_stock,
       r.is_low_stock,
       r.is_overstock,
       r.created_at,
       r.product_id
FROM r
