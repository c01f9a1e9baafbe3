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
verb!(SWEEP, SELDOM, "SELECT monban.sweep($1)", [INT4]);
verb!(READ_FORMAT, SELDOM, "SELECT format FROM monban.reserve", []);
verb!(PING, SELDOM, "SELECT 1", []);

verb!(
    GREET,
    SELDOM,
    "SELECT pg_backend_pid(), current_setting('server_version_num')::integer, pg_is_in_recovery(), \
     current_setting('transaction_read_only') = 'on', current_setting('transaction_isolation'), \
     (SELECT (date_part('epoch', backend_start) * 1000000)::bigint FROM pg_stat_activity WHERE pid = pg_backend_pid())",
    []
);

// Ends a session of ours that may still be busy with a request that we have given up; whether it is there still. Not while
// it waits for a synchronous standby: its commit would be taken for done, and the standby does not have it.
verb!(
    END,
    SELDOM,
    "SELECT CASE WHEN wait_event = 'SyncRep' THEN false ELSE pg_terminate_backend(pid) END FROM pg_stat_activity \
     WHERE pid = $1 AND (date_part('epoch', backend_start) * 1000000)::bigint = $2",
    [INT4, INT8]
);

/// For a session of our own: every request ends in bounded time, and is planned once, by the keys.
pub(super) const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET lock_timeout = '500ms'; SET idle_in_transaction_session_timeout = 0; \
    SET client_min_messages = warning; SET jit = off; SET plan_cache_mode = force_generic_plan; \
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Makes the schema, as one transaction; who comes second waits, as long as for any answer, and finds it made.
pub(super) const LOCK_SCHEMA: &str = "SELECT set_config('lock_timeout', '0', true); \
    SELECT pg_advisory_xact_lock(7881702167011291749);\n";

/// What `monban schema` prints.
pub(super) const SCHEMA: &str = concat!(
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
);

/// The version of what the schema keeps.
pub(super) const FORMAT: i32 = 1;
