//! What stands beside the figures.

use crate::{LEAST_RATE, MOST_HAND_OVER, WAITERS};

/// Below the table of free keys, with the floors and monban's own rate in rates of advisory locks.
pub(crate) fn free_keys([row, thread]: [f64; 2], own: f64) -> String {
    format!(
        "
A cycle of monban's at one key writes two rows in two transactions that wait for no disk; advisory locks write nothing, and answer without a change
of thread. Side by side monban's claims travel together over one connection.

The floors are no locks: they say what it costs at least to take and to free a key by writing it down. One row that is there already, in a table that is
not logged, is found by its primary key and changed in place, twice, in two transactions of one statement each that wait for no disk: no claim of its own
to keep alive, no TTL, no line, nobody woken, and nothing is left of it after a crash. Of the rate of advisory locks that reaches {row:.2}, with a thread for
the connection {thread:.2}, and monban {own:.2}; asked were {LEAST_RATE}. What keeps a lease alive must not depend on how busy its owner is, so the thread
is needed; it alone stands between the floor and the target. Of what lies between that floor and monban most is the server's time (last column): what is
written and asked besides, so that a claim has a life, a line and a fence.

"
    )
}

/// Above the table of hand-overs.
pub(crate) const HAND_OVER: &str = "\
Each waiter is a client of its own. From the call that frees the key until the next in line has it.

The floors are no locks: they say what a hand-over by LISTEN and NOTIFY costs at least, with as many clients that listen, in the same run. Who is next is
decided in the memory of the bench, and nothing survives a client that dies.

* NOTIFY alone: whoever frees calls `pg_notify`, and no table is touched.
* A row each: the least that a fenced lock has to write. Whoever joins inserts a row; whoever frees writes the fence into the row of the next, found
  by its primary key in a table that is not logged, in one statement with the `pg_notify`.
* A thread for each connection: what keeps a lease alive must not depend on how busy its owner is.";

/// Below it, with the floors and monban's own hand-over in hand-overs of advisory locks.
pub(crate) fn floors([bare, row, thread]: [f64; 3], own: f64) -> String {
    format!(
        "
Of advisory locks a hand-over takes {bare:.2} times by NOTIFY alone, {row:.2} with a row each, {thread:.2} with a thread for each connection, and {own:.2} with monban; asked
were {MOST_HAND_OVER:.0}. What is between the last floor and monban is the line in the database: who is next, whether he lives, what is in reserve, and a fence above all earlier ones
whatever crashes.

Why the floors are as high as they are: up to version 18 a PostgreSQL server wakes by each notification every session of the database that
listens, whichever channel it is for. With {WAITERS} waiters that is a signal for each from within the releasing session, and as many short transactions
that find out that it was not for them; on two processors the one that it is for, and its client, wait among them. An advisory lock wakes one
session.

A release that hands over is one function of four statements. It and the next request of its session take four to five times as long as in a session that does
nothing else: each of {clients} sessions hands over once in some 40 ms, and finds its plans no longer in the caches. So what counts is how much of them it
touches: statements of one table each took an eighth to a fifth less there than fewer ones with common table expressions; fewer still, without what is in
reserve and with the row left in the line for later, took nothing off.

A hand-over is two calls, a release and the next request of whoever released, and no other; the grant travels in the notification, and a session that is
woken for another one sends its client nothing.
",
        clients = WAITERS + 1,
    )
}
