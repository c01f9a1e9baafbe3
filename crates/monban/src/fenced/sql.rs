//! Guards for SQL databases: a table of the highest fences, and a conditional statement.
//!
//! There are two ways, and no client library in either: run the statements with the one you have.
//!
//! **A column of your own table**, for a row that only lock holders write. One statement checks and writes:
//!
//! ```sql
//! UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2
//! ```
//!
//! No row affected: refused (or no such row).
//!
//! **The guard table**, for any other work. In the transaction that does the work, first run the statements
//! [`accept`](SqlGuard::accept), in order, each with the parameters (resource, seat, fence):
//!
//! * the resource is a text of your choice, the key of the lock say;
//! * the seat is [`Token::seat_number`](crate::Token::seat_number), -1 for an exclusive lease;
//! * the fence is [`Fence::as_i64`](crate::Fence::as_i64).
//!
//! If the last of them affected one row, go on, and commit. If it affected none, a later holder has been
//! here: roll back and stop. The row stays locked until the end of the transaction, so a holder that has
//! been overtaken cannot write between another's check and commit either.
//!
//! ```text
//! let token = lease.token()?;
//! let mut tx = pool.begin().await?;
//! for accept in sql::POSTGRES.accept {
//!     affected = tx.execute(accept, &[&"account:7", &token.seat_number(), &token.fence().as_i64()]).await?;
//! }
//! if affected != 1 { return Err(overtaken()) }     // dropping tx rolls back
//! tx.execute("UPDATE account SET balance = balance - 30 WHERE id = 7", &[]).await?;
//! tx.commit().await?;
//! ```
//!
//! A time-out for the transaction that cannot outlive the lease: [`Lease::timeout_for`](crate::Lease::timeout_for).

/// The statements for one database.
#[derive(Clone, Copy, Debug)]
pub struct SqlGuard {
    /// Creates the guard table if it is not there. To be run once.
    pub create: &'static str,
    /// Accepts or refuses a token; the parameters of each are (resource, seat, fence). The last one affects
    /// one row if the token is accepted, and none if it is refused.
    pub accept: &'static [&'static str],
}

/// For PostgreSQL 9.5 and later, in any isolation level.
pub const POSTGRES: SqlGuard = SqlGuard {
    create: include_str!("sql/postgres_create.sql"),
    accept: &[include_str!("sql/postgres_accept.sql")],
};

/// For MariaDB 10 and later, and MySQL 5.7 and later, with InnoDB.
pub const MARIADB: SqlGuard = SqlGuard {
    create: include_str!("sql/mariadb_create.sql"),
    accept: &[
        include_str!("sql/mariadb_known.sql"),
        include_str!("sql/mariadb_accept.sql"),
    ],
};

/// For SQLite 3.24 and later. Begin the transaction with `BEGIN IMMEDIATE`.
pub const SQLITE: SqlGuard = SqlGuard {
    create: include_str!("sql/sqlite_create.sql"),
    accept: &[include_str!("sql/sqlite_accept.sql")],
};
