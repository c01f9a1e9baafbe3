//! The statements: text is constant, values are parameters. What the functions do stands in the files beside.

use tokio_postgres::types::Type;

/// A statement with the types of its parameters.
pub(super) struct Verb {
    pub(super) text: &'static str,
    pub(super) types: &'static [Type],
    /// Where a connection keeps it prepared.
    pub(super) slot: usize,
}

/// How many of them a connection keeps prepared.
pub(super) const SLOTS: usize = 6;

macro_rules! verb {
    ($name:ident, $slot:expr, $text:expr, [$($type:ident),*]) => {
        pub(super) static $name: Verb = Verb { text: $text, types: &[$(Type::$type),*], slot: $slot };
    };
}

verb!(
    ATTEMPT,
    0,
    "SELECT * FROM monban.attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    [
        BYTEA_ARRAY,
        BYTEA_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        BOOL_ARRAY,
        TEXT_ARRAY,
        BOOL,
        BOOL,
        BOOL
    ]
);
verb!(
    RENEW,
    1,
    "SELECT * FROM monban.renew($1, $2, $3, $4, $5, $6)",
    [BYTEA_ARRAY, BYTEA_ARRAY, INT8_ARRAY, INT8_ARRAY, BOOL, BOOL]
);
verb!(
    RELEASE,
    2,
    "SELECT * FROM monban.release($1, $2, $3, $4, $5)",
    [BYTEA_ARRAY, BYTEA_ARRAY, INT8_ARRAY, BOOL, BOOL]
);
// For one claim that wants the key for itself, and keeps no place behind it.
verb!(
    ATTEMPT_ONE,
    4,
    "SELECT monban.attempt_one($1, $2, $3, $4, $5, $6)",
    [BYTEA, BYTEA, INT8, BOOL, TEXT, BOOL]
);
verb!(
    RELEASE_ONE,
    5,
    "SELECT monban.release_one($1, $2)",
    [BYTEA, BYTEA]
);
verb!(
    PREPARE,
    3,
    "SELECT 1 FROM monban.prepare($1) AS done",
    [INT8]
);

/// Statements that are used seldom are not prepared.
pub(super) const SELDOM: usize = usize::MAX;

verb!(EVICT, SELDOM, "SELECT monban.evict($1, $2)", [BYTEA, BYTEA]);
verb!(
    SHOW,
    SELDOM,
    "SELECT * FROM monban.show($1, $2)",
    [BYTEA, BYTEA]
);
verb!(
    BARRED,
    SELDOM,
    "SELECT * FROM monban.barred($1, $2)",
    [BYTEA, BYTEA]
);
verb!(OPENS_IN, SELDOM, "SELECT monban.opens_in()", []);
verb!(SWEEP, SELDOM, "SELECT monban.sweep($1)", [INT4]);

// What is there of the schema, and whether this role may replace it. It fails if there is none, or not all of it.
verb!(
    READ_VERSIONS,
    SELDOM,
    "SELECT format, monban.version(), (SELECT pg_catalog.pg_has_role(proowner, 'USAGE') FROM pg_catalog.pg_proc \
     WHERE oid = 'monban.version()'::pg_catalog.regprocedure::pg_catalog.oid) FROM monban.reserve",
    []
);
// Whether that would not fail.
verb!(
    IS_MADE,
    SELDOM,
    "SELECT pg_catalog.to_regclass('monban.reserve') IS NOT NULL \
     AND pg_catalog.to_regprocedure('monban.version()') IS NOT NULL",
    []
);
verb!(PING, SELDOM, "SELECT 1", []);

verb!(
    GREET,
    SELDOM,
    "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num')::integer, \
     pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on', \
     pg_catalog.current_setting('transaction_isolation'), \
     (SELECT (pg_catalog.date_part('epoch', backend_start) * 1000000::double precision)::bigint \
     FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid())",
    []
);

// Ends a session of ours to which a request that we have given up may still be on its way; whether it is there still. Only while
// it waits for us. One that is at work may be at its commit, at its own disk or waiting for a synchronous standby: the end would be
// the end of that wait alone, and the commit would be taken for done while the standby does not have it. What else
// it does ends by itself, by the limits of `SESSION`. By what it waits for, and not by its state, which a server need not keep
// (`track_activities`). What is left is a request that arrives between the look and the signal, and is at its commit by then.
verb!(
    END,
    SELDOM,
    "SELECT CASE WHEN wait_event_type = 'Client' THEN pg_catalog.pg_terminate_backend(pid) ELSE false END \
     FROM pg_catalog.pg_stat_activity \
     WHERE pid = $1 AND (pg_catalog.date_part('epoch', backend_start) * 1000000::double precision)::bigint = $2",
    [INT4, INT8]
);

