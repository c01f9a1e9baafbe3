//! Every face over every store, in real time: memory, files, a real Redis, a real PostgreSQL and a real etcd.

// Also outside of functions marked as tests.
#![allow(clippy::unwrap_used)]

mod behaviour;
mod cancel;
mod cost;
mod each;
mod input;
mod killed;
mod lost;
mod place;

use behaviour::*;
use cancel::*;
use input::*;
use killed::*;
use lost::*;

macro_rules! over {
    ($place:ident, $skipped:expr; $($face:ident)*) => {
        mod $place {
            $(#[test]
            fn $face() {
                if $skipped { return; }
                super::$face(&super::place::$place());
            })*
        }
    };
}

macro_rules! over_every_store {
    ($($face:ident)*) => {
        // Over files only a process can hold, and in memory none but this one.
        over! { file, false; $($face)* a_killed_process_is_followed_by_every_face a_killed_waiter_is_passed_over_by_every_face }
        over! { memory, false; $($face)* a_killed_holder_is_outlived_by_every_face }
        #[cfg(feature = "etcd")]
        over! { etcd, monban_testkit::service::skipped("etcd"); $($face)* a_killed_holder_is_outlived_by_every_face
            a_killed_process_is_followed_by_every_face a_killed_waiter_is_passed_over_by_every_face }
        #[cfg(feature = "postgres")]
        over! { postgres, monban_testkit::service::skipped("postgres"); $($face)* a_killed_holder_is_outlived_by_every_face
            a_killed_process_is_followed_by_every_face a_killed_waiter_is_passed_over_by_every_face }
        #[cfg(feature = "redis")]
        over! { redis, monban_testkit::service::skipped("redis"); $($face)* a_killed_holder_is_outlived_by_every_face
            a_killed_process_is_followed_by_every_face a_killed_waiter_is_passed_over_by_every_face }
        // Who waits there asks again and again.
        #[cfg(feature = "redis")]
        over! { redis_without_pushes, monban_testkit::service::skipped("redis"); $($face)* a_killed_holder_is_outlived_by_every_face
            a_killed_process_is_followed_by_every_face a_killed_waiter_is_passed_over_by_every_face }
    };
}

over_every_store! {
    a_mutex_has_one_holder
    a_rwlock_has_readers_or_a_writer
    a_semaphore_seats_its_holders
    all_of_takes_all_or_none
    an_interval_is_kept
    an_election_has_one_leader_and_tells
    an_owner_takes_again
    a_lease_after_a_wait_lives_as_long_as_any
    a_lease_that_is_freed_by_hand_is_lost
    every_face_may_be_dropped_at_any_poll
    every_face_may_be_dropped_at_any_poll_of_a_wait
    every_try_may_be_dropped_at_any_poll
    every_release_may_be_dropped_at_any_poll
    an_observer_may_be_dropped_at_any_poll
    a_place_that_is_lost_while_waiting_is_taken_again
    a_key_that_is_lost_while_waiting_for_another_ends_the_wait
    a_lease_of_every_face_knows_that_it_is_lost
    impossible_numbers_keys_and_intervals_are_refused
}
