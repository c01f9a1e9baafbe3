//! The layer around a small service, and under an axum router.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::{OneAtATime, OneAtATimeService};
use crate::data::Options;
use crate::engine::{Lease, block_on};
use crate::testing::{Fault, Process, Rig, Verb, Witness};

/// Answers each request when the test lets it.
#[derive(Clone)]
struct Slow {
    witness: Witness,
    gates: Arc<Mutex<VecDeque<oneshot::Receiver<()>>>>,
}

impl Service<Request<()>> for Slow {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let gate = self.gates.lock().unwrap().pop_front();
        let witness = self.witness.clone();
        Box::pin(async move {
            let lease = request.extensions().get::<Arc<Lease>>();
            let _inside = witness.enter(request.uri().path(), None);
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            let fence = lease.map(|lease| lease.fence().unwrap().to_string());
            Ok(Response::new(fence.unwrap_or_default()))
        })
    }
}

struct Bench {
    rig: Rig,
    process: Process,
    service: OneAtATimeService<Slow>,
    witness: Witness,
    gates: Arc<Mutex<VecDeque<oneshot::Receiver<()>>>>,
}

impl Bench {
    fn new(configure: impl FnOnce(OneAtATime) -> OneAtATime) -> Self {
        let rig = Rig::new();
        let process = rig.process("web");
        let layer = OneAtATime::new(process.locks().clone(), |parts| {
            let user = parts.headers.get("x-user")?;
            Some(user.to_str().ok()?.to_owned())
        });
        let witness = Witness::new(1);
        let gates = Arc::default();
        let slow = Slow {
            witness: witness.clone(),
            gates: Arc::clone(&gates),
        };
        let service = configure(layer).layer(slow);
        Self {
            rig,
            process,
            service,
            witness,
            gates,
        }
    }

    /// The next request waits inside until the sender is dropped.
    fn hold(&self) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        self.gates.lock().unwrap().push_back(gate);
        open
    }

    fn call(&self, user: Option<&str>) -> impl Future<Output = Response<String>> + Send + 'static {
        let mut request = Request::new(());
        if let Some(user) = user {
            request
                .headers_mut()
                .insert("x-user", user.parse().unwrap());
        }
        let mut service = self.service.clone();
        async move { service.call(request).await.unwrap() }
    }

    fn inside(&self, entered: u64) {
        self.rig.eventually("the request is inside", || {
            self.witness.entered() == entered
        });
    }
}

fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || block_on(future))
}

#[track_caller]
fn done<T>(thread: std::thread::JoinHandle<T>) -> T {
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while !thread.is_finished() {
        assert!(std::time::Instant::now() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}

#[test]
fn a_second_request_of_a_user_is_told_to_come_again() {
    let bench = Bench::new(|layer| layer.retry_after(Duration::from_millis(2_001)));
    let open = bench.hold();
    let first = spawn(bench.call(Some("42")));
    bench.inside(1);
    let second = block_on(bench.call(Some("42")));
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(second.headers()[header::RETRY_AFTER], "3", "rounded up");
    assert_eq!(bench.witness.entered(), 1);
    drop(open);
    assert_eq!(done(first).status(), StatusCode::OK);
    // One after the other, a client never meets itself.
    for _ in 0..5 {
        assert_eq!(block_on(bench.call(Some("42"))).status(), StatusCode::OK);
    }
    bench.witness.assert_no_overlap();
    bench.rig.assert_clean();
}

#[test]
fn other_users_and_requests_of_no_user_are_not_held_up() {
    let bench = Bench::new(|layer| layer);
    let open = bench.hold();
    let first = spawn(bench.call(Some("42")));
    bench.inside(1);
    let other = block_on(bench.call(Some("43")));
    assert_eq!(other.status(), StatusCode::OK);
    assert!(
        other.body().parse::<i64>().unwrap() > 0,
        "the handler finds the lease"
    );
    let nobody = block_on(bench.call(None));
    assert_eq!(
        (nobody.status(), nobody.body().as_str()),
        (StatusCode::OK, "")
    );
    drop(open);
    done(first);
    bench.rig.assert_clean();
}

#[test]
fn an_empty_id_is_refused_and_ids_cannot_reach_into_another_s() {
    let bench = Bench::new(|layer| layer.prefix("order"));
    assert_eq!(
        block_on(bench.call(Some(""))).status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(bench.witness.entered(), 0);
    let open = bench.hold();
    let first = spawn(bench.call(Some("a:b")));
    bench.inside(1);
    assert_eq!(bench.rig.claims("")[0].key.as_bytes(), b"order:a%3Ab");
    drop(open);
    done(first);
    bench.rig.assert_clean();
}

#[test]
fn a_request_that_may_wait_runs_when_the_one_before_it_is_done() {
    let bench = Bench::new(|layer| layer.wait(Duration::from_secs(5)));
    let open = bench.hold();
    let first = spawn(bench.call(Some("42")));
    bench.inside(1);
    let second = spawn(bench.call(Some("42")));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!second.is_finished());
    drop(open);
    assert_eq!(done(second).status(), StatusCode::OK);
    done(first);

    let _open = bench.hold();
    let first = spawn(bench.call(Some("42")));
    bench.inside(3);
    let late = spawn(bench.call(Some("42")));
    bench.rig.eventually("the limit is over", || {
        bench.rig.clock().advance(Duration::from_millis(100));
        late.is_finished()
    });
    assert_eq!(done(late).status(), StatusCode::CONFLICT);
    drop(_open);
    done(first);
    bench.witness.assert_no_overlap();
    bench.rig.assert_clean();
}

#[test]
fn a_store_that_does_not_answer_and_a_lost_lease_are_503() {
    let bench = Bench::new(|layer| layer);
    bench
        .process
        .faults()
        .inject(Verb::Attempt, Fault::RequestLost);
    let answer = block_on(bench.call(Some("42")));
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));

    let open = bench.hold();
    let first = spawn(bench.call(Some("42")));
    bench.inside(1);
    let entry = bench.rig.claims("").remove(0);
    block_on(bench.process.locks().evict(&entry)).unwrap();
    assert_eq!(done(first).status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(open);
    bench.rig.assert_clean();
}

#[test]
fn a_request_that_is_dropped_at_any_poll_frees_its_user() {
    for k in 0..100 {
        let bench = Bench::new(|layer| layer);
        let mut call = Box::pin(bench.call(Some("42")));
        let mut context = Context::from_waker(Waker::noop());
        let mut finished = false;
        for _ in 0..k {
            if call.as_mut().poll(&mut context).is_ready() {
                finished = true;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(call);
        bench.rig.assert_clean();
        assert_eq!(block_on(bench.call(Some("42"))).status(), StatusCode::OK);
        if finished {
            return;
        }
    }
    panic!("the request did not complete");
}

#[test]
fn options_are_checked_when_they_are_set() {
    let rig = Rig::new();
    let layer = OneAtATime::new(rig.process("web").locks().clone(), |_| None);
    assert!(
        layer
            .clone()
            .with(Options::new().ttl(Duration::ZERO))
            .is_err()
    );
    assert!(
        layer
            .with(Options::new().ttl(Duration::from_secs(5)))
            .is_ok()
    );
}
