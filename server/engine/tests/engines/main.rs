//! One list of facts, true of every engine, and what is true of one alone.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod agreement;
mod cascades;
mod criteria;
mod facts;
mod memory;
mod queues;
mod schedules;
mod sessions;
mod sqlite;
mod store;

/// All the facts there are.
mod every {
    pub(crate) use crate::cascades::*;
    pub(crate) use crate::facts::*;
    pub(crate) use crate::queues::*;
    pub(crate) use crate::sessions::*;
}

/// Makes a test of each fact for each engine.
macro_rules! every_engine {
    ($($fact:ident)*) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $fact() {
                crate::every::$fact(crate::store::memory).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $fact() {
                crate::every::$fact(crate::store::sqlite).await;
            })*
        }
    };
}

every_engine! {
    destroy_begins_a_cascade_only_if_a_record_holds_the_id
    dangling_reference_is_null_before_its_cascade_removes_it
    record_that_is_created_again_keeps_its_new_references
    update_of_a_record_removes_its_dangling_reference
    publication_does_not_make_a_dangling_reference_valid
    dangling_pair_is_absent_and_can_be_made_again
    refused_or_repeated_destroy_begins_no_cascade
    created_records_get_the_ids_1_2_3
    an_id_is_not_given_twice
    an_id_given_by_the_client_is_kept
    an_integer_id_given_by_the_client_moves_the_next_id_past_it
    an_id_that_javascript_can_not_hold_is_refused
    creates_go_on_after_a_client_gives_the_last_id
    create_without_an_id_passes_over_large_ids_given_by_clients
    records_come_in_the_order_of_their_ids
    an_update_keeps_the_other_attributes
    a_destroyed_record_is_gone
    writes_to_a_missing_record_are_refused
    a_create_of_an_existing_record_is_refused
    a_refused_write_leaves_nothing_behind
    a_unique_value_is_had_by_one_record_alone
    a_unique_value_is_free_again_when_its_record_is_gone
    owners_have_unique_values_of_their_own
    who_may_write_only_some_records_finds_no_others
    of_two_claims_in_a_row_the_first_is_granted
    an_upsert_creates_what_is_not_there_and_updates_what_is
    a_model_has_its_own_key_and_checks_its_records
    answer_beyond_its_bounds_is_an_error_and_no_part
    reads_of_one_request_share_a_deadline
    a_resource_nobody_has_written_to_is_empty_and_stands_at_0
    a_repeat_gets_the_first_outcome_and_changes_nothing
    an_update_without_effect_is_neither_logged_nor_published
    a_repeated_update_without_effect_does_not_undo_later_changes
    the_key_of_an_update_without_effect_is_forgotten_after_seven_days
    repeat_gets_the_outcome_of_the_latest_use_of_its_key
    the_first_record_decides_the_name_of_the_key
    a_repeated_destroy_shows_the_record_it_destroyed
    repeat_after_the_log_has_forgotten_the_write_gets_the_record_as_it_is
    repeat_of_a_write_whose_record_is_gone_gets_its_id_at_its_own_position
    destroy_repeated_after_the_log_gets_the_id_though_the_record_is_there_again
    repeat_after_the_log_shows_no_record_that_the_writer_may_not_write_any_more
    publication_repeated_after_the_log_gets_its_position
    key_is_forgotten_after_the_ledger_age
    oldest_keys_are_forgotten_when_the_ledger_is_larger_than_its_bytes
    log_keeps_to_its_bytes
    write_that_adds_a_record_beyond_the_limits_is_refused
    a_key_used_for_another_request_is_refused
    a_key_belongs_to_its_identity
    a_key_is_not_remembered_by_a_refused_write
    a_key_is_forgotten_after_seven_days
    a_key_is_known_at_once_when_it_is_used_again_after_seven_days
    the_tail_gets_each_change_once_and_in_order
    a_tail_that_nobody_reads_any_more_stops_no_writer
    a_writer_that_gives_up_leaves_log_and_tail_alike
    previous_is_the_offset_of_the_records_last_change
    a_record_created_again_follows_its_destroy
    a_record_created_again_follows_the_floor_when_its_destroy_is_forgotten
    since_gives_a_class_room_what_it_missed
    since_gives_an_instance_room_what_it_missed
    since_knows_all_of_a_change
    a_publication_is_in_the_log_and_leaves_the_records_alone
    publications_are_links_in_the_chain_of_their_record
    what_was_published_is_forgotten_with_the_log
    an_id_that_was_published_is_not_given_to_a_record
    a_publication_that_is_repeated_is_published_once
    a_position_older_than_the_count_is_out_of_reach
    a_position_older_than_the_age_is_out_of_reach
    a_position_of_another_log_is_out_of_reach
    a_position_ahead_of_the_log_is_out_of_reach
    a_snapshot_holds_exactly_what_the_log_says_up_to_its_position
    concurrent_writes_are_all_committed_once_in_a_gapless_order
    concurrent_repeats_are_committed_once
    a_session_holds_what_edits_have_made_of_it
    a_session_that_holds_nothing_is_not_kept
    a_session_is_kept_from_each_edit_on_until_its_time_is_up
    a_session_that_gets_another_id_is_found_by_that_alone
    a_session_may_be_kept_for_ever
    edits_at_the_same_time_lose_nothing
    the_secret_stays_and_is_no_other_stores
    sessions_that_hold_a_value_are_found
    session_that_begins_takes_the_place_of_the_oldest_anonymous_one
    what_was_sent_waits_as_it_was_sent
    order_is_the_order_of_sending_across_events
    ids_grow_though_the_clock_steps_back
    who_begins_draws_the_ids
    each_person_has_a_message_and_acks_it_for_themselves
    an_ack_removes_what_was_acked_and_nothing_else
    a_batch_ack_does_not_delete_what_came_after
    a_batch_may_be_acked_before_one_that_was_sent_earlier
    what_waits_comes_in_portions
    two_sites_never_see_each_others_deliveries
    a_device_named_like_a_pattern_touches_nobody_elses_queue
    a_person_named_like_a_pattern_gets_nobody_elses_deliveries
    each_device_has_a_queue_of_its_own
    a_first_time_device_gets_what_no_device_has_acked
    an_ack_out_of_order_clears_the_queue_of_its_event_and_device
    an_ack_of_the_first_of_its_event_loses_nothing
    an_ack_out_of_order_loses_nothing_where_nobody_asked_for_order
    acks_in_quick_succession_lose_nothing
    what_waits_is_dropped_when_the_last_device_was_away_for_the_ttl
    what_is_not_forgotten_yet_is_found_by_who_comes_back
    a_ttl_of_0_means_for_ever
    what_first_came_while_offline_has_a_ttl_too
    a_device_that_came_back_is_not_dropped_by_its_old_ttl
    a_device_is_there_for_as_long_as_one_of_its_sockets_is
    a_device_that_stays_away_is_forgotten_and_others_are_not
    no_more_devices_of_a_person_are_connected_than_may_be
    a_new_device_takes_the_place_of_the_one_that_has_been_away_the_longest
    when_a_process_begins_everybody_is_away
    beyond_the_cap_a_person_starts_over
    beyond_the_cap_a_person_who_never_came_starts_over
    beyond_the_cap_only_devices_that_are_behind_start_over
    a_message_that_is_too_much_for_one_person_waits_for_the_others
    a_post_that_is_repeated_is_stored_once
    posts_that_are_repeated_at_the_same_time_are_stored_once
    a_key_used_for_another_post_is_refused
    the_key_of_a_post_is_forgotten_after_seven_days
    posts_at_the_same_time_are_all_stored_once
}
