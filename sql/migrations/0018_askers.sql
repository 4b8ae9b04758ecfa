-- Who asks, so that nothing is held up for somebody who is not there any more.
ALTER TABLE {state}.request ADD asker integer NOT NULL DEFAULT pg_backend_pid();
COMMENT ON COLUMN {state}.request.asker IS 'Process id of the server process that asked';
