//! All of it: clients, messages on their way, the store, and the resources that are written to.

use std::collections::BTreeSet;

use monban::contract::Renewal;
use monban::data::{Claim, ClaimId, Claimant, Fence, IfBusy, Key, Mode, ProcessId};
use monban::fenced::HighWater;
use monban::rule::line::Verdict;
use stateright::{Model, Property};

use super::client::{Client, Message, Phase, ttl};
use super::queue::Queue;

/// The bounds of a model, and the bug that is in it.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    claims: Vec<Vec<Claim>>,
    bounds: Bounds,
    bug: Option<Bug>,
}

/// How far a model looks. It grows fast with any of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How often a client lives: between two lives it crashes, or releases.
    pub(crate) lives: u8,
    /// When time ends.
    pub(crate) end: u8,
    /// How many renewals, or repeated questions, a life sends.
    pub(crate) spare: u8,
    /// How many requests arrive twice.
    pub(crate) repeats: u8,
}

/// What people get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The TTL counts from when the reply came.
    FromTheReply,
    /// A release frees the key whoever holds it.
    ReleaseOfAny,
    /// The counter of fences does not survive.
    FencesForgotten,
}

impl Scene {
    pub(crate) fn new(modes: &[Mode], bounds: Bounds) -> Self {
        let claim = |mode: &Mode| Claim {
            key: Key::new("k").expect("a good key"),
            id: ClaimId::random(ProcessId::random()),
            mode: *mode,
            ttl: ttl(),
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("model", 1, ""),
        };
        let lives = |mode: &Mode| (0..bounds.lives).map(|_| claim(mode)).collect();
        Self {
            claims: modes.iter().map(lives).collect(),
            bounds,
            bug: None,
        }
    }

    pub(crate) fn with(self, bug: Bug) -> Self {
        let bug = Some(bug);
        Self { bug, ..self }
    }

    fn claim(&self, who: usize, life: u8) -> &Claim {
        &self.claims[who][usize::from(life)]
    }
}

/// One state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct World {
    now: u8,
    clients: Vec<Client>,
    on_their_way: BTreeSet<Message>,
    repeats: u8,
    store: Queue,
    resource: Resource,
    granted_is_kept: bool,
}

/// What is written to: one place that refuses old fences, and one that does not look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Resource {
    /// The fences of the exclusive grants, in the order in which the store made them.
    grants: Vec<i64>,
    /// The grant whose write was accepted last, by its place in that order.
    guarded: Option<usize>,
    guarded_went_back: bool,
    unguarded: Option<usize>,
    unguarded_went_back: bool,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    TimePasses,
    Asks(usize),
    Renews(usize),
    Checks(usize),
    Releases(usize),
    Crashes(usize),
    Arrives(Message),
    /// It arrives, and will arrive again.
    ArrivesFirst(Message),
}

impl World {
    fn deliver(&mut self, scene: &Scene, message: Message) {
        let now = self.now;
        match message {
            Message::Attempt { who, life, sent } => {
                let verdict = self.store.attempt(scene.claim(who, life), now);
                if let Some(Verdict::Granted { fence, .. }) = verdict {
                    let fence = fence.map_or(0, Fence::as_i64);
                    self.send(Message::Granted {
                        who,
                        life,
                        sent,
                        fence,
                    });
                }
            }
            Message::Renew {
                who,
                life,
                sent,
                fence,
            } => {
                if self.store.renew(scene.claim(who, life), fence, now) == Renewal::Kept {
                    self.send(Message::Kept { who, life, sent });
                }
            }
            Message::Release { who, life } => {
                let mut id = scene.claim(who, life).id;
                if scene.bug == Some(Bug::ReleaseOfAny)
                    && let Some(first) = self.store.members().first()
                {
                    id = first.claim.id;
                }
                self.store.release(&id, now);
            }
            Message::Granted {
                who,
                life,
                sent,
                fence,
            } => {
                let client = &mut self.clients[who];
                if client.life == life && client.phase == (Phase::Asking { sent }) {
                    let since = if scene.bug == Some(Bug::FromTheReply) {
                        now
                    } else {
                        sent
                    };
                    client.phase = Phase::Holding { fence, since };
                }
            }
            Message::Kept { who, life, sent } => {
                let client = &mut self.clients[who];
                let alive = client.life == life && client.believes(now);
                if let (true, Phase::Holding { fence, since }) = (alive, client.phase) {
                    let since = since.max(sent);
                    client.phase = Phase::Holding { fence, since };
                }
            }
            Message::Write { fence } => self.resource.write(fence),
        }
    }

    fn send(&mut self, message: Message) {
        self.on_their_way.insert(message);
    }

    /// Notes what the store has granted since it looked like this.
    fn note_grants(&mut self, before: &Queue) {
        let known = |id: &ClaimId, fence: Fence| before.holds(id, 0).flatten() == Some(fence);
        let new: Vec<i64> = self
            .store
            .members()
            .iter()
            .filter(|member| member.claim.mode == Mode::Exclusive)
            .filter_map(|member| {
                let fence = self.store.holds(&member.claim.id, 0).flatten()?;
                (!known(&member.claim.id, fence)).then_some(fence.as_i64())
            })
            .collect();
        self.resource.grants.extend(new);
        self.granted_is_kept &= self.store.kept_what_was_granted(before, self.now);
    }

