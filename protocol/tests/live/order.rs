//! In which order a target shows its records.

use crate::support::{Page, answer, ids, order, show};
use backwire_protocol::live::{Answer, Description, Kind, Output};

#[test]
fn created_record_is_placed_by_the_server_if_the_query_is_sorted() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole;sort=n", "2 3");
    page.created("todo", "1");
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "1", "")]);
    page.answered(1, "todo", "whole;sort=n", "1 2 3");
    assert_eq!(page.outputs(), [order(1, "1 2 3")]);
}

#[test]
fn created_record_is_appended_if_the_query_is_not_sorted() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole", "2 3");
    page.created("todo", "1");
    assert_eq!(page.outputs(), [show(1, "1", "")]);
    page.fetch(2, 2, "todo", "whole", "1 2 3");
    assert_eq!(page.outputs(), [], "the page may have arranged its models");
}

#[test]
fn only_an_update_of_what_the_query_is_sorted_by_asks_again() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole;sort=a,first%20name", "2 3");
    page.updated("todo", "2", &["name", "first"]);
    assert_eq!(page.outputs(), []);
    page.updated("todo", "2", &["first name"]);
    assert_eq!(page.outputs(), [Output::Ask(1)]);
    page.answered(1, "todo", "whole;sort=a,first%20name", "2 3");
    assert_eq!(page.outputs(), [], "the order is the same");
}

#[test]
fn update_in_another_room_asks_sorted_lists_that_have_the_record() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole;sort=n", "1 2");
    page.fetch(2, 2, "todo?a", "filter;sort=n", "1");
    page.fetch(3, 3, "todo?b", "filter;sort=n", "2");
    page.updated("todo?a", "1", &["n"]);
    assert_eq!(page.outputs(), [Output::Ask(1), Output::Ask(2)]);
    page.updated("todo", "1", &["n"]);
    page.answered(2, "todo?a", "filter;sort=n", "1");
    assert_eq!(page.outputs(), [], "the answer to the other has it, or its push follows");
}

#[test]
fn answer_with_changed_attributes_asks_the_other_lists_sorted_by_them() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole;sort=n", "1 2");
    page.fetch(2, 2, "todo", "whole;sort=m", "1 2");
    page.fetch(3, 3, "todo?a", "filter;sort=m", "1");
    let changed = vec!["m".into()];
    page.0.read(4, 4, true, false, Answer { changed, ..answer("todo", "whole;sort=m", "2 1") });
    assert_eq!(page.outputs(), [Output::Ask(2), Output::Ask(3)]);
}

#[test]
fn collection_with_a_comparator_orders_itself() {
    let mut page = Page::default();
    page.0.read(1, 1, true, true, answer("todo", "whole;sort=n", "2 3"));
    page.created("todo", "1");
    page.updated("todo", "2", &["n"]);
    assert_eq!(page.outputs(), [show(1, "1", "")]);
    page.0.reorder(1, false);
    assert_eq!(page.outputs(), [Output::Ask(1)], "it has none any more");
    page.answered(1, "todo", "whole;sort=n", "1 3 2");
    assert_eq!(page.outputs(), [order(1, "1 3 2")]);
}

#[test]
fn part_in_a_collection_with_a_comparator_is_asked_again_without_an_order() {
    let mut page = Page::default();
    page.0.read(1, 1, true, true, answer("todo?[part]", "part;limit=2", "2 3"));
    page.created("todo?[part]", "1");
    assert_eq!(page.outputs(), [Output::Ask(1)], "only the server knows what is in it");
    page.answered(1, "todo?[part]", "part;limit=2", "3 2");
    assert_eq!(page.outputs(), []);
}

#[test]
fn sorted_list_that_gains_members_by_another_answer_is_asked_again() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo", "whole;sort=n", "1 2");
    page.fetch(2, 2, "todo", "whole;sort=m", "3 1");
    assert_eq!(page.outputs(), [Output::Ask(1), show(1, "3", "")]);
    page.answered(1, "todo", "whole;sort=n", "3 1");
    assert_eq!(
        page.outputs(),
        [Output::Show { target: 1, added: vec![], removed: ids("2"), order: Some(ids("3 1")) }]
    );
}

#[test]
fn order_is_that_of_the_queries_one_after_another() {
    let mut page = Page::default();
    page.fetch(1, 1, "todo?[page1]", "part;limit=2", "1 2");
    page.add(2, 1, "todo?[page2]", "part;limit=2", "3 4");
    page.add(1, 1, "todo?[page1]", "part;limit=2", "4 1");
    let swapped =
        Output::Show { target: 1, added: vec![], removed: ids("2"), order: Some(ids("4 1 3")) };
    assert_eq!(page.outputs(), [swapped]);
}

#[test]
fn header_is_read_leniently() {
    let sort = |header| Description::parse(Some(header)).sort;
    assert_eq!(sort("whole;key=_id;sort=n,a%20b%2c;skip=2;populate"), ["n", "a b,"]);
    assert_eq!(sort("part;limit=2"), [""; 0]);
    assert_eq!(sort("whole;sort=100%,%zz,%4"), ["100%", "%zz", "%4"]);
    let kind = |header| Description::parse(header).kind;
    assert_eq!(kind(Some("whole")), Kind::Whole);
    assert_eq!(kind(Some("filter;x")), Kind::Filter);
    assert_eq!(kind(Some("one;key=_id")), Kind::One);
    for header in [None, Some(""), Some("part"), Some("future;sort=n")] {
        assert_eq!(kind(header), Kind::Part);
    }
}
