//! What stands beside the figures.

/// Below the table of free keys.
pub(crate) const FREE_KEYS: &str = "
A cycle of monban's at one key writes two rows in two transactions that wait for no disk; advisory locks write nothing, and answer without a change
of thread. Side by side monban's claims travel together over one connection.

";

/// Above the table of hand-overs.
pub(crate) const HAND_OVER: &str = "\
Each waiter is a client of its own. From the call that frees the key until the next in line has it. The floors are no locks: they say what a \
hand-over by LISTEN and NOTIFY costs at least, with as many clients that listen, in the same runtime. Who is next is decided in the memory of the bench. \
`NOTIFY alone` frees by one `pg_notify`, and touches no table. `a row each, and NOTIFY` is the least that a fenced lock has to write: whoever joins \
inserts a row, whoever frees writes the fence into the row of the next, found by its primary key, in one statement with the `pg_notify`.";

/// Below it; `{bare}` and `{row}` are the floors of NOTIFY alone and with a row, `{own}` is monban's, all in hand-overs of advisory locks,
/// and `{left}` what the target leaves beyond the floor with a row, in milliseconds.
pub(crate) fn floors(bare: f64, row: f64, own: f64, left: f64) -> String {
    format!(
        "
NOTIFY alone is {bare:.2} times an advisory lock, with a row each {row:.2} times; monban is {own:.2} times. Between the floor with a row and the target there are
{left:.2} ms, for everything else that a hand-over does.

Why a floor is as high as it is: up to version 18 a PostgreSQL server wakes by each notification every session of the database that listens,
whichever channel it is for. With {waiters} waiters that is a signal for each from within the releasing session, and as many sessions that run a short
transaction to find out that it was not for them; on two processors the one that it is for, and its client, wait among them. An advisory lock
wakes one session.

What monban adds to the floor: whom the key passes to is in the database, not in the bench, so a release looks at the head of the line, reads what is
in reserve, takes the next claim out of the line and writes the head, in one function of four statements; and it runs in the keeper of each client, a thread
of its own, so that no busy caller starves a lease: a change of thread on the way to the server and one on the way back. In a trace of single
hand-overs the function took about half of the time. It ran about four times longer there than in a session that does nothing else: each of the {clients} sessions
hands over once in some 40 ms, and finds its plans no longer in the caches. So what counts is how much of them a release touches: few statements, of one
table each.

A hand-over is two calls, a release and the next request of whoever released, and no other; the grant travels in the notification, and a session
that is woken for another one sends its client nothing.
",
        waiters = crate::WAITERS,
        clients = crate::WAITERS + 1,
    )
}
