//! Who sees which store: grants, row-level security and the views, attacked as a store's reader could.

use tillstream::commands::grant::{self, Change};
use tokio_postgres::Client;

use crate::reports_db::{NULL, ReportsDb, rows, try_rows};

const NORTH: &str = "tenant_north";

pub async fn grant_to(db: &ReportsDb, login: &str, tenants: &[&str], change: Change) -> grant::Access {
    let tenants: Vec<String> = tenants.iter().map(|t| t.to_string()).collect();
    grant::run(&db.client, &db.config, login, &tenants, change).await.expect("grant")
}

/// Everything of the report schema that a reader can select from, functions with arguments filled in for a store.
async fn readable(db: &ReportsDb, tenant: &str) -> Vec<String> {
    let relations = "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1";
    let mut sources: Vec<String> = rows(&db.client, relations).await.concat();
    assert!(sources.len() >= 18, "{sources:?}");
    for function in
        rows(&db.client, "SELECT proname FROM pg_proc WHERE pronamespace = 'analytics'::regnamespace ORDER BY 1")
            .await
            .concat()
    {
        sources.push(match function.as_str() {
            "daily_sales_period" => format!("daily_sales_period('{tenant}', '2000-01-01', '2100-01-01')"),
            "sales_trends" => format!("sales_trends('{tenant}', 200)"),
            "top_products" => format!("top_products('{tenant}', '0001-01-01', '9999-12-31', 1000)"),
            "slow_movers" => format!("slow_movers('{tenant}', 100, 1000000)"),
            "sales_by_weekday" => format!("sales_by_weekday('{tenant}', 20)"),
            "store_totals" => "store_totals('2000-01-01', '2100-01-01')".to_string(),
            "wait_for" => "wait_for('0/0', '0')".to_string(),
            new => panic!("no test that a reader of one store sees no other by the function {new}"),
        });
    }
    sources
}

#[tokio::test]
async fn a_reader_of_one_store_sees_it_and_no_other() {
    let db = ReportsDb::filled().await;
    let (login, reader) = db.login("north").await;
    let access = grant_to(&db, &login, &[NORTH], Change::Grant).await;
    assert_eq!((access.all_stores, access.stores), (false, vec![NORTH.to_string()]));

    for source in readable(&db, NORTH).await {
        let mine = rows(&reader, &format!("SELECT r::text FROM analytics.{source} AS r")).await.concat();
        assert!(!mine.is_empty() || source == "daily_sales_today", "{source} shows nothing");
        for row in &mine {
            assert!(!row.contains("central") && !row.contains("Central") && !row.contains("quiet"), "{source}: {row}");
        }
        // The same that the owner sees of this store.
        let columns = rows(&db.client, &format!("SELECT * FROM analytics.{source} AS r LIMIT 0")).await;
        assert!(columns.is_empty());
        if !source.contains('(') {
            let query = format!("SELECT count(*) FROM analytics.{source} WHERE tenant = '{NORTH}'");
            assert_eq!(rows(&reader, &query).await, rows(&db.client, &query).await, "{source}");
        }
    }
    for source in readable(&db, "tenant_central").await.iter().filter(|s| s.contains("central")) {
        assert!(rows(&reader, &format!("SELECT * FROM analytics.{source}")).await.is_empty(), "{source}");
    }
    let state = try_rows(&reader, "SELECT * FROM analytics_state.tenant").await.expect_err("the state is closed");
    assert!(state.as_db_error().is_some_and(|e| e.message().contains("permission denied for schema")), "{state:?}");
}

/// Ways around a filter that work where one is applied carelessly. Each notes what it sees in a table of its own.
const ATTACKS: &[(&str, &str)] = &[
    ("a function cheaper than the filter", "SELECT count(*) FROM analytics.{source} r WHERE pg_temp.leak(r::text)"),
    ("the same on one column", "SELECT count(*) FROM analytics.{source} r WHERE pg_temp.leak(r.tenant)"),
    ("the same on a name", "SELECT count(*) FROM analytics.{source} r WHERE pg_temp.leak(r.tenant_name)"),
    ("the same in a join", "SELECT count(*) FROM analytics.{source} r JOIN pg_temp.one o ON pg_temp.leak(r::text)"),
    ("the same in an order", "SELECT 1 FROM analytics.{source} r ORDER BY pg_temp.leak(r::text)"),
    (
        "row security off",
        "SET row_security = off; SELECT pg_temp.leak(r::text) FROM analytics.{source} r; RESET row_security",
    ),
    (
        "an error with the value in it",
        "SELECT count(*) FROM analytics.{source} r WHERE length(r::text) > 0 AND r::text::xid8 IS NOT NULL",
    ),
    (
        "a plan with what it removed",
        "EXPLAIN (ANALYZE, VERBOSE, FORMAT TEXT) SELECT * FROM analytics.{source} r WHERE pg_temp.leak(r::text)",
    ),
];

