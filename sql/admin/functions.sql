-- What a role of few privileges may have done for it, so that a store which appears later is followed by itself. Run by an
-- administrator, who owns it all: each function does one thing, to the mapped tables of stores alone, for one publication.

CREATE SCHEMA IF NOT EXISTS {admin};
REVOKE ALL ON SCHEMA {admin} FROM PUBLIC;
GRANT USAGE ON SCHEMA {admin} TO {role};

-- A mapped table of a store, quoted; refuses anything else.
CREATE OR REPLACE FUNCTION {admin}.mapped_table(store text, name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $tillstream$
BEGIN
  IF store LIKE ANY ({schemas}) AND NOT store LIKE ANY ({exclude}) AND store !~ '^pg_'
     AND store <> ALL (ARRAY['information_schema', {reports}, {state}, {admin_name}]) AND name = ANY ({tables})
     AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = store AND c.relname = name AND c.relkind IN ('r', 'p')) THEN
    RETURN format('%I.%I', store, name);
  END IF;
  RAISE insufficient_privilege USING MESSAGE = format('%I.%I is no mapped table of a store', store, name);
END $tillstream$;

-- Lets the role read a store.
CREATE OR REPLACE FUNCTION {admin}.admit(store text, tables text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tillstream$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY tables LOOP
    EXECUTE format('GRANT SELECT ON %s TO %I', {admin}.mapped_table(store, name), {role_name});
  END LOOP;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', store, {role_name});
END $tillstream$;

-- Publishes a table, given by its quoted name, and holds off whoever writes it until that is done: under the caller's
-- lock_timeout.
CREATE OR REPLACE FUNCTION {admin}.publish(quoted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tillstream$
DECLARE
  mapped text;
BEGIN
  SELECT {admin}.mapped_table(n.nspname, c.relname) INTO STRICT mapped
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = quoted::regclass;
  EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', mapped);
  EXECUTE format('ALTER PUBLICATION %I ADD TABLE %s', {publication_name}, mapped);
END $tillstream$;

-- Takes a table, given by its quoted name, out of the publication, whatever it is.
CREATE OR REPLACE FUNCTION {admin}.withdraw(quoted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tillstream$
BEGIN
  EXECUTE format('ALTER PUBLICATION %I DROP TABLE %s', {publication_name}, quoted::regclass);
END $tillstream$;

-- Puts the publication's options right.
CREATE OR REPLACE FUNCTION {admin}.mend_options() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tillstream$
BEGIN
  ALTER PUBLICATION {publication} SET ({options});
END $tillstream$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {admin} FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {admin}.admit(text, text[]), {admin}.publish(text), {admin}.withdraw(text), {admin}.mend_options()
  TO {role};
