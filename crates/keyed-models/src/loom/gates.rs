//! The gate as the engine uses it: a hold shuts it, an answer or a loss opens it, callers go away at any moment.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use loom::cell::UnsafeCell;
use loom::future::{AtomicWaker, block_on};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::verdict::in_a_process_of_its_own;

use super::gate::{Gate, Shut};
use super::mutex::KeyedMutex;

/// One key's gate, and what only one may reach at a time: the store.
struct World {
    gate: Gate<u8>,
    store: UnsafeCell<u32>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::over(KeyedMutex::new()),
            store: UnsafeCell::new(0),
        })
    }

    /// Asks the store, as one that has passed the gate.
    fn ask(&self) {
        self.store.with_mut(|_| ());
    }

    /// A caller that waits for as long as it takes.
    fn caller(&self) {
        let pass = block_on(self.gate.pass_unless(&1, pending::<()>()));
        self.ask();
        drop(pass);
    }

    /// A caller whose future is dropped after so many polls.
    fn goes_away(&self, polls: usize) {
        let mut wish = pin!(self.gate.pass_unless(&1, pending::<()>()));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if let Poll::Ready(_pass) = wish.as_mut().poll(&mut context) {
                return self.ask();
            }
        }
    }

    /// A hold that has shut the gate.
    fn hold(&self) -> Shut<u8> {
        let pass = self.gate.try_pass(&1);
        assert!(pass.is_some(), "nobody else is there yet");
        Shut::by(pass)
    }

    fn is_left_open(&self) {
        assert_eq!(self.gate.len(), 0);
        assert!(self.gate.try_pass(&1).is_some());
    }
}

/// The end of a limit, or of the locks: ready when somebody says so.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

struct Rings(Arc<Bell>);

impl Future for Rings {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register_by_ref(context.waker());
        match self.0.rung.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

fn every_schedule(bound: usize, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn on_a_thread(world: &Arc<World>, body: fn(&World)) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || body(&world))
}

#[test]
fn a_gate_that_an_answer_and_a_loss_open_at_once_lets_the_next_in() {
    in_a_process_of_its_own(|| {
        every_schedule(2, || {
            let world = World::new();
            let hold = Arc::new(world.hold());
            let lost = {
                let hold = Arc::clone(&hold);
                thread::spawn(move || hold.open())
            };
            let next = on_a_thread(&world, World::caller);
            hold.open();
            lost.join().expect("it does not panic");
            next.join().expect("it does not panic");
            world.is_left_open();
        });
    });
}

#[test]
fn a_caller_whose_limit_is_over_as_its_turn_comes_hands_the_gate_on() {
    in_a_process_of_its_own(|| {
        every_schedule(2, || {
            let world = World::new();
            let hold = world.hold();
            let bell = Arc::new(Bell::default());
            let limited = {
                let (world, bell) = (Arc::clone(&world), Arc::clone(&bell));
                thread::spawn(move || {
                    if let Ok(_pass) = block_on(world.gate.pass_unless(&1, Rings(bell))) {
                        world.ask();
                    }
                })
            };
            let next = on_a_thread(&world, World::caller);
            bell.ring();
            hold.open();
            limited.join().expect("it does not panic");
            next.join().expect("it does not panic");
            world.is_left_open();
        });
    });
}

#[test]
fn a_caller_that_goes_away_as_its_turn_comes_hands_the_gate_on() {
    in_a_process_of_its_own(|| {
        every_schedule(2, || {
            let world = World::new();
            let hold = world.hold();
            let gone = on_a_thread(&world, |world| world.goes_away(2));
            let next = on_a_thread(&world, World::caller);
            hold.open();
            gone.join().expect("it does not panic");
            next.join().expect("it does not panic");
            world.is_left_open();
        });
    });
}
