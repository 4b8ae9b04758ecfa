-- What comes into a block of ids is a row of its own, and nothing that is there is written anew for it: with every sale that
-- was ten times its size in WAL.
ALTER TABLE {state}.child DROP CONSTRAINT child_pkey, RESET (fillfactor);
ALTER TABLE {state}.stock_movement DROP CONSTRAINT stock_movement_pkey, RESET (fillfactor);
-- Without a key of their own: somebody else's publication of all tables must not make deletions from them fail.
ALTER TABLE {state}.child REPLICA IDENTITY FULL;
ALTER TABLE {state}.stock_movement REPLICA IDENTITY FULL;
CREATE INDEX child_block ON {state}.child (tenant_id, kind, block);
CREATE INDEX stock_movement_block ON {state}.stock_movement (tenant_id, block);
COMMENT ON TABLE {state}.child IS 'Which sale an item or a payment came into; a row holds ids of one block of 64';
COMMENT ON TABLE {state}.stock_movement IS 'Base facts: the stock ledger; a row holds entries of one block of 64 ids';
