//! Tests that every engine must pass, and tests of single engines.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests have clocks, tasks and sockets"
)]

mod agreement;
mod cascades;
mod criteria;
mod facts;
mod memory;
mod migration;
mod polling;
mod queues;
mod recorded;
mod redis;
mod redis_cluster;
mod redis_costs;
mod redis_failover;
mod redis_nodes;
mod redis_server;
mod redis_tls;
mod schedules;
mod sessions;
mod sqlite;
mod sqlite_files;
mod store;

/// All tests for every engine.
mod every {
    pub(crate) use crate::cascades::*;
    pub(crate) use crate::facts::*;
    pub(crate) use crate::queues::*;
    pub(crate) use crate::sessions::*;
}

/// Defines a test of each function for each engine.
macro_rules! every_engine {
    ($($fact:ident)*) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $fact() {
                crate::every::$fact(crate::store::memory).await;
            })*
        }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $fact() {
                crate::every::$fact(crate::store::redis).await;
            })*
        }
        mod on_redis_cluster {
            // In one test, as the nodes take a while to become a cluster.
            #[tokio::test(flavor = "multi_thread")]
            async fn store_passes_all_tests_of_every_engine() {
                $(crate::every::$fact(crate::redis_cluster::open).await;)*
            }
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
    destroy_begins_a_cascade_only_if_a_record_references_the_id
    dangling_reference_is_null_before_its_cascade_removes_it
    recreated_record_keeps_its_new_references
    update_of_a_record_removes_its_dangling_reference
    publication_does_not_make_a_dangling_reference_valid
    dangling_pair_is_absent_and_can_be_made_again
    refused_or_repeated_destroy_begins_no_cascade
    created_records_get_the_ids_1_2_3
    id_is_not_assigned_twice
    id_given_by_the_client_is_kept
    integer_id_given_by_the_client_advances_the_counter
    id_that_is_not_a_safe_integer_is_refused
    creates_continue_after_a_client_gives_the_last_id
    create_without_an_id_skips_large_ids_given_by_clients
    records_are_sorted_by_id
    update_keeps_the_other_attributes
    destroyed_record_no_longer_exists
    writes_to_a_missing_record_are_refused
    create_of_an_existing_record_is_refused
    refused_write_has_no_effect
    unique_value_belongs_to_one_record
    unique_value_is_available_again_after_its_record_is_destroyed
    unique_values_are_separate_for_each_owner
    caller_with_partial_write_access_finds_no_other_records
    first_of_two_concurrent_unique_values_is_accepted
    upsert_creates_a_missing_record_and_updates_an_existing_one
    model_defines_its_primary_key_and_validates_records
    answer_over_its_limits_is_an_error_and_not_a_partial_result
    reads_of_one_request_share_a_deadline
    unused_resource_is_empty_at_position_0
    repeated_write_returns_the_first_outcome_and_changes_nothing
    update_without_effect_is_neither_logged_nor_published
    repeated_update_without_effect_does_not_undo_later_changes
    key_of_an_update_without_effect_is_forgotten_after_seven_days
    repeated_write_returns_the_outcome_of_the_latest_use_of_its_key
    first_record_decides_the_name_of_the_primary_key
    repeated_destroy_returns_the_destroyed_record
    repeated_write_without_log_entry_returns_the_current_record
    repeated_write_of_a_destroyed_record_returns_its_id_at_offset_0
    repeated_destroy_without_log_entry_returns_the_id_of_the_recreated_record
    repeated_write_without_log_entry_returns_no_record_without_write_access
    repeated_publication_without_log_entry_returns_its_position
    ledger_entry_has_the_stored_reply_and_then_the_id
    ledger_entry_is_found_after_all_earlier_writes_of_its_client
    head_is_the_position_of_every_read
    key_is_forgotten_after_the_ledger_age
    oldest_keys_are_forgotten_when_the_ledger_exceeds_its_byte_limit
    changes_without_memory_for_them_are_out_of_reach
    changes_beyond_the_records_of_a_read_are_out_of_reach
    log_stays_within_its_byte_limit
    write_that_adds_a_record_beyond_the_limits_is_refused
    key_reused_for_another_request_is_refused
    key_belongs_to_its_identity
    refused_write_does_not_store_its_key
    key_is_forgotten_after_seven_days
    key_reused_after_seven_days_is_recognized_at_once
    tail_receives_each_change_once_and_in_order
    closed_tail_does_not_block_writers
    cancelled_write_is_in_both_log_and_tail_or_in_neither
    previous_is_the_offset_of_the_last_change_of_the_record
    recreated_record_follows_its_destroy
    recreated_record_follows_the_floor_when_its_destroy_is_forgotten
    since_returns_the_missed_changes_of_a_class_room
    since_returns_the_missed_changes_of_an_instance_room
    since_returns_complete_changes
    publication_is_logged_and_does_not_change_records
    publications_are_part_of_the_change_chain_of_their_record
    publication_is_forgotten_with_the_log
    published_id_is_not_assigned_to_a_record
    repeated_publication_is_published_once
    position_beyond_the_count_limit_is_out_of_reach
    position_beyond_the_age_limit_is_out_of_reach
    position_of_another_log_is_out_of_reach
    position_ahead_of_the_log_is_out_of_reach
    snapshot_equals_the_log_replayed_up_to_its_position
    concurrent_writes_are_all_committed_once_in_a_gapless_order
    concurrent_repeats_are_committed_once
    session_contains_the_result_of_its_edits
    empty_session_is_removed
    session_expires_after_its_age_from_the_last_edit
    session_with_a_new_id_is_found_only_by_that_id
    session_may_never_expire
    concurrent_edits_of_a_session_are_all_applied
    secret_is_stable_and_unique_to_its_store
    sessions_are_found_by_a_value
    new_session_replaces_the_oldest_anonymous_one
    queued_message_is_stored_unchanged
    messages_are_ordered_by_send_time_across_events
    message_ids_increase_when_the_clock_is_set_back
    message_ids_contain_the_node_that_began
    each_person_acks_a_shared_message_separately
    ack_removes_only_the_acked_message
    batch_ack_keeps_later_messages
    batch_may_be_acked_before_an_earlier_batch
    queue_is_read_in_portions
    sites_do_not_share_deliveries
    device_named_like_a_pattern_does_not_affect_other_queues
    person_named_like_a_pattern_gets_no_deliveries_of_others
    each_device_has_its_own_queue
    new_device_gets_the_messages_that_no_device_has_acked
    out_of_order_ack_clears_the_queue_of_its_event_and_device
    ack_of_the_first_message_of_its_event_loses_no_message
    out_of_order_ack_without_resync_loses_no_message
    concurrent_acks_lose_no_message
    queue_is_dropped_when_the_last_device_was_away_for_the_ttl
    device_that_reconnects_within_the_ttl_finds_its_queue
    ttl_of_0_never_expires
    messages_for_a_person_without_devices_expire_too
    reconnected_device_is_not_dropped_by_its_old_ttl
    device_stays_connected_while_one_of_its_sockets_is
    device_that_stays_away_is_forgotten_and_others_are_kept
    connected_devices_of_a_person_are_limited
    new_device_replaces_the_one_away_for_longest
    all_devices_are_disconnected_when_a_process_begins
    person_over_the_cap_gets_a_resync
    person_over_the_cap_without_devices_gets_a_resync
    only_devices_behind_the_cap_get_a_resync
    message_over_the_cap_of_one_person_is_queued_for_others
    repeated_post_is_stored_once
    concurrent_repeats_of_a_post_are_stored_once
    key_reused_for_another_post_is_refused
    key_of_a_post_is_forgotten_after_seven_days
    concurrent_posts_are_all_stored_once
}