/// For a session of our own: names are the server's own unless they say otherwise; every request ends in bounded time, and is
/// planned once, by the keys.
pub(super) const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET default_transaction_isolation = 'read committed'; \
    SET lock_timeout = '500ms'; SET idle_in_transaction_session_timeout = 0; \
    SET client_min_messages = warning; SET jit = off; SET plan_cache_mode = force_generic_plan; \
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Begins the transaction that makes the schema: who comes second waits, and looks again (the lock is that of `tables.sql`).
pub(super) const BEGIN_SCHEMA: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; \
    SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true); \
    SELECT pg_advisory_xact_lock(7881702167011291749)";

macro_rules! schema {
    ($before:expr, $after:expr) => {
        concat!(
            $before,
            include_str!("sql/tables.sql"),
            "\n",
            include_str!("sql/line.sql"),
            "\n",
            include_str!("sql/attempt.sql"),
            "\n",
            include_str!("sql/keep.sql"),
            "\n",
            include_str!("sql/show.sql"),
            "\n",
            include_str!("sql/fence.sql"),
            "\n",
            include_str!("sql/upkeep.sql"),
            "\n",
            include_str!("sql/grants.sql"),
            $after
        )
    };
}

/// What makes the schema inside a transaction, or brings it up to date.
pub(super) const SCHEMA_BODY: &str = schema!("", "");

/// What `monban schema` prints.
pub(super) const SCHEMA: &str = schema!(
    "BEGIN;\n\n",
    concat!("\n\n", include_str!("sql/strangers.sql"), "\nCOMMIT;\n")
);

/// What refuses to go on beside a stranger's check of fences.
pub(super) const STRANGERS: &str = include_str!("sql/strangers.sql");

/// The version of what the tables keep. Programs of one format share a database; those of an earlier one refuse it.
pub(super) const FORMAT: i32 = 1;

/// The version of the functions: the number in `sql/grants.sql` and `sql/tables.sql`. A program replaces those of an earlier
/// version, if it may, and leaves later ones alone. So within a format a function that a program calls keeps its parameters
/// and what its answers mean; one that needs others has another name.
pub(super) const FUNCTIONS: i32 = 1;

/// The earliest version whose functions do all that this program asks for, though it would replace them.
pub(super) const SUFFICES: i32 = 1;

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// A function in another schema that fits better would be called instead, as whoever locks: by PostgreSQL's rules that can be
    /// one of everything that takes arrays, or anything, and none of what is named here for the types it is given.
    #[test]
    fn every_function_that_is_called_is_called_by_its_schema() {
        const WORDS: &[&str] = &["coalesce", "greatest", "least", "nullif"];
        const EXACT: &[&str] = &["bool_and", "count", "max", "min", "row_number", "sum"];
        let own = fence_check(SCHEMA);
        let mut calls = 0;
        for line in own.lines().map(|line| line.split("--").next().unwrap()) {
            let line: String = line.split('\'').step_by(2).collect(); // without what is quoted
            for (at, _) in line.match_indices('(') {
                let before = &line[..at];
                let name = before.trim_end_matches(|c: char| c == '_' || c.is_ascii_alphanumeric());
                let (called, before) = (&before[name.len()..], name);
                if called.is_empty() || before.ends_with('.') {
                    continue;
                }
                calls += 1;
                let alias = before.ends_with(" AS ") || before.ends_with("ORDINALITY ");
                // Of several arrays at once it is the server's own, whatever the path; and by a schema it takes but one.
                let several =
                    called == "unnest" && line[at..].split(')').next().unwrap().contains(',');
                assert!(
                    alias || several || WORDS.contains(&called) || EXACT.contains(&called),
                    "{called}: {line}"
                );
            }
        }
        assert!(calls > 30, "{calls}");
    }

    /// The schema without the body of the one function that has a path of its own.
    fn fence_check(schema: &str) -> String {
        let (before, rest) = schema
            .split_once("SET search_path = pg_catalog, pg_temp AS $$")
            .unwrap();
        let (_, after) = rest.split_once("$$;").unwrap();
        format!("{before}{after}")
    }

    /// Functions that change without a new version would not be replaced in the databases that have the old ones.
    #[test]
    fn functions_that_change_have_a_new_version() {
        const FINGERPRINT: &str = "addbe355684b5fe0";
        let said = format!("monban.version() > {FUNCTIONS} THEN");
        assert!(SCHEMA.contains(&said), "tables.sql");
        let said = format!("IMMUTABLE AS $$ SELECT {FUNCTIONS} $$;");
        assert!(SCHEMA.contains(&said), "grants.sql");
        let digest = Sha256::digest(SCHEMA_BODY.as_bytes());
        let digest: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest, FINGERPRINT,
            "the schema has changed: raise its version (unless that is not released yet), and write the new fingerprint here"
        );
    }
}
