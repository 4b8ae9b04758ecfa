-- Stops a transaction that adds to rows which are not there. What is meant is "try again": the next attempt takes nothing for
-- granted.
CREATE FUNCTION {state}.missing() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'report rows or the sums behind them are gone: somebody else deleted them'
    USING ERRCODE = 'serialization_failure';
END $$;

COMMENT ON FUNCTION {state}.missing() IS 'Refuses to add to sums and report rows that are not there';