#[tokio::test]
async fn a_reader_of_one_store_finds_no_way_around() {
    let db = ReportsDb::filled().await;
    let (login, reader) = db.login("attacker").await;
    grant_to(&db, &login, &[NORTH], Change::Grant).await;
    // Names of theirs before ours: a table, an operator and functions that say yes to everything.
    reader
        .batch_execute(
            "CREATE TEMP TABLE one AS SELECT 1; CREATE TEMP TABLE seen (line text);
             CREATE FUNCTION pg_temp.leak(line text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
               AS 'BEGIN INSERT INTO pg_temp.seen VALUES (line); RETURN true; END';
             CREATE TEMP TABLE my_tenants AS SELECT 'tenant_central'::text AS tenant, current_date AS today;
             CREATE TEMP TABLE tenant AS SELECT 'tenant_central'::text AS tenant;
             CREATE FUNCTION pg_temp.always(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR pg_temp.= (leftarg = text, rightarg = text, function = pg_temp.always);
             CREATE FUNCTION pg_temp.row_security_active(oid) RETURNS boolean LANGUAGE sql AS 'SELECT false';
             CREATE FUNCTION pg_temp.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             SET search_path = pg_temp, pg_catalog",
        )
        .await
        .expect("prepare the attack");
    let mut tried = 0;
    for tenant in [NORTH, "tenant_central"] {
        for source in readable(&db, tenant).await {
            for (attack, sql) in ATTACKS {
                let shown = match try_rows(&reader, &sql.replace("{source}", &source)).await {
                    Ok(rows) => rows.concat().join("\n"),
                    Err(error) => {
                        let error = error.as_db_error().expect("from the server");
                        format!("{} {:?} {:?}", error.message(), error.detail(), error.where_())
                    }
                };
                // A plan repeats the question, and with it the argument.
                let shown = shown.replace("'tenant_central'::text", "").replace("'tenant_central'", "");
                assert!(!shown.contains("central"), "{attack} on {source}: {shown}");
                reader.batch_execute("RESET row_security").await.expect("reset");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
    let seen = rows(
        &reader,
        "SELECT count(*), count(*) FILTER (WHERE line LIKE '%central%' OR line LIKE '%Central%') FROM pg_temp.seen",
    )
    .await
    .concat();
    assert_ne!(seen, ["0", "0"], "the attacks did not run");
    assert_eq!(seen.last().map(String::as_str), Some("0"), "{seen:?}");

    let statistics = "SELECT count(*) FROM pg_catalog.pg_stats WHERE schemaname OPERATOR(pg_catalog.=) 'analytics'";
    assert_eq!(rows(&reader, statistics).await.concat(), ["0"]);
    for write in [
        "DELETE FROM analytics.daily_sales_report",
        "UPDATE analytics.daily_sales_today SET total_sales = 0",
        "INSERT INTO analytics.my_tenants VALUES ('tenant_central')",
        "ALTER TABLE analytics.tenant DISABLE ROW LEVEL SECURITY",
        "DROP POLICY reader ON analytics.tenant",
        "SELECT * FROM analytics.tenant FOR UPDATE",
        "SET ROLE analytics_reader",
        "SET SESSION AUTHORIZATION postgres",
    ] {
        assert!(try_rows(&reader, write).await.is_err(), "{write}");
    }
}

async fn stores_of(reader: &Client) -> Vec<String> {
    rows(reader, "SELECT DISTINCT tenant FROM analytics.daily_sales_today ORDER BY 1").await.concat()
}

#[tokio::test]
async fn grants_add_up_and_are_taken_back() {
    let db = ReportsDb::filled().await;
    let (login, reader) = db.login("BI-tool").await;
    let closed = async |reader: &Client| {
        let error = try_rows(reader, "SELECT * FROM analytics.daily_sales_today").await.expect_err("closed");
        assert!(error.as_db_error().is_some_and(|e| e.message().contains("permission denied")), "{error:?}");
    };
    closed(&reader).await;
    grant_to(&db, &login, &[NORTH, NORTH], Change::Grant).await;
    assert_eq!(stores_of(&reader).await, [NORTH]);
    let access = grant_to(&db, &login, &["tenant_quiet"], Change::Grant).await;
    assert_eq!(access.stores, [NORTH, "tenant_quiet"]);
    assert_eq!(stores_of(&reader).await, [NORTH, "tenant_quiet"]);
    grant_to(&db, &login, &[NORTH], Change::Revoke).await;
    assert_eq!(stores_of(&reader).await, ["tenant_quiet"]);

    assert!(grant_to(&db, &login, &[], Change::Grant).await.all_stores);
    assert_eq!(stores_of(&reader).await, ["tenant_central", NORTH, "tenant_quiet"]);
    let total = "SELECT sum(total_sales)::text FROM analytics.daily_sales_report";
    assert_eq!(rows(&reader, total).await, rows(&db.client, total).await);
    // The last store goes; the reports of all stay readable.
    grant_to(&db, &login, &["tenant_quiet"], Change::Revoke).await;
    assert_eq!(stores_of(&reader).await.len(), 3);
    let access = grant_to(&db, &login, &[], Change::Revoke).await;
    assert_eq!((access.all_stores, access.stores.len()), (false, 0));
    closed(&reader).await;
    // Nothing of ours is left that would keep the role from being dropped.
    db.client.batch_execute(&format!("DROP ROLE {}", tillstream::sql::ident(&login))).await.expect("drop role");

    let error =
        grant::run(&db.client, &db.config, "nobody_at_all", &[], Change::Grant).await.expect_err("no such role");
    assert_eq!(
        error.to_string(),
        "role \"nobody_at_all\" does not exist; create it first: CREATE ROLE \"nobody_at_all\" LOGIN;"
    );
    let (login, _reader) = db.login("other").await;
    let error = grant::run(&db.client, &db.config, &login, &["tenant_nort".to_string()], Change::Grant)
        .await
        .expect_err("no such store");
    assert!(error.to_string().starts_with("no such store: tenant_nort; known are: "), "{error}");
}

#[tokio::test]
async fn a_dropped_reader_and_a_group_do_what_one_expects() {
    let db = ReportsDb::filled().await;
    let (gone, connection) = db.login("gone").await;
    grant_to(&db, &gone, &[NORTH], Change::Grant).await;
    drop(connection);
    let gone = tillstream::sql::ident(&gone);
    db.client.batch_execute(&format!("DROP OWNED BY {gone}; DROP ROLE {gone}")).await.expect("drop role");

    let (group, _) = db.login("staff").await;
    let (member, reader) = db.login("member").await;
    db.client.batch_execute(&format!("GRANT {group} TO {member}")).await.expect("join");
    grant_to(&db, &group, &[NORTH], Change::Grant).await;
    assert_eq!(stores_of(&reader).await, [NORTH]);
    // SET ROLE asks as the role that was taken on, also for a superuser.
    db.client.batch_execute(&format!("SET ROLE {member}")).await.expect("set role");
    assert_eq!(stores_of(&db.client).await, [NORTH]);
    db.client.batch_execute("RESET ROLE").await.expect("reset role");
    assert_eq!(stores_of(&db.client).await.len(), 3);
}

#[tokio::test]
async fn an_owner_without_rights_over_roles_grants_stores_and_is_told_what_the_dba_runs() {
    let db = ReportsDb::filled().await;
    let (owner, client) = db.login("daemon").await;
    let (reader, reading) = db.login("reader").await;
    let own = "SELECT format('ALTER %s %I.%I OWNER TO ', CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relnamespace::regnamespace, relname) \
               FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'analytics%' AND relkind IN ('r', 'v') UNION ALL \
               SELECT format('ALTER FUNCTION %s OWNER TO ', oid::regprocedure) FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'analytics%' UNION ALL \
               SELECT format('ALTER SCHEMA %I OWNER TO ', nspname) FROM pg_namespace WHERE nspname LIKE 'analytics%'";
    for statement in rows(&db.client, own).await.concat() {
        db.client.batch_execute(&format!("{statement} {owner}")).await.expect("hand over");
    }
    grant::run(&client, &db.config, &reader, &[NORTH.to_string()], Change::Grant).await.expect("grant a store");
    assert_eq!(stores_of(&reading).await, [NORTH]);
    // Row-level security is not forced: the owner sees and writes everything.
    assert_eq!(stores_of(&client).await.len(), 3);
    assert_eq!(rows(&client, "UPDATE analytics.tenant SET name = name RETURNING 1").await.len(), 4);
    let error = grant::run(&client, &db.config, &reader, &[], Change::Grant).await.expect_err("no rights over roles");
    let expected = format!(
        "role \"{owner}\" may not do that; let an administrator run: GRANT \"analytics_reader\" TO \"{reader}\";"
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn everything_readers_see_is_explained_in_the_catalogue() {
    let db = ReportsDb::empty().await;
    for (what, query) in [
        (
            "schema",
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'analytics%' AND obj_description(oid, 'pg_namespace') IS NULL",
        ),
        (
            "relation",
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL",
        ),
        (
            "column",
            "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 \
                    WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('r', 'v') AND col_description(c.oid, a.attnum) IS NULL",
        ),
        (
            "function",
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'analytics'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
        ),
        (
            "view without a barrier",
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'v' AND NOT coalesce(reloptions @> ARRAY['security_barrier=true'], false)",
        ),
        (
            "table without row-level security",
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'r' AND NOT relrowsecurity",
        ),
        (
            "function for everyone",
            "SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(p.proacl) a WHERE pronamespace = 'analytics'::regnamespace AND a.grantee = 0",
        ),
    ] {
        assert_eq!(rows(&db.client, query).await, Vec::<Vec<String>>::new(), "{what}");
    }
}

#[tokio::test]
async fn freshness_and_waiting_follow_the_position() {
    let db = ReportsDb::filled().await;
    let (login, reader) = db.login("app").await;
    grant_to(&db, &login, &[NORTH], Change::Grant).await;
    assert_eq!(rows(&reader, "SELECT tenant, exact_lsn, lag FROM analytics.freshness").await, [[NORTH, "0/0", NULL]]);
    let system = "INSERT INTO analytics_state.position (slot, source_database, system_identifier, timeline, lsn, committed_at, updated_at) \
                  SELECT $1, current_database(), system_identifier::text, 1, '0/200', '2026-01-01 00:00Z', now() - interval '1 hour' FROM pg_control_system()";
    db.client.execute(system, &[&db.db.slot()]).await.expect("position");
    // No slot here: the WAL that waits is not known, the position's age is what there is to say.
    let query = "SELECT exact_at = '2026-01-01 00:00Z', exact_lsn, lag_bytes, lag BETWEEN '1 hour' AND '1 hour 5 minutes' FROM analytics.freshness";
    assert_eq!(rows(&reader, query).await, [["t", "0/200", NULL, "t"]]);
    assert_eq!(rows(&reader, "SELECT analytics.wait_for('0/200')").await, [["t"]]);
    assert_eq!(rows(&reader, "SELECT analytics.wait_for('0/201', '20 ms')").await, [["f"]]);
    let error =
        try_rows(&reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT analytics.wait_for('0/201'); ROLLBACK").await;
    assert!(error.is_err());
    reader.batch_execute("ROLLBACK").await.expect("rollback");

    // While one waits, the writer commits.
    let waiting = async { rows(&reader, "SELECT analytics.wait_for('0/300', '60 s')").await };
    let writing = db.client.batch_execute("UPDATE analytics_state.position SET lsn = '0/300', updated_at = now()");
    let (waited, written) = tokio::join!(waiting, writing);
    written.expect("move the position");
    assert_eq!(waited, [["t"]]);

    // With the slot on this server: a confirmed position counts, and what was written since is known.
    db.client
        .execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&db.db.slot()])
        .await
        .expect("slot");
    let query = "SELECT exact_lsn = s.confirmed_flush_lsn, lag_bytes >= 0 FROM analytics.freshness, pg_replication_slots s \
                 WHERE s.slot_name = (SELECT slot FROM analytics_state.position)";
    let found = rows(&db.client, query).await;
    assert!(found.iter().filter(|r| r[0] == "t" && r[1] == "t").count() == 3 && found.len() == 4, "{found:?}");
    let unlike = "UPDATE analytics_state.position SET system_identifier = '1'";
    db.client.batch_execute(unlike).await.expect("another cluster");
    let query = "SELECT DISTINCT exact_lsn, lag_bytes FROM analytics.freshness WHERE state = 'live'";
    assert_eq!(rows(&db.client, query).await, [["0/300", NULL]]);
}
