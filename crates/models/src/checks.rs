//! The models that are looked through, and that what they promise can fail.

use std::env;

use monban::data::Mode;
use stateright::{Checker, HasDiscoveries, Model};

use super::world::{Bounds, Bug, Scene};

const ALONE: Mode = Mode::Exclusive;

/// `MONBAN_MODEL_MORE=n` looks so much further ahead than an ordinary run: minutes, and gigabytes, not seconds.
fn more() -> u8 {
    let wished = env::var("MONBAN_MODEL_MORE").ok();
    wished.map_or(0, |text| text.parse().expect("a small number"))
}

fn bounds(lives: u8, end: u8, spare: u8, repeats: u8) -> Bounds {
    let end = end + more();
    Bounds {
        lives,
        end,
        spare,
        repeats,
    }
}

/// Looks at every state.
fn look_through(modes: &[Mode], bounds: Bounds) -> impl Checker<Scene> + use<> {
    let scene = Scene::new(modes, bounds);
    let checker = scene.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker
}

#[test]
fn two_who_exclude_each_other_crash_pause_and_hear_late() {
    look_through(&[ALONE, ALONE], bounds(2, 3, 0, 0)).assert_properties();
}

#[test]
fn two_who_renew_and_ask_again() {
    look_through(&[ALONE, ALONE], bounds(1, 4, 1, 0)).assert_properties();
}

#[test]
fn a_request_that_arrives_twice_at_any_time() {
    look_through(&[ALONE, ALONE], bounds(2, 2, 0, 1)).assert_properties();
}

#[test]
fn readers_permits_and_one_who_is_alone() {
    let permits = |n| Mode::Permits { n, of: 2 };
    for others in [[Mode::Shared, Mode::Shared], [permits(1), permits(2)]] {
        let checker = look_through(&[others[0], ALONE, others[1]], bounds(1, 2, 0, 1));
        checker.assert_no_discovery("whoever believes to hold, holds");
        checker.assert_no_discovery("the line is within its capacity");
        checker.assert_no_discovery("what is granted stays granted");
        checker.assert_any_discovery("somebody waits behind a holder");
    }
}

fn finds(bug: Bug, property: &'static str) {
    let scene = Scene::new(&[ALONE, ALONE], bounds(2, 3, 1, 1)).with(bug);
    let checker = scene.checker().threads(2);
    let found = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    found.join().assert_any_discovery(property);
}

#[test]
fn a_ttl_that_counts_from_the_reply_is_found() {
    finds(Bug::FromTheReply, "whoever believes to hold, holds");
}

#[test]
fn a_release_that_frees_whoever_holds_is_found() {
    finds(Bug::ReleaseOfAny, "whoever believes to hold, holds");
}

#[test]
fn fences_that_are_forgotten_are_found() {
    finds(Bug::FencesForgotten, "a guarded resource never goes back");
}
