//! Who is to be woken by what etcd says has changed.
//!
//! One stream of watches for a store. Whoever waits watches the one claim ahead of it whose end lets it in (for
//! permits: those that do). A watch begins when the server has it, not at the revision of the look at the line: the
//! server catches up on older revisions only ten times a second. If the server was further by then, what was watched
//! for is looked at once more, so nothing falls between.
//!
//! So it does not matter either what the server has forgotten by a compaction while no stream was open.
//!
//! A holder watches its own claim, once it has held for a moment: most holds are over by then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::faults::Trouble;
use super::hub::{Link, Shared, Tries};
use super::names;
use super::ops;
use super::proto::{
    Event, KeyValue, RangeRequest, WatchAsk, WatchCancelRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use super::table::Table;
use super::value::{State, Value};
use crate::contract::Wake;
use crate::data::ClaimId;
use crate::rule::{Tick, backoff};

/// A hold of less than one tick is never watched, one of two always.
const TICK: Duration = Duration::from_millis(20);
/// The longest pause between two tries to open the stream; and the pause of one whose watch is refused.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of a watch that the server does not begin.
const REFUSED: i64 = -1;

/// What is watched for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The end of what is at this name since that revision; or that it begins to linger.
    End {
        name: Vec<u8>,
        create: i64,
        modified: i64,
    },
    /// That what is left of these, by name and weight, is at most `room`.
    Room {
        line: Vec<u8>,
        ahead: HashMap<Vec<u8>, u64>,
        room: u64,
    },
}

enum Order {
    Watch { id: i64, watch: Watch, soon: bool },
    Forget(i64),
}

struct Watch {
    target: Target,
    /// As of which the target was seen.
    seen: i64,
    wake: Arc<Notify>,
    /// Who waits, to be told at which revision it came about.
    waiter: Option<ClaimId>,
    /// The server has it, on the stream that is open.
    there: bool,
    /// It was refused, and an old token was believed to be why: a second refusal is meant.
    doubted: bool,
}

/// Takes orders for the task that watches.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    orders: mpsc::UnboundedSender<Order>,
    next: Arc<AtomicI64>,
}

/// The orders that the task is to take.
pub(super) struct Orders(mpsc::UnboundedReceiver<Order>);

impl Watches {
    pub(super) fn new() -> (Self, Orders) {
        let (orders, taken) = mpsc::unbounded_channel();
        let watches = Self {
            orders,
            next: Arc::new(AtomicI64::new(1)),
        };
        (watches, Orders(taken))
    }

    /// Ready when the target has come about; `seen` is the revision at which it had not.
    pub(super) fn wake(&self, waiter: ClaimId, target: Target, seen: i64) -> Wake {
        self.order(target, seen, Some(waiter))
    }

    /// As [`wake`](Self::wake), but watched for only once a moment has passed.
    pub(super) fn wake_later(&self, target: Target, seen: i64) -> Wake {
        self.order(target, seen, None)
    }

    fn order(&self, target: Target, seen: i64, waiter: Option<ClaimId>) -> Wake {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::new(Notify::new());
        let watch = Watch {
            target,
            seen,
            wake: Arc::clone(&wake),
            waiter,
            there: false,
            doubted: false,
        };
        let soon = waiter.is_none();
        // If the task has ended, so has the store: nobody is woken any more.
        let _ = self.orders.send(Order::Watch { id, watch, soon });
        let listener = Listener {
            id,
            orders: self.orders.clone(),
            wake,
        };
        Box::pin(async move { listener.wake.notified().await })
    }
}

/// The end of a future: its watch is not needed any more.
struct Listener {
    id: i64,
    orders: mpsc::UnboundedSender<Order>,
    wake: Arc<Notify>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Forget(self.id));
    }
}

/// The task that watches.
struct Watcher {
    hub: Shared,
    table: Arc<Table>,
    watched: HashMap<i64, Watch>,
    /// To be watched: since less than one tick, and since more.
    new: Vec<(i64, Watch)>,
    old: Vec<(i64, Watch)>,
    looks: JoinSet<Option<i64>>,
}

/// An open stream.
struct Stream {
    requests: mpsc::UnboundedSender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    link: Link,
    opened: Tick,
}

/// What an answer calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// The stream is still ours by a token that is not valid any more.
    OldToken,
}

