//! Queries that are sent again, and the times when they are.

use crate::support::{Page, leave, show, show_in_order};
use backwire_protocol::live::Output;

#[test]
fn lost_room_is_read_again_by_each_of_its_lists_only() {
    let mut page = Page::with_queries([
        ("todo", "whole", "1"),
        ("todo", "whole", "1"),
        ("todo?done", "filter", "1"),
    ]);
    page.0.refresh("todo");
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.answered(1, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), [show(1, "2", ""), show(2, "2", "")]);
    page.answered(2, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), []);
}

#[test]
fn all_queries_are_read_again() {
    let mut page = Page::with_queries([("todo", "whole", "1"), ("user/2", "one", "2")]);
    page.0.refresh_all();
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
}

#[test]
fn stale_query_is_sent_once_and_again_after_changes_in_flight() {
    let mut page = Page::with_queries([("todo?[part]", "part;limit=2", "1 2")]);
    page.0.announced("todo?[part]");
    page.0.announced("todo?[part]");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.0.announced("todo?[part]");
    page.0.announced("todo?[part]");
    assert_eq!(page.outputs(), []);
    page.answered(1, "todo?[part]", "part;limit=2", "2 1");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.answered(1, "todo?[part]", "part;limit=2", "2 1");
    assert_eq!(page.outputs(), [show_in_order(1, "", "", "2 1")]);
}

#[test]
fn record_created_while_its_list_is_sent_again_survives_an_older_answer() {
    let mut page = Page::with_queries([("todo", "whole", "1"), ("todo", "whole", "1")]);
    page.0.refresh("todo");
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.created("todo", "2");
    assert_eq!(page.outputs(), [show(1, "2", ""), show(2, "2", "")]);
    page.answered(1, "todo", "whole", "1");
    page.answered(2, "todo", "whole", "1");
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.answered(1, "todo", "whole", "1 2");
    page.answered(2, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), []);
}

#[test]
fn record_created_while_the_page_reads_survives_an_older_answer() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.begin_read(2);
    page.created("todo", "2");
    assert_eq!(page.outputs(), [show(1, "2", "")]);
    page.fetch(2, 2, "todo", "whole", "1");
    page.0.end_read(2);
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
}

#[test]
fn query_of_a_record_destroyed_while_the_page_reads_it_is_sent_again() {
    let mut page = Page::default();
    page.0.begin_read(1);
    page.destroyed("todo", "7");
    page.fetch(1, 1, "todo/7", "one", "7");
    page.0.end_read(1);
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.0.failed(1, true);
    assert_eq!(page.outputs(), [show(1, "", "7"), leave("todo/7")]);
}

#[test]
fn answer_contains_changes_from_before_its_request() {
    let mut page = Page::default();
    page.0.begin_read(1);
    page.created("todo", "2");
    page.0.end_read(1);
    page.0.begin_read(1);
    page.fetch(1, 1, "todo", "whole", "1");
    page.0.end_read(1);
    assert_eq!(page.outputs(), []);
}

#[test]
fn update_while_the_page_reads_sends_the_query_again_only_if_the_answer_may_lack_it() {
    let mut page = Page::default();
    page.0.begin_read(1);
    page.updated("todo", "2", &["n"]);
    page.fetch(1, 1, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), []);
    page.fetch(1, 1, "todo", "whole;sort=n", "1 2");
    page.0.end_read(1);
    assert_eq!(page.outputs(), [Output::Ask(1)]);
}

#[test]
fn no_query_is_sent_again_while_the_page_reads_its_target() {
    let mut page = Page::with_queries([("todo?a", "filter", "1")]);
    page.0.begin_read(1);
    page.0.refresh("todo?a");
    assert_eq!(page.outputs(), []);
    page.fetch(2, 1, "todo?b", "filter", "2");
    page.0.end_read(1);
    assert_eq!(page.outputs(), [leave("todo?a")], "the read has replaced it");
}

#[test]
fn stale_query_is_sent_again_after_the_read_of_its_target_has_failed() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.begin_read(1);
    page.0.begin_read(1);
    page.0.refresh("todo");
    page.0.end_read(1);
    assert_eq!(page.outputs(), []);
    page.0.end_read(1);
    assert_eq!(page.outputs(), [Output::Ask(1)]);
}

#[test]
fn failed_query_is_sent_again_on_retry_only() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.refresh("todo");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.0.failed(1, false);
    page.0.refresh("todo");
    assert_eq!(page.outputs(), []);
    page.0.retry();
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.0.retry();
    assert_eq!(page.outputs(), []);
}

#[test]
fn failure_of_a_query_that_the_page_has_read_again_is_ignored() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.0.refresh("todo");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.fetch(1, 1, "todo", "whole", "1");
    page.0.failed(1, true);
    assert_eq!(page.outputs(), []);
    assert!(page.0.is_followed("todo"));
}

#[test]
fn late_answer_in_another_room_is_ignored_and_its_room_is_left() {
    let mut page = Page::with_queries([("todo?a", "filter", "1")]);
    page.0.refresh("todo?a");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.fetch(1, 1, "todo?b", "filter", "2");
    page.answered(1, "todo?a", "filter", "1 3");
    assert_eq!(page.outputs(), [leave("todo?a")]);
}

#[test]
fn answer_to_a_query_that_has_ended_updates_the_others_in_its_room() {
    let mut page = Page::with_queries([("todo", "whole", "1")]);
    page.answered(9, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "2", "")]);
    page.answered(9, "user", "whole", "1 2");
    page.answered(1, "todo", "whole", "1 2");
    assert_eq!(page.outputs(), [leave("user")]);
}

#[test]
fn query_follows_the_room_of_its_last_answer() {
    let mut page = Page::with_queries([("todo?[1,2]", "filter", "1 2")]);
    page.0.announced("todo?[1,2]");
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.answered(1, "todo?[2,3]", "filter", "2 3");
    assert_eq!(page.outputs(), [show(1, "3", "1"), leave("todo?[1,2]")]);
}

#[test]
fn two_sorted_lists_of_one_room_do_not_send_each_other_again_forever() {
    let mut page =
        Page::with_queries([("todo", "whole;sort=n", "1"), ("todo", "whole;sort=m", "1")]);
    page.created("todo", "2");
    assert_eq!(
        page.outputs(),
        [Output::Ask(1), Output::Ask(2), show(1, "2", ""), show(2, "2", "")]
    );
    page.answered(1, "todo", "whole;sort=n", "3 2 1");
    page.answered(2, "todo", "whole;sort=m", "2 1 3");
    assert_eq!(page.outputs().len(), 2, "both are shown, none is sent again");
    page.updated("user", "2", &["n"]);
    page.created("todo?done", "2");
    assert_eq!(page.outputs(), []);
}
