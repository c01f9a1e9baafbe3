//! Three instances start at once: each migration is applied by one of them, and all go on when it is done.
//!
//! The lock makes one of them work and the others wait. The schema itself refuses an instance that was
//! paused in the middle and has been overtaken.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use monban::{Fenced, Result};

const MIGRATIONS: [&str; 3] = ["create accounts", "add e-mail", "index e-mail"];

/// Stands for the database: what has been applied, and by which instance.
type Schema = Arc<Fenced<Vec<(&'static str, usize)>>>;

fn instance(number: usize, schema: &Schema) -> Result<()> {
    let mutex = support::connect()?.mutex("migrate:shop")?;
    let lease = mutex.lock().within(Duration::from_secs(60)).wait()?;
    // Under the lock, look at what is there: another instance may have done it all meanwhile.
    let done = schema.read(Vec::len);
    for migration in &MIGRATIONS[done..] {
        lease.require(Duration::from_millis(500))?; // do not begin what cannot be finished
        thread::sleep(Duration::from_millis(50)); // the work
        let applied = schema.write(lease.token()?, |schema| schema.push((*migration, number)));
        if let Err(stale) = applied {
            println!("instance {number}: {stale}");
            return Ok(());
        }
        println!("instance {number}: {migration}");
    }
    monban::block_on(lease.release())?;
    println!("instance {number}: ready");
    Ok(())
}

fn main() -> Result<()> {
    let schema = Schema::new(Fenced::new(Vec::new()));
    let instances: Vec<_> = (1..=3)
        .map(|number| {
            let schema = Arc::clone(&schema);
            thread::spawn(move || instance(number, &schema))
        })
        .collect();
    for instance in instances {
        instance.join().expect("an instance does not panic")?;
    }
    let applied = schema.read(|schema| schema.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(applied, MIGRATIONS, "each once, in order");
    Ok(())
}
