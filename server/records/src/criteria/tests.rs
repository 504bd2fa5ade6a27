//! Tests of criteria: parsing, limits, and picks from a few records.

use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn attributes(value: Value) -> Attributes {
    serde_json::from_value(value).unwrap()
}

fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
    query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn from_data(data: Value, language: Language) -> Result<Criteria, CriteriaError> {
    Criteria::read(Parameters::read(Vec::new(), attributes(data))?, language)
}

fn from_query(query: &[(&str, &str)]) -> Result<Criteria, CriteriaError> {
    Criteria::read(Parameters::read(pairs(query), Attributes::new())?, Language::Current)
}

fn people() -> Vec<Arc<Attributes>> {
    let people = [
        json!({"id": 1, "name": "Ann", "age": 30, "note": null, "done": true}),
        json!({"id": 2, "name": "bob", "age": 4, "tag": "50%"}),
        json!({"id": 3, "name": "Bea", "age": "4", "done": false}),
        json!({"id": "x", "age": 4.5, "list": ["Ann"], "done": "true"}),
    ];
    people.map(|person| Arc::new(attributes(person))).into()
}

fn picked(criteria: &Criteria) -> Vec<Arc<Attributes>> {
    let Ok(picked) = criteria.pick(people().into_iter().map(Ok::<_, Infallible>));
    picked
}

fn ids(criteria: Result<Criteria, CriteriaError>) -> Value {
    picked(&criteria.unwrap()).iter().map(|record| record["id"].clone()).collect()
}

fn selected(filter: Value) -> Value {
    ids(from_data(json!({ "where": filter }), Language::Current))
}

fn old(data: Value) -> Value {
    ids(from_data(data, Language::Sails09))
}

fn queried(query: &[(&str, &str)]) -> Value {
    ids(from_query(query))
}

fn refused(data: Value) -> String {
    from_data(data, Language::Current).unwrap_err().to_string()
}

#[test]
fn each_modifier_selects_the_matching_records() {
    assert_eq!(selected(json!({})), json!([1, 2, 3, "x"]));
    assert_eq!(selected(json!({"age": 4})), json!([2]));
    assert_eq!(selected(json!({"age": 4.0})), json!([2]));
    assert_eq!(selected(json!({"age": "4"})), json!([3]));
    assert_eq!(selected(json!({"age": [4, 30]})), json!([1, 2]));
    assert_eq!(selected(json!({"age": []})), json!([]));
    for (modifier, word) in [("<", "lessThan"), ("!", "not"), ("!=", "!"), ("=", "equals")] {
        let [sign, word] = [modifier, word].map(|name| selected(json!({"age": {name: 30}})));
        assert_eq!(sign, word);
    }
    assert_eq!(selected(json!({"age": {"<": 4.5}})), json!([2]));
    assert_eq!(selected(json!({"age": {"<=": 4.5}})), json!([2, "x"]));
    assert_eq!(selected(json!({"age": {"greaterThan": 4, "<": 30}})), json!(["x"]));
    assert_eq!(selected(json!({"age": {"greaterThanOrEqual": 4.5}})), json!([1, "x"]));
    assert_eq!(selected(json!({"age": {"lessThanOrEqual": "4"}})), json!([3]));
    assert_eq!(selected(json!({"age": {"!=": [4, "4"]}})), json!([1, "x"]));
    assert_eq!(selected(json!({"age": {"nin": [4, "4"]}})), json!([1, "x"]));
    assert_eq!(selected(json!({"age": {"in": [4, "4"]}})), json!([2, 3]));
    assert_eq!(selected(json!({"name": {"contains": "n"}})), json!([1]));
    assert_eq!(selected(json!({"name": {"startsWith": "B"}})), json!([3]));
    assert_eq!(selected(json!({"name": {"endsWith": "b"}})), json!([2]));
    assert_eq!(selected(json!({"name": {"like": "B%a"}})), json!([3]));
    assert_eq!(selected(json!({"tag": {"like": "%\\%"}})), json!([2]));
}

