//! Somebody clicks "Order" twice: one request is served, the other is told to come again.
//!
//! The web layer takes the key `user-lock:ID` for the time of the request, on all machines together.

mod support;

use std::error::Error;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use monban::block_on;
use monban::web::OneAtATime;
use tower_service::Service;

/// One machine's service. In a program the user's id comes from the session, not from a header.
fn machine() -> monban::Result<Router> {
    let one_at_a_time = OneAtATime::new(support::connect()?, |request| {
        let user = request.headers.get("x-user")?;
        Some(user.to_str().ok()?.to_owned())
    });
    let order = async || {
        thread::sleep(Duration::from_millis(300)); // the work
        "ordered"
    };
    Ok(Router::new()
        .route("/order", post(order))
        .layer(one_at_a_time))
}

fn click(mut machine: Router) -> Result<String, Box<dyn Error + Send + Sync>> {
    let request = Request::post("/order")
        .header("x-user", "42")
        .body(Body::empty())?;
    let answer = block_on(machine.call(request))?;
    let again = answer
        .headers()
        .get("retry-after")
        .map(|value| format!(", retry after {value:?} s"));
    Ok(format!("{}{}", answer.status(), again.unwrap_or_default()))
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let machines = [machine()?, machine()?];
    let clicks = machines.map(|machine| thread::spawn(move || click(machine)));
    let mut answers = Vec::new();
    for click in clicks {
        answers.push(click.join().expect("a click does not panic")?);
    }
    answers.sort();
    for answer in &answers {
        println!("{answer}");
    }
    assert_eq!(answers.len(), 2);
    assert!(
        answers[0].starts_with("200") && answers[1].starts_with("409"),
        "one order, not two"
    );
    Ok(())
}
