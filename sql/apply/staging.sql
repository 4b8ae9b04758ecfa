-- What adds to sales in a source transaction larger than a batch waits here until all of it has arrived; see staging.rs. The
-- table is made and dropped within that transaction: nobody else ever sees it, and its rows are not in the WAL.

-- name: make_staged
CREATE UNLOGGED TABLE {state}.staged (tenant_id integer NOT NULL, sale_id bigint NOT NULL, place bigint NOT NULL,
                                      change bytea NOT NULL)

-- name: stage
INSERT INTO {state}.staged SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bytea[])

-- Sale by sale, each in the order of its changes.
-- name: open_staged
DECLARE staged NO SCROLL CURSOR FOR
SELECT s.tenant_id, s.sale_id, s.change FROM {state}.staged s ORDER BY s.tenant_id, s.sale_id, s.place

-- name: next_staged
FETCH FORWARD 1500 FROM staged

-- name: drop_staged
CLOSE staged; DROP TABLE {state}.staged
