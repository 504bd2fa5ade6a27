//! The order in which a target shows its records.

use crate::support::{Page, list, show, show_in_order};
use backwire_protocol::live::{Answer, Output};
use backwire_protocol::wire::ChangeVerb;

#[test]
fn server_decides_the_position_of_a_created_record_in_a_sorted_query() {
    let mut page = Page::with_queries([("todo", "whole;sort=n", "2 3")]);
    page.created("todo", "1");
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "1", "")]);
    page.answered(1, "todo", "whole;sort=n", "1 2 3");
    assert_eq!(page.outputs(), [show_in_order(1, "", "", "1 2 3")]);
}

#[test]
fn created_record_is_appended_to_an_unsorted_query() {
    let mut page = Page::with_queries([("todo", "whole", "2 3")]);
    page.created("todo", "1");
    assert_eq!(page.outputs(), [show(1, "1", "")]);
    page.fetch(2, 2, "todo", "whole", "1 2 3");
    assert_eq!(page.outputs(), [], "the page may have arranged its models");
}

#[test]
fn only_an_update_of_a_sort_attribute_sends_the_query_again() {
    let mut page = Page::with_queries([("todo", "whole;sort=a,first%20name", "2 3")]);
    page.updated("todo", "2", &["name", "first"]);
    assert_eq!(page.outputs(), []);
    page.updated("todo", "2", &["first name"]);
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.answered(1, "todo", "whole;sort=a,first%20name", "2 3");
    assert_eq!(page.outputs(), [], "the order is the same");
}

#[test]
fn update_in_another_room_sends_sorted_lists_with_the_record_again() {
    let mut page = Page::with_queries([
        ("todo", "whole;sort=n", "1 2"),
        ("todo?a", "filter;sort=n", "1"),
        ("todo?b", "filter;sort=n", "2"),
    ]);
    page.updated("todo?a", "1", &["n"]);
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.updated("todo", "1", &["n"]);
    page.answered(2, "todo?a", "filter;sort=n", "1");
    assert_eq!(
        page.outputs(),
        [],
        "the answer to query 1 contains the update, or its push follows"
    );
}

#[test]
fn record_that_enters_a_filter_with_new_attributes_sends_sorted_lists_with_it_again() {
    let mut page = Page::with_queries([("todo", "whole;sort=n", "1 2"), ("todo?a", "filter", "")]);
    page.0.changed("todo?a", ChangeVerb::Created, "1", "m");
    assert_eq!(page.outputs(), [show(2, "1", "")]);
    page.0.changed("todo?a", ChangeVerb::Created, "2", "n");
    assert_eq!(page.outputs(), [Output::Ask(1), show(2, "2", "")]);
}

#[test]
fn answer_with_changed_attributes_sends_other_lists_sorted_by_them_again() {
    let mut page = Page::with_queries([
        ("todo", "whole;sort=n", "1 2"),
        ("todo", "whole;sort=m", "1 2"),
        ("todo?a", "filter;sort=m", "1"),
    ]);
    let ids = &list("2 1");
    let answer = Answer { room: "todo", description: "whole;sort=m", ids, changed: "m" };
    page.0.read(4, 4, true, false, answer);
    assert_eq!(page.outputs(), [Output::Ask(2), Output::Ask(3)]);
}

#[test]
fn collection_with_a_comparator_needs_no_order_of_the_server() {
    let mut page = Page::default();
    let answer =
        Answer { room: "todo", description: "whole;sort=n", ids: &list("2 3"), changed: "" };
    page.0.read(1, 1, true, true, answer);
    page.created("todo", "1");
    page.updated("todo", "2", &["n"]);
    assert_eq!(page.outputs(), [show(1, "1", "")]);
    page.0.reorder(1, false);
    assert_eq!(page.outputs(), [Output::Ask(1)], "the comparator was removed");
    page.answered(1, "todo", "whole;sort=n", "1 3 2");
    assert_eq!(page.outputs(), [show_in_order(1, "", "", "1 3 2")]);
}

#[test]
fn part_query_of_a_collection_with_a_comparator_is_sent_again_but_not_reordered() {
    let mut page = Page::default();
    let answer =
        Answer { room: "todo?[part]", description: "part", ids: &list("2 3"), changed: "" };
    page.0.read(1, 1, true, true, answer);
    page.created("todo?[part]", "1");
    assert_eq!(page.outputs(), [Output::Ask(1)], "only the server knows the members");
    page.answered(1, "todo?[part]", "part;limit=2", "3 2");
    assert_eq!(page.outputs(), []);
}

#[test]
fn sorted_list_that_gains_members_from_another_answer_is_sent_again() {
    let mut page =
        Page::with_queries([("todo", "whole;sort=n", "1 2"), ("todo", "whole;sort=m", "3 1")]);
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "3", "")]);
    page.answered(1, "todo", "whole;sort=n", "3 1");
    assert_eq!(page.outputs(), [show_in_order(1, "", "2", "3 1")]);
}

#[test]
fn target_shows_its_queries_one_after_another() {
    let mut page = Page::with_queries([("todo?[page1]", "part;limit=2", "1 2")]);
    page.add(2, 1, "todo?[page2]", "part;limit=2", "3 4");
    page.add(1, 1, "todo?[page1]", "part;limit=2", "4 1");
    let swapped = show_in_order(1, "", "2", "4 1 3");
    assert_eq!(page.outputs(), [swapped]);
}

/// Returns whether an update of this attribute sends a query with this header again.
fn is_sorted_by(header: &str, name: &str) -> bool {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", header, "1");
    page.updated("todo", "1", &[name]);
    page.outputs() == [Output::Ask(1)]
}

#[test]
fn names_in_the_header_are_decoded() {
    let header = "whole;key=_id;sort=n,a%20b%2C%c3%A4,c;skip=2;populate";
    for name in ["n", "a b,ä", "c"] {
        assert!(is_sorted_by(header, name), "{name}");
    }
    for name in ["", "a", "a%20b", "sort", "skip"] {
        assert!(!is_sorted_by(header, name), "{name}");
    }
    for header in ["whole", "whole;sort", "whole;sort=", "whole;sort=%", "whole;sort=%zz,%4"] {
        assert!(!is_sorted_by(header, "n"), "{header}");
    }
}

#[test]
fn query_of_an_unknown_kind_is_sent_again_after_each_change() {
    for (header, asks) in [
        ("", true),
        ("part", true),
        ("future;sort=n", true),
        ("whole;x", false),
        ("filter", false),
        ("one;key=_id", false),
    ] {
        assert_eq!(is_sorted_by(header, "m"), asks, "{header}");
    }
}
