-- Turns copies of the POS's tables into such as light to write as they can be: with their primary keys and nothing else.
DO $$
DECLARE found record;
BEGIN
  FOR found IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
               WHERE contype = 'f' AND connamespace::regnamespace::text LIKE 'tenant\_%' LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.name, found.conname);
  END LOOP;
  FOR found IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
               WHERE contype = 'u' AND connamespace::regnamespace::text LIKE 'tenant\_%' LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.name, found.conname);
  END LOOP;
  FOR found IN SELECT i.indexrelid::regclass AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE NOT i.indisprimary AND c.relnamespace::regnamespace::text LIKE 'tenant\_%' LOOP
    EXECUTE format('DROP INDEX %s', found.name);
  END LOOP;
END $$;
