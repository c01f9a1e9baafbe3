//! The list of cases, in one place, for the table here and for the macro that makes tests of them.

use std::pin::Pin;
use std::time::Duration;

use super::report::{Failure, Outcome, Verdict};
use super::together::within;
use super::{Stage, Subject};
use crate::rule::Clock;

type Play = for<'a> fn(&'a Stage<'a>) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// One thing that a store must do, or must refuse.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    play: Play,
}

/// A case that takes longer, in real time, has failed.
const LIMIT: Duration = Duration::from_secs(120);

impl Case {
    /// What the store must do, as a sentence with underscores.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Plays the case, with clients and keys of its own.
    pub async fn run(&self, subject: &dyn Subject) -> Outcome {
        let clock = Clock::system();
        let start = clock.now();
        let late = || Err(Failure::new(format_args!("not finished after {LIMIT:?}")));
        let verdict = within(LIMIT, self.play(subject)).await.unwrap_or_else(late);
        Outcome {
            case: self.name,
            verdict,
            took: clock.now().since(start),
        }
    }

    async fn play(&self, subject: &dyn Subject) -> Verdict {
        let stage = Stage::set(subject).await?;
        (self.play)(&stage).await?;
        stage.clear().await
    }
}

/// Makes one `#[test]` of every case of the conformance suite.
///
/// `subject` is an expression that makes a new [`Subject`](crate::conformance::Subject), evaluated once for
/// each test; `run` is called with a future of `()`, which it must drive to its end. Put the call into a
/// module of its own: the tests are named after the cases.
///
/// A test fails if its case does, with the case's text. See [`conformance`](crate::conformance) for an
/// example.
#[macro_export]
macro_rules! conformance_tests {
    (subject: $subject:expr, run: $run:expr $(,)?) => {
        $crate::conformance::conformance_tests! { @list (@tests ($subject) ($run)) }
    };
    (@tests ($subject:expr) ($run:expr) $($group:ident { $($case:ident)* })*) => {
        $($(
            #[test]
            fn $case() {
                let subject = $subject;
                let case = $crate::conformance::check(stringify!($case), &subject);
                ($run)(case);
            }
        )*)*
    };
    (@table $($group:ident { $($case:ident)* })*) => {
        &[$($(
            Case {
                name: stringify!($case),
                play: |stage| Box::pin(super::cases::$group::$case(stage)),
            },
        )*)*]
    };
    (@list ($($then:tt)*)) => {
        $crate::conformance::conformance_tests! { $($then)*
            exclusion {
                a_holder_excludes_every_other_client
                claims_of_one_client_exclude_each_other
                of_simultaneous_tries_one_is_granted
                of_claims_that_one_client_makes_at_once_one_is_granted
                updates_made_in_turn_are_not_lost
                different_keys_do_not_meet
            }
            order {
                waiting_claims_are_granted_in_the_order_they_came
                a_newcomer_does_not_overtake
                a_newcomer_does_not_overtake_when_the_holder_has_died
                asking_again_keeps_the_place
                asking_again_far_back_in_the_line_finds_the_place
                a_place_closes_up_when_its_claim_leaves
                a_refused_try_leaves_no_trace
                a_writer_is_not_starved_by_readers
                readers_before_a_writer_hold_together_and_those_behind_wait
            }
            expiry {
                a_silent_holder_is_outlived_but_not_too_early
                a_silent_waiter_does_not_hold_up_the_line
                many_dead_waiters_do_not_hold_up_the_line
                an_outlived_holder_cannot_harm_its_successor
                renewal_keeps_a_hold_past_its_ttl
                asking_again_keeps_a_hold_past_its_ttl
                renewal_keeps_readers_and_permits_past_their_ttl
                asking_again_keeps_a_waiter_s_place_past_its_ttl
                renewal_never_acquires
                a_holder_that_has_to_wait_again_has_lost
                a_holder_that_is_granted_anew_has_lost
                every_renewal_starts_the_ttl_anew
                a_grant_after_a_wait_lives_as_long_as_any
                one_reader_s_end_is_not_another_s
                ttls_are_taken_in_the_right_unit
            }
            fencing {
                fences_grow_from_grant_to_grant
                fences_outlive_clients_and_keys
                shares_carry_no_fence
                the_same_claim_asked_again_is_told_the_same_grant
                a_new_grant_of_an_old_claim_has_a_new_fence
                a_claim_outlives_its_connection
            }
            repetition {
                every_verb_may_be_repeated
                releasing_what_is_not_in_line_changes_nothing
                only_its_own_claim_is_released
                a_late_attempt_after_the_release_is_a_new_claim
                a_waiting_claim_can_leave_and_come_back_at_the_end
            }
            linger {
                a_lingering_claim_blocks_until_its_time_is_over
                whoever_waits_behind_a_lingering_claim_is_granted_after_it
                a_lingering_claim_has_no_owner
                the_end_of_a_linger_is_told_whoever_waits
                linger_is_independent_of_the_ttl
                a_waiting_claim_does_not_linger
            }
            wake {
                a_waiter_is_woken_by_a_release
                a_waiter_is_woken_when_the_one_ahead_of_it_left_before
                all_who_are_let_in_together_are_woken
                a_refused_try_is_woken_by_a_release
                a_waiter_knows_when_silence_frees_the_key
                no_wake_is_lost_between_look_and_release
                a_release_wakes_only_the_next
                wakes_that_nobody_awaits_do_no_harm
                what_is_told_of_a_grant_is_what_an_attempt_answers_and_told_once
            }
            capacity {
                permits_are_held_up_to_their_number
                a_great_claim_is_not_starved_by_small_ones
                an_exclusive_claim_takes_all_permits
                another_capacity_is_a_mismatch_while_the_key_is_in_use
                permits_that_make_no_sense_are_invalid
                seats_are_unique_and_used_again
                a_seat_is_not_given_twice_when_a_later_claim_asks_first
                permits_that_one_client_asks_for_at_once_have_seats_of_their_own
                a_dead_holder_s_permit_is_free_while_others_hold
                a_hundred_readers_hold_at_once
            }
            batch {
                answers_come_in_the_order_of_the_batch
                elements_of_a_batch_take_effect_in_order
                a_bad_element_spoils_no_other
                a_great_batch_is_answered_whole
                an_empty_batch_has_an_empty_answer
            }
            inspect {
                a_line_is_shown_in_order_with_who_and_how
                a_prefix_selects_by_its_bytes
                odd_keys_are_locked_and_shown_as_they_are
                keys_that_look_alike_are_different
                neighbours_of_a_key_are_not_touched
                odd_claimants_come_back_as_they_were
                many_keys_leave_nothing_behind
            }
            evict {
                evicting_a_holder_lets_the_next_in_and_tells_it
                evicting_what_is_there_no_more_changes_nothing
                a_waiting_claim_can_be_evicted
                a_lingering_claim_can_be_evicted
            }
            closing {
                closing_ends_no_claim
            }
            model {
                random_operations_agree_with_the_model
            }
        }
    };
}

pub use conformance_tests;

/// All cases, in the order in which [`run`](super::run) plays them.
#[must_use]
pub fn cases() -> &'static [Case] {
    const CASES: &[Case] = conformance_tests!(@list (@table));
    CASES
}
