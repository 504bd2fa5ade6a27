//! The records that a target shows.

use crate::support::{Page, leave, show, show_in_order};
use backwire_protocol::live::{Output, Queries};

#[test]
fn page_already_shows_the_records_that_it_has_read() {
    let mut page = Page::with_queries([("todo", "whole", "1 2")]);
    assert_eq!(page.outputs(), []);
    assert!(page.0.is_followed("todo"));
}

#[test]
fn created_record_is_added_to_all_lists_of_its_room_only() {
    let mut page = Page::with_queries([
        ("todo", "whole", "1"),
        ("todo", "whole", "1"),
        ("todo?done", "filter", "1"),
    ]);
    page.created("todo", "2");
    assert_eq!(page.outputs(), [show(1, "2", ""), show(2, "2", "")]);
}

#[test]
fn record_that_left_a_filter_stays_in_other_lists() {
    let mut page = Page::with_queries([("todo", "whole", "1 2"), ("todo?done", "filter", "1 2")]);
    page.left("todo?done", "1");
    assert_eq!(page.outputs(), [show(2, "", "1")]);
}

#[test]
fn destroyed_record_leaves_all_lists_of_the_resource() {
    let mut page = Page::with_queries([
        ("todo", "whole", "1 2"),
        ("todo?done", "filter", "1"),
        ("user", "whole", "1"),
    ]);
    page.destroyed("todo/1", "1");
    assert_eq!(page.outputs(), [show(1, "", "1"), show(2, "", "1")]);
}

#[test]
fn record_that_is_destroyed_and_created_again_is_removed_and_added() {
    let mut page = Page::with_queries([("todo", "whole", "1 2")]);
    page.destroyed("todo", "1");
    page.created("todo", "1");
    assert_eq!(page.outputs(), [show(1, "1", "1")]);
}

#[test]
fn record_created_and_destroyed_before_the_next_poll_is_never_shown() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.created("todo", "2");
    page.destroyed("todo", "2");
    assert_eq!(page.outputs(), []);
}

#[test]
fn collection_shows_the_union_of_its_queries() {
    let mut page = Page::with_queries([("todo?a", "filter", "1 2")]);
    page.add(2, 1, "todo?b", "filter", "2 3");
    page.left("todo?a", "2");
    assert_eq!(page.outputs(), [], "the other query has the record");
    page.left("todo?b", "2");
    assert_eq!(page.outputs(), [show(1, "", "2")]);
}

#[test]
fn models_that_the_page_has_added_are_never_removed() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.destroyed("todo", "own");
    page.left("todo", "own");
    assert_eq!(page.outputs(), []);
}

#[test]
fn read_that_replaces_ends_the_other_queries_of_its_target() {
    let mut page = Page::with_queries([("todo?a", "filter", "1 2")]);
    page.add(2, 1, "todo?b", "filter", "3");
    page.fetch(3, 1, "todo?c", "filter", "4");
    assert_eq!(page.outputs(), [leave("todo?a"), leave("todo?b")]);
    page.created("todo?a", "5");
    assert_eq!(page.outputs(), []);
}

#[test]
fn query_that_is_read_again_replaces_its_own_result() {
    let mut page = Page::with_queries([("todo?a", "filter", "1 2")]);
    page.add(2, 1, "todo?b", "filter", "3");
    page.add(1, 1, "todo?c", "filter", "2 4");
    assert_eq!(page.outputs(), [show(1, "", "1"), leave("todo?a")]);
}

#[test]
fn answer_has_the_members_of_all_lists_in_its_room() {
    let mut page = Page::with_queries([("todo", "whole", "1 2 3"), ("todo", "whole", "3 4 2")]);
    assert_eq!(page.outputs(), [show(1, "4", "1")]);
}

#[test]
fn answer_to_a_part_query_updates_all_queries_in_its_room() {
    let mut page = Page::with_queries([
        ("todo?[part]", "part;limit=2", "1 2"),
        ("todo?[part]", "part;limit=2", "1 2"),
    ]);
    page.0.announced("todo?[part]");
    assert_eq!(page.outputs(), [Output::Ask(1)], "one request is enough for both");
    page.answered(1, "todo?[part]", "part;limit=2", "3 1");
    let expected = |target| show_in_order(target, "3", "2", "3 1");
    assert_eq!(page.outputs(), [expected(1), expected(2)]);
}