#[test]
fn missing_attribute_is_null() {
    assert_eq!(selected(json!({"note": null})), json!([1, 2, 3, "x"]));
    assert_eq!(selected(json!({"name": {"!": null}})), json!([1, 2, 3]));
    assert_eq!(selected(json!({"tag": {"!=": "50%"}})), json!([1, 3, "x"]));
    assert_eq!(selected(json!({"tag": {"<": 1}})), json!([]));
}

#[test]
fn filters_are_combined() {
    assert_eq!(selected(json!({"or": [{"age": 4}, {"name": "Ann", "age": 30}]})), json!([1, 2]));
    assert_eq!(selected(json!({"or": []})), json!([]));
    assert_eq!(selected(json!({"not": {"or": [{"id": 1}, {"id": "x"}]}})), json!([2, 3]));
    let nested = json!({"and": [{"or": [{"age": 4}, {"age": 30}]}, {"not": {"id": 1}}]});
    assert_eq!(selected(nested), json!([2]));
}

#[test]
fn id_that_reads_as_an_integer_is_that_integer() {
    assert_eq!(selected(json!({"id": ["2", "x", "03"]})), json!([2, "x"]));
    assert_eq!(selected(json!({"id": {">": "1"}})), json!([2, 3]));
}

#[test]
fn text_in_a_query_matches_numbers_and_strings() {
    assert_eq!(queried(&[("age", "4")]), json!([2, 3]));
    assert_eq!(queried(&[("done", "true")]), json!([1, "x"]));
    assert_eq!(queried(&[("age", "4"), ("name", "bob"), ("_", "17")]), json!([2]));
    assert_eq!(queried(&[("id", "1"), ("id", "x")]), json!([1, "x"]));
    assert_eq!(queried(&[("name[]", "Ann"), ("name[]", "bob")]), json!([1, 2]));
    assert_eq!(queried(&[("age", "NaN")]), json!([]));
    assert_eq!(queried(&[("where", r#"{"age":4}"#), ("name", "Ann")]), json!([2]));
    let sorted = [("sort", "name DESC"), ("skip", "1"), ("limit", "2")];
    assert_eq!(queried(&sorted), json!([3, 1]));
}

#[test]
fn lists_and_objects_equal_those_with_equal_values() {
    let value = json!({ "x": 1, "y": [true, { "z": null }] });
    let same = json!({ "y": [true, { "z": null }], "x": 1.0 });
    let others = [
        json!({ "x": 1 }),
        json!({ "x": 1, "y": [true, { "z": null }], "w": null }),
        json!({ "x": "1", "y": [true, { "z": null }] }),
        json!({ "x": 1, "y": [{ "z": null }, true] }),
        json!([value]),
        json!(value.to_string()),
        json!(null),
    ];
    let selects = |condition: Value, value: &Value| {
        let criteria =
            from_data(json!({ "where": { "a": condition } }), Language::Current).unwrap();
        criteria.matches(&attributes(json!({ "a": value })))
    };
    for (operand, equals, differs) in [
        (&same, json!({ "=": same }), json!({ "!=": same })),
        (&same, json!([same, 7]), json!({ "nin": [7, same] })),
        (&json!([value]), json!([[same]]), json!({ "not": [[same]] })),
    ] {
        assert!(selects(equals.clone(), operand) && !selects(differs.clone(), operand), "{equals}");
        for other in others.iter().filter(|other| *other != operand) {
            assert!(!selects(equals.clone(), other), "{equals} {other}");
            assert!(selects(differs.clone(), other), "{differs} {other}");
        }
    }
    // An element of a list is not the list.
    assert!(!selects(json!(1), &json!([1])) && selects(json!({ "!=": 1 }), &json!([1])));
}

#[test]
fn values_in_lists_and_objects_count() {
    let condition = |count: usize| json!({ "where": { "a": [vec![1; count]] } });
    // The attribute, the list and its elements.
    assert!(from_data(condition(510), Language::Current).is_ok());
    assert!(from_data(condition(511), Language::Current).is_err());
}

#[test]
fn records_are_sorted_in_every_spelling() {
    let by = |sort: Value| ids(from_data(json!({ "sort": sort }), Language::Current));
    for sort in [
        json!("age DESC"),
        json!([{"age": "desc"}]),
        json!({"age": -1}),
        json!(r#"{"age":"DESC"}"#),
    ] {
        assert_eq!(by(sort), json!([3, 1, "x", 2]));
    }
    assert_eq!(by(json!("name")), json!(["x", 1, 3, 2]));
    assert_eq!(by(json!(["done", {"age": "ASC"}])), json!([2, 3, 1, "x"]));
    assert_eq!(by(json!("list, id DESC")), json!([3, 2, 1, "x"]));
}

#[test]
fn duplicate_sort_terms_and_values_count_once() {
    let criteria = |data| from_data(data, Language::Current).unwrap();
    let (terms, values) = (["a DESC", "b"].repeat(256).join(","), vec![1; 500]);
    let sort = criteria(json!({ "sort": terms, "a": values }));
    let terms = [("a".to_owned(), Direction::Descending), ("b".to_owned(), Direction::Ascending)];
    assert_eq!(sort.sort, Sort(terms.into()));
    let one = Condition::OneOf(vec![Operand::Number(1.0)]);
    assert_eq!(sort.filter, Filter::All(vec![Filter::Attribute("a".to_owned(), one)]));
    let mixed = criteria(json!({ "a": { "in": [1, "1", 1.0, true, "true", null, null] } }));
    let Filter::All(parts) = mixed.filter else { panic!() };
    assert!(format!("{parts:?}").matches("Number").count() == 1, "{parts:?}");
    assert!(format!("{parts:?}").matches("Null").count() == 1, "{parts:?}");
}

#[test]
fn long_text_is_searched_in_linear_time() {
    // A search that begins anew at each byte would compare 10^12 bytes.
    let text = "a".repeat(2_000_000);
    let needle = format!("{}b", "a".repeat(1_000_000));
    let half = format!("b{}", "a".repeat(1_000_000));
    let record = attributes(json!({ "text": text }));
    let with = |pattern: Value, language| {
        let data = json!({ "where": { "text": pattern } });
        from_data(data, language).unwrap().matches(&record)
    };
    for language in [Language::Current, Language::Sails09] {
        assert!(!with(json!({ "contains": needle }), language));
        assert!(!with(json!({ "contains": half }), language));
        assert!(!with(json!({ "startsWith": needle }), language));
        assert!(!with(json!({ "endsWith": half }), language));
        assert!(!with(json!({ "like": format!("%{needle}%{half}%") }), language));
        assert!(with(json!({ "like": "%a".repeat(100_000) }), language));
    }
}

#[test]
fn window_is_a_range_and_limit_of_0_is_empty() {
    let part = |data| ids(from_data(data, Language::Current));
    assert_eq!(part(json!({"limit": 2})), json!([1, 2]));
    assert_eq!(part(json!({"limit": "1", "skip": 3})), json!(["x"]));
    assert_eq!(part(json!({"skip": 9})), json!([]));
    assert_eq!(part(json!({"limit": 0})), json!([]));
    assert_eq!(part(json!({"limit": u64::MAX, "skip": u64::MAX})), json!([]));
}

#[test]
fn projection_always_contains_the_id() {
    let first = |data: Value| {
        let criteria = from_data(data, Language::Current).unwrap();
        Value::Object(Attributes::clone(&picked(&criteria)[0]))
    };
    assert_eq!(first(json!({"select": "name, age"})), json!({"id": 1, "name": "Ann", "age": 30}));
    assert_eq!(first(json!({"select": ["name"]})), json!({"id": 1, "name": "Ann"}));
    assert_eq!(
        first(json!({"omit": ["id", "note", "done"]})),
        json!({"id": 1, "name": "Ann", "age": 30})
    );
}

#[test]
fn sails_0_9_criteria_have_their_old_meaning() {
    assert_eq!(old(json!({"name": "ANN"})), json!([1]));
    assert_eq!(old(json!({"where": {"name": {"like": "b%"}}})), json!([2, 3]));
    assert_eq!(old(json!({"where": {"like": {"name": "%B"}}})), json!([2]));
    assert_eq!(old(json!({"where": {"age": 4}})), json!([2, 3]));
    assert_eq!(old(json!({"where": {"age": {"<": "30"}}})), json!([2, 3, "x"]));
    assert_eq!(old(json!({"order": "id desc", "offset": 1, "limit": 0})), json!([3, 2, 1]));
    assert_eq!(
        refused(json!({"where": {"like": {"name": "A%"}}})),
        "like: the modifier name is not understood"
    );
}

#[test]
fn objects_in_a_query_are_parsed_as_jquery_writes_them() {
    let selected = |query| ids(from_query(query));
    // As in any query, 4 and "4" look the same.
    assert_eq!(selected(&[("where[age]", "4")]), json!([2, 3]));
    assert_eq!(selected(&[("age[>]", "3"), ("age[<]", "30")]), json!([2, 3, "x"]));
    assert_eq!(selected(&[("name[in][]", "Ann"), ("name[in][]", "bob")]), json!([1, 2]));
    assert_eq!(selected(&[("where[done]", "true")]), json!([1, "x"]));
    let either = [("where[or][0][name]", "Ann"), ("where[or][1][age]", "4")];
    assert_eq!(selected(&either), json!([1, 2, 3]));
    assert_eq!(selected(&[("where[name][contains]", "e"), ("where[not][id]", "4")]), json!([3]));
}

#[test]
fn invalid_criteria_are_refused_with_their_name() {
    let table = [
        (json!({"where": "{oops"}), "where: this is not JSON: "),
        (json!({"where": "[]"}), "where: this has to be an object"),
        (json!({"where": null}), "where: this has to be an object"),
        (json!({"where": {"age": {}}}), "age: this has to be a value, a list or modifiers"),
        (json!({"where": {"age": {"~": 1}}}), "age: the modifier ~ is not understood"),
        (json!({"where": {"age": {"<": null}}}), "age: this has to be a number or a string after"),
        (json!({"where": {"age": {"in": 1}}}), "age: this has to be a list after"),
        (json!({"where": {"id": [[1]]}}), "id: this has to be a string, a number, true"),
        (json!({"age": {"like": 1}}), "age: this has to be a string after"),
        (json!({"where": {"or": {}}}), "or: this has to be a list of objects"),
        (json!({"where": {"and": [1]}}), "and: this has to be a list of objects"),
        (json!({"where": {"not": []}}), "not: this has to be an object"),
        (json!({"limit": -1}), "limit: this has to be a whole number, 0 or more"),
        (json!({"skip": "many"}), "skip: this has to be a whole number, 0 or more"),
        (json!({"limit": null}), "limit: "),
        (json!({"sort": "-age"}), "sort: this has to be \"attribute DESC\" rather than"),
        (json!({"sort": "age down"}), "sort: this has to be ASC, DESC, 1 or -1"),
        (json!({"sort": ""}), "sort: "),
        (json!({"sort": "{oops"}), "sort: this is not JSON: "),
        (json!({"sort": [[]]}), "sort: "),
        (json!({"select": [1]}), "select: "),
        (json!({"select": ""}), "select: "),
        (json!({"select": "a", "omit": "b"}), "omit: select says already what is wanted"),
        (json!({"populate": "pets"}), "populate: this has to be false"),
    ];
    for (data, message) in table {
        let refusal = refused(data.clone());
        assert!(refusal.starts_with(message), "{data}: {refusal}");
    }
    for (query, message) in [
        (&[("where[age", "4")][..], "where[age: names with brackets set this in more than one way"),
        (&[("where[age]", "4"), ("where", "{}")], "where: names with brackets set this in more"),
        (
            &[("where[age]", "4"), ("where[age][>]", "4")],
            "where[age]: names with brackets set this",
        ),
        (&[("where[age][below]", "4")], "age: the modifier below is not understood"),
        (&[("sort[age]", "up")], "sort: this has to be ASC, DESC, 1 or -1"),
    ] {
        let refusal = from_query(query).unwrap_err().to_string();
        assert!(refusal.starts_with(message), "{refusal}");
    }
    assert!(from_query(&[("or", "[]")]).unwrap_err().to_string().starts_with("or: "));
    let twice = Parameters::read(pairs(&[("age", "4")]), attributes(json!({"age": 4})));
    assert_eq!(twice.unwrap_err().to_string(), "age: this is in the url and in the data");
    let both = from_data(json!({"skip": 1, "offset": 1}), Language::Sails09).unwrap_err();
    assert_eq!(both.to_string(), "offset: this is set by two parameters");
}

#[test]
fn too_deep_or_too_large_criteria_are_refused_with_the_limit() {
    let deep = |levels| (0..levels).fold(json!({"a": 1}), |inner, _| json!({"not": inner}));
    let limit = |filter| match from_data(json!({ "where": filter }), Language::Current) {
        Ok(_) => None,
        Err(bad) => bad.limit(),
    };
    assert_eq!(limit(deep(MAX_FILTER_DEPTH)), None);
    assert_eq!(limit(deep(MAX_FILTER_DEPTH + 1)), Some(MAX_FILTER_DEPTH));
    assert_eq!(limit(json!({"a": vec![1; MAX_CRITERIA_SIZE - 1]})), None);
    assert_eq!(limit(json!({"a": vec![1; MAX_CRITERIA_SIZE]})), Some(MAX_CRITERIA_SIZE));
    assert_eq!(limit(json!({"or": vec![json!({}); MAX_CRITERIA_SIZE]})), Some(MAX_CRITERIA_SIZE));
    let names = from_data(json!({"select": vec!["a"; MAX_CRITERIA_SIZE + 1]}), Language::Current);
    assert_eq!(names.unwrap_err().limit(), Some(MAX_CRITERIA_SIZE));
}

#[test]
fn failed_read_of_a_skipped_record_is_an_error() {
    let criteria = from_data(json!({"skip": 1, "limit": 1}), Language::Current).unwrap();
    let records = people().into_iter().map(Ok);
    assert!(criteria.pick([Err("disk")].into_iter().chain(records)).is_err());
}

proptest! {
    #[test]
    fn criteria_parser_does_not_panic(
        pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
        name in "where|sort|limit|skip|select|omit|populate|id|[a-z]",
        text in "[\\[\\]{}:,\"a-z0-9<>=!%\\\\ -]{0,40}",
    ) {
        let mut query = pairs;
        query.push((name, text));
        for language in [Language::Current, Language::Sails09] {
            let parameters = Parameters::read(query.clone(), Attributes::new());
            if let Ok(criteria) = parameters.and_then(|it| Criteria::read(it, language)) {
                picked(&criteria);
            }
        }
    }
}

/// Parameters are searched one by one.
#[test]
fn too_many_parameters_are_refused_while_they_are_read() {
    let many = |count: usize| (0..count).map(|n| (format!("a{n}"), "1".to_owned()));
    let from_query = |count| Parameters::read(many(count).collect(), Attributes::new());
    let attributes = |count| many(count).map(|(name, value)| (name, value.into())).collect();
    let from_data = |count| Parameters::read(Vec::new(), attributes(count));
    assert!(from_query(MAX_CRITERIA_SIZE).is_ok() && from_data(MAX_CRITERIA_SIZE).is_ok());
    for refused in [from_query(20_000), from_data(20_000)] {
        assert_eq!(refused.unwrap_err().problem, Problem::TooMany(MAX_CRITERIA_SIZE));
    }
    // A repeated name is not another parameter.
    let same = vec![("a".to_owned(), "1".to_owned()); 20_000];
    assert_eq!(Parameters::read(same, Attributes::new()).unwrap().names().count(), 1);
}