/// Watches for ever.
pub(super) async fn watch(hub: Shared, table: Arc<Table>, Orders(mut orders): Orders) {
    let mut watcher = Watcher {
        hub,
        table,
        watched: HashMap::new(),
        new: Vec::new(),
        old: Vec::new(),
        looks: JoinSet::new(),
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let fresh = || Box::new(backoff::exponential(PAUSE / 20, PAUSE));
    let mut pauses = fresh();
    loop {
        if watcher.watched.is_empty() {
            let ticking = !watcher.new.is_empty() || !watcher.old.is_empty();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => watcher.take(order, None),
                    None => return,
                },
                _ = ticks.tick(), if ticking => watcher.tick(None),
            }
            continue;
        }
        let Some(mut stream) = watcher.open().await else {
            tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
            continue;
        };
        pauses = fresh();
        let turn = stream.link.turn;
        let hub = Arc::clone(&watcher.hub);
        loop {
            let ticking = !watcher.new.is_empty() || !watcher.old.is_empty();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => watcher.take(order, Some(&stream.requests)),
                    None => return,
                },
                answer = stream.answers.message() => match answer {
                    Ok(Some(answer)) => {
                        if watcher.hear(answer, &stream) == Heard::OldToken {
                            watcher.hub.sign_in_again(&stream.link).await;
                            break;
                        }
                    }
                    Ok(None) | Err(_) => {
                        hub.give_up(turn);
                        break;
                    }
                },
                Some(looked) = watcher.looks.join_next() => {
                    if let Ok(Some(id)) = looked {
                        watcher.fire(id, Some(&stream.requests));
                    }
                }
                _ = ticks.tick(), if ticking => watcher.tick(Some(&stream.requests)),
                () = hub.given_up(turn) => break,
            }
        }
    }
}

type Requests = mpsc::UnboundedSender<WatchRequest>;

impl Watcher {
    /// Opens a stream with all that is watched.
    async fn open(&mut self) -> Option<Stream> {
        let link = self.hub.link();
        let (requests, taken) = mpsc::unbounded_channel();
        for (id, watch) in &mut self.watched {
            watch.there = false;
            let _ = requests.send(create(*id, &watch.target));
        }
        let opened = self.hub.watch(&link, UnboundedReceiverStream::new(taken));
        match opened.await {
            Ok(answers) => Some(Stream {
                requests,
                answers,
                link,
                opened: self.hub.clock.now(),
            }),
            Err(Trouble::TokenGone) => {
                self.hub.sign_in_again(&link).await;
                None
            }
            Err(_) => {
                self.hub.give_up(link.turn);
                None
            }
        }
    }

    fn take(&mut self, order: Order, requests: Option<&Requests>) {
        match order {
            Order::Watch {
                id,
                watch,
                soon: true,
            } => self.new.push((id, watch)),
            Order::Watch { id, watch, .. } => self.begin(id, watch, requests),
            Order::Forget(id) => {
                self.new.retain(|(other, _)| *other != id);
                self.old.retain(|(other, _)| *other != id);
                self.end(id, requests);
            }
        }
    }

    fn tick(&mut self, requests: Option<&Requests>) {
        for (id, watch) in std::mem::replace(&mut self.old, std::mem::take(&mut self.new)) {
            self.begin(id, watch, requests);
        }
    }

    fn begin(&mut self, id: i64, watch: Watch, requests: Option<&Requests>) {
        if let Some(requests) = requests {
            let _ = requests.send(create(id, &watch.target));
        }
        self.watched.insert(id, watch);
    }

    fn end(&mut self, id: i64, requests: Option<&Requests>) -> Option<Watch> {
        let watch = self.watched.remove(&id)?;
        if let Some(requests) = requests {
            let cancel = WatchAsk::Cancel(WatchCancelRequest { watch_id: id });
            let request = Some(cancel);
            let _ = requests.send(WatchRequest { request });
        }
        Some(watch)
    }

    fn fire(&mut self, id: i64, requests: Option<&Requests>) {
        if let Some(watch) = self.end(id, requests) {
            watch.wake.notify_one();
        }
    }

    /// It is refused (the user may not read there, say): those who wait are left with asking now and then.
    fn refuse(&mut self, id: i64) {
        let refused = |other: &i64, watch: &mut Watch| is_meant(id, *other, watch);
        for (_, watch) in self.watched.extract_if(refused) {
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE).await;
                watch.wake.notify_one();
            });
        }
    }

    fn hear(&mut self, answer: WatchResponse, stream: &Stream) -> Heard {
        let (id, requests) = (answer.watch_id, &stream.requests);
        // One that is refused has no number, as its answer tells it. What we cancel ourselves is not watched any more.
        if answer.canceled && (id == REFUSED || self.watched.contains_key(&id)) {
            // A stream is ours by the token that it was opened with, which may be over: the server calls that a lack of
            // permission. It is one if a new stream is refused, too.
            let age = self.hub.clock.now().since(stream.opened);
            let signed = self.hub.address.user.is_some();
            if signed && age >= PAUSE && doubt(&mut self.watched, id) {
                return Heard::OldToken;
            }
            self.refuse(id);
            return Heard::Nothing;
        }
        let Some(watch) = self.watched.get_mut(&id) else {
            return Heard::Nothing;
        };
        (watch.there, watch.doubted) = (true, false);
        let revision = answer.header.map_or(0, |header| header.revision);
        if answer.created && revision > watch.seen {
            let (hub, target) = (Arc::clone(&self.hub), watch.target.clone());
            self.looks
                .spawn(async move { look(&hub, &target).await.then_some(id) });
        }
        if watch.target.hears(&answer.events) {
            if let Some(waiter) = &watch.waiter {
                self.table.tell(waiter, revision);
            }
            self.fire(id, Some(requests));
        }
        Heard::Nothing
    }
}

