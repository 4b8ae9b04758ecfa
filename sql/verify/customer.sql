-- The customer dimension of one store. A source row that exists is never marked deleted.
SELECT id AS customer_id,
       coalesce(
         CASE WHEN customer_type = ANY ({company_types}) THEN nullif(company_name, '') END,
         nullif(concat_ws(' ', nullif(last_name, ''), nullif(first_name, ''), nullif(middle_name, '')), ''),
         phone) AS full_name,
       phone, customer_type, is_active, NULL::timestamptz AS deleted_at, source_key
FROM {table customer} c
ORDER BY id