#[test]
fn record_that_moves_to_the_next_page_is_not_removed_and_added() {
    let mut page = Page::with_queries([("todo?[page1]", "part;sort=n;limit=2", "1 2")]);
    page.add(2, 1, "todo?[page2]", "part;sort=n;limit=2", "3");
    page.0.announced("todo?[page1]");
    page.0.announced("todo?[page2]");
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.answered(1, "todo?[page1]", "part;sort=n;limit=2", "0 1");
    assert_eq!(page.outputs(), [show(1, "0", "")]);
    page.answered(2, "todo?[page2]", "part;sort=n;limit=2", "2 3");
    assert_eq!(page.outputs(), [show_in_order(1, "", "", "0 1 2 3")]);
}

#[test]
fn destroyed_record_is_removed_at_once_from_a_stale_part_query() {
    let mut page = Page::with_queries([("todo?[part]", "part;limit=2", "1 2")]);
    page.destroyed("todo?[part]", "1");
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "", "1")]);
}

#[test]
fn destroyed_record_ends_the_query_of_its_model() {
    let mut page = Page::with_queries([("todo/7", "one", "7")]);
    page.updated("todo/7", "7", &["n"]);
    assert_eq!(page.outputs(), []);
    page.destroyed("todo", "7");
    assert_eq!(page.outputs(), [show(1, "", "7"), leave("todo/7")]);
    page.0.refresh_all();
    assert_eq!(page.outputs(), []);
}

#[test]
fn refused_query_ends_and_its_records_are_removed() {
    let mut page = Page::with_queries([("todo?a", "filter", "1 2")]);
    page.add(2, 1, "todo?b", "filter", "2 3");
    page.0.refresh("todo?a");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.0.failed(1, true);
    assert_eq!(page.outputs(), [show(1, "", "1"), leave("todo?a")]);
}

#[test]
fn stopped_target_keeps_what_it_shows_and_leaves_its_rooms() {
    let mut page = Page::with_queries([("todo", "whole", "1"), ("todo", "whole", "1")]);
    page.0.stop(1);
    assert_eq!(page.outputs(), []);
    page.0.stop(2);
    page.0.stop(2);
    assert_eq!(page.outputs(), [leave("todo")]);
    assert!(!page.0.is_followed("todo"));
}

#[test]
fn room_that_is_joined_again_before_the_poll_is_not_left() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.stop(1);
    page.fetch(1, 1, "todo", "whole", "1");
    assert_eq!(page.outputs(), []);
}

#[test]
fn room_is_not_left_while_a_read_may_join_it() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.begin_read(2);
    page.0.stop(1);
    assert_eq!(page.outputs(), []);
    page.fetch(2, 2, "todo", "whole", "1");
    page.0.end_read(2);
    assert_eq!(page.outputs(), []);
    page.0.begin_read(3);
    page.0.stop(2);
    assert_eq!(page.outputs(), []);
    page.0.end_read(3);
    assert_eq!(page.outputs(), [leave("todo")]);
}

#[test]
fn queries_forget_destroyed_records() {
    let mut page = Page::with_queries([("todo", "whole", "first")]);
    for id in 0..5_000 {
        page.created("todo", &id.to_string());
        assert_eq!(page.outputs(), [show(1, &id.to_string(), "")]);
        page.destroyed("todo", &id.to_string());
        assert_eq!(page.outputs(), [show(1, "", &id.to_string())]);
    }
    page.fetch(1, 1, "todo", "whole", "first last");
    page.destroyed("todo", "first");
    assert_eq!(page.outputs(), [show(1, "", "first")]);
}

#[test]
fn room_is_not_left_while_a_query_is_sent_again() {
    let mut page = Page::with_queries([("todo?a", "filter", "1"), ("todo?b", "filter", "1")]);
    page.0.announced("todo?a");
    page.0.stop(2);
    assert_eq!(page.outputs(), [Output::Ask(1)], "its answer may be in another room");
    page.answered(1, "todo?b", "filter", "1");
    assert_eq!(page.outputs(), [leave("todo?a")]);
}

#[test]
fn destroyed_record_that_the_page_reads_at_the_same_time_is_shown_again() {
    let mut page = Page::with_queries([("todo", "whole", "1 2")]);
    page.destroyed("todo", "1");
    page.add(2, 1, "todo?a", "filter", "1");
    assert_eq!(page.outputs(), []);
    page.left("todo?a", "1");
    assert_eq!(page.outputs(), [show(1, "", "1")]);
}

#[test]
fn lost_room_without_a_query_is_left() {
    let mut queries = Queries::new();
    queries.refresh("todo");
    assert_eq!(queries.poll(), Some(leave("todo")));
    assert_eq!(queries.poll(), None);
}