impl Target {
    /// Whether it has come about by these events.
    fn hears(&mut self, events: &[Event]) -> bool {
        let mut come = false;
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let deleted = event.kind == 1;
            come |= match self {
                Self::End { name, .. } => kv.key == *name && (deleted || lingers(kv)),
                Self::Room { ahead, room, .. } => {
                    if deleted {
                        ahead.remove(&kv.key);
                    }
                    let lingers = !deleted && ahead.contains_key(&kv.key) && lingers(kv);
                    lingers || ahead.values().sum::<u64>() <= *room
                }
            };
        }
        come
    }

    fn range(&self) -> RangeRequest {
        match self {
            Self::End { name, .. } => ops::one(name),
            Self::Room { line, .. } => RangeRequest {
                key: line.clone(),
                range_end: names::end(line),
                ..RangeRequest::default()
            },
        }
    }

    /// Whether it has come about, if this is what there is.
    fn is_reached(&self, there: &[KeyValue]) -> bool {
        match self {
            Self::End {
                create, modified, ..
            } => there.first().is_none_or(|kv| {
                kv.create_revision != *create || kv.mod_revision > *modified && lingers(kv)
            }),
            Self::Room { ahead, room, .. } => {
                let left = |(name, _): &(&Vec<u8>, &u64)| there.iter().any(|kv| kv.key == **name);
                let used: u64 = ahead.iter().filter(left).map(|(_, weight)| weight).sum();
                used <= *room
            }
        }
    }
}

/// Whether a refusal of this number may be of that watch.
fn is_meant(id: i64, other: i64, watch: &Watch) -> bool {
    match id {
        REFUSED => !watch.there,
        id => other == id,
    }
}

/// Whether an old token may be why a watch was refused: once for each, until the server has it.
fn doubt(watched: &mut HashMap<i64, Watch>, id: i64) -> bool {
    let meant = watched
        .iter_mut()
        .filter(|(other, watch)| is_meant(id, **other, watch));
    let mut first = None;
    for (_, watch) in meant {
        first = Some(first.unwrap_or(true) && !watch.doubted);
        watch.doubted = true;
    }
    first.unwrap_or(false)
}

/// Looks at a target; what cannot be seen may have come about.
async fn look(hub: &Shared, target: &Target) -> bool {
    let within = hub.address.timeout;
    let looked = hub.ask(&target.range(), within, Tries::Many).await;
    looked.map_or(true, |range| target.is_reached(&range.kvs))
}

fn lingers(kv: &KeyValue) -> bool {
    Value::read(&kv.value).is_some_and(|value| value.state == State::Lingering)
}

fn create(id: i64, target: &Target) -> WatchRequest {
    let RangeRequest { key, range_end, .. } = target.range();
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: 0,
        watch_id: id,
    };
    WatchRequest {
        request: Some(WatchAsk::Create(create)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: i32, name: &[u8], value: &[u8]) -> Event {
        let kv = KeyValue {
            key: name.to_vec(),
            value: value.to_vec(),
            ..KeyValue::default()
        };
        Event { kind, kv: Some(kv) }
    }

    #[test]
    fn an_old_token_is_believed_once_of_each_watch() {
        let watch = |there| Watch {
            target: Target::End {
                name: b"k/a".to_vec(),
                create: 5,
                modified: 5,
            },
            seen: 5,
            wake: Arc::default(),
            waiter: None,
            there,
            doubted: false,
        };
        let mut watched = HashMap::from([(1, watch(false)), (2, watch(true))]);
        assert!(doubt(&mut watched, REFUSED));
        assert!(!doubt(&mut watched, REFUSED), "refused again: it is meant");
        // Who comes in between does not begin it anew.
        watched.insert(3, watch(false));
        assert!(!doubt(&mut watched, REFUSED));
        // What the server had is not meant, and may be refused on another stream.
        assert!(doubt(&mut watched, 2));
        assert!(!doubt(&mut watched, 2));
    }

    #[test]
    fn the_end_of_a_claim_and_its_lingering_are_heard_and_nothing_else() {
        let mut end = Target::End {
            name: b"k/a".to_vec(),
            create: 5,
            modified: 5,
        };
        assert!(!end.hears(&[event(0, b"k/a", b"mb1:i:1:h/1/"), event(1, b"k/b", b"")]));
        assert!(end.hears(&[event(0, b"k/a", b"mb1:l:1:h/1/")]));
        assert!(end.hears(&[event(1, b"k/a", b"")]));
        assert!(end.is_reached(&[]));
    }

    #[test]
    fn room_is_heard_of_when_enough_have_left() {
        let ahead = HashMap::from([(b"k/a".to_vec(), 2), (b"k/b".to_vec(), 1)]);
        let mut room = Target::Room {
            line: b"k/".to_vec(),
            ahead,
            room: 1,
        };
        assert!(!room.hears(&[event(1, b"k/b", b""), event(1, b"k/c", b"")]));
        assert!(room.hears(&[event(1, b"k/a", b"")]));
    }
}