    fn next_life(&mut self, who: usize, scene: &Scene) {
        let client = &mut self.clients[who];
        client.life += 1;
        client.phase = Phase::Idle;
        client.spare = scene.bounds.spare;
        client.wrote = false;
    }
}

impl Resource {
    fn write(&mut self, fence: i64) {
        let Some(order) = self.grants.iter().rposition(|known| *known == fence) else {
            return;
        };
        self.unguarded_went_back |= self.unguarded > Some(order);
        self.unguarded = Some(order);
        // The real guard, which has seen what was accepted before.
        let mut seen = HighWater::new();
        let shown = |fence: i64| Fence::new(fence).expect("a fence of the store");
        if let Some(last) = self.guarded {
            let _ = seen.admit(shown(self.grants[last]));
        }
        if seen.admit(shown(fence)).is_ok() {
            self.guarded_went_back |= self.guarded > Some(order);
            self.guarded = Some(order);
        }
    }
}

impl Model for Scene {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            clients: vec![Client::new(self.bounds.spare); self.claims.len()],
            on_their_way: BTreeSet::new(),
            repeats: self.bounds.repeats,
            store: Queue::new(self.bug == Some(Bug::FencesForgotten)),
            resource: Resource::default(),
            granted_is_kept: true,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.now < self.bounds.end {
            events.push(Event::TimePasses);
        }
        for (who, client) in world.clients.iter().enumerate() {
            let lives_on = client.life + 1 < self.bounds.lives;
            match client.phase {
                Phase::Idle => events.push(Event::Asks(who)),
                Phase::Asking { sent } if sent < world.now && client.spare > 0 => {
                    events.push(Event::Asks(who));
                }
                Phase::Holding { .. } if client.believes(world.now) => {
                    if !client.wrote {
                        events.push(Event::Checks(who));
                    }
                    if client.spare > 0 {
                        events.push(Event::Renews(who));
                    }
                    if lives_on {
                        events.push(Event::Releases(who));
                    }
                }
                _ => {}
            }
            if lives_on && client.phase != Phase::Idle {
                events.push(Event::Crashes(who));
            }
        }
        for message in &world.on_their_way {
            events.push(Event::Arrives(*message));
            let is_request = matches!(message, Message::Attempt { .. } | Message::Release { .. });
            if world.repeats > 0 && is_request {
                events.push(Event::ArrivesFirst(*message));
            }
        }
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::TimePasses => world.now += 1,
            Event::Asks(who) => {
                let (now, client) = (world.now, &mut world.clients[who]);
                if client.phase != Phase::Idle {
                    client.spare -= 1;
                }
                client.phase = Phase::Asking { sent: now };
                let life = client.life;
                world.send(Message::Attempt {
                    who,
                    life,
                    sent: now,
                });
            }
            Event::Renews(who) => {
                let (now, client) = (world.now, &mut world.clients[who]);
                let Phase::Holding { fence, .. } = client.phase else {
                    return None;
                };
                client.spare -= 1;
                let life = client.life;
                world.send(Message::Renew {
                    who,
                    life,
                    sent: now,
                    fence,
                });
            }
            Event::Checks(who) => {
                // Readers write nothing.
                let Phase::Holding {
                    fence: fence @ 1.., ..
                } = world.clients[who].phase
                else {
                    return None;
                };
                world.clients[who].wrote = true;
                world.send(Message::Write { fence });
            }
            Event::Releases(who) => {
                let life = world.clients[who].life;
                world.send(Message::Release { who, life });
                world.next_life(who, self);
            }
            Event::Crashes(who) => world.next_life(who, self),
            Event::Arrives(message) => {
                world.on_their_way.remove(&message);
                world.deliver(self, message);
            }
            Event::ArrivesFirst(message) => {
                world.repeats -= 1;
                world.deliver(self, message);
            }
        }
        world.note_grants(&last.store);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a guarded resource never goes back", |_, world: &World| {
                !world.resource.guarded_went_back
            }),
            Property::always(
                "whoever believes to hold, holds",
                |scene: &Scene, world: &World| {
                    let believers = world.clients.iter().enumerate();
                    believers
                        .filter(|(_, client)| client.believes(world.now))
                        .all(|(who, client)| {
                            let claim = scene.claim(who, client.life);
                            world.store.holds(&claim.id, world.now).is_some()
                        })
                },
            ),
            Property::always("the line is within its capacity", |_, world: &World| {
                world.store.is_fair()
            }),
            Property::always("what is granted stays granted", |_, world: &World| {
                world.granted_is_kept
            }),
            Property::sometimes("an unguarded resource goes back", |_, world: &World| {
                world.resource.unguarded_went_back
            }),
            Property::sometimes("somebody waits behind a holder", |_, world: &World| {
                world.store.members().len() > 1
            }),
            Property::sometimes("a second grant is written", |_, world: &World| {
                world.resource.guarded >= Some(1)
            }),
        ]
    }
}
