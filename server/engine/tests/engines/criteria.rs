//! SQLite and Redis select the same records as memory, for random criteria and records.

use std::sync::Arc;

use backwire_records::change::{Attributes, Id};
use backwire_records::criteria::{
    Condition, Criteria, Filter, Language, Operand, Parameters, Problem,
};
use backwire_records::model::{Attribute, Model, Models};
use backwire_records::write::{Action, Write};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;
use serde_json::{Map, Value, json};

use crate::store::{self, NOON, Store, todo};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_selects_the_same_records((records, asked) in records_and_questions()) {
        store::runtime().block_on(async {
            let engines =
                [store::memory, store::sqlite, store::sqlite, store::redis, store::redis];
            let stores = engines.map(store::default_store);
            stores[2].engine.declare(&indexed()).await.unwrap();
            stores[4].engine.declare(&indexed()).await.unwrap();
            for record in records {
                let mut outcomes = Vec::new();
                for store in &stores {
                    // Some ids exist already, and some names are invalid.
                    outcomes.push(outcome(store, create(record.clone())).await);
                }
                prop_assert!(outcomes.iter().all(|it| *it == outcomes[0]), "{:?}", outcomes);
            }
            let part = asked.first().and_then(|data| criteria(data, Language::Current));
            let part = part.map(|criteria| criteria.filter).unwrap_or_default();
            for (number, data) in asked.into_iter().enumerate() {
                for language in [Language::Current, Language::Sails09] {
                    let Some(criteria) = criteria(&data, language) else { continue };
                    // The access filter of a caller is combined with the criteria.
                    let within = if number % 2 == 1 { part.clone() } else { Filter::default() };
                    let criteria = Criteria { within, ..criteria };
                    let [model, others @ ..] = &stores;
                    let expected = model.engine.find(&todo(), &criteria).await.unwrap().value;
                    let names = ["SQLite", "SQLite, indexed", "Redis", "Redis, indexed"];
                    // A read from Redis takes many times as long as one from a file.
                    let count = if number % 4 == 0 { names.len() } else { 2 };
                    for (other, name) in others.iter().zip(names).take(count) {
                        let found = other.engine.find(&todo(), &criteria).await.unwrap().value;
                        prop_assert_eq!(&found, &expected, "{} {:?}", name, data);
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn every_engine_enforces_unique_values_alike_with_hostile_names(
        records in vec(vec((hostile_name(), 1..9), 1..5), 2..12),
    ) {
        store::runtime().block_on(async {
            let stores =
                [store::memory, store::sqlite, store::redis].map(store::default_store);
            let unique = Attribute { unique: true, ..Attribute::default() };
            let model = Arc::new(Model::default().attribute("a", unique));
            for record in records {
                let record = record.into_iter().map(|(name, value)| (name, json!(value)));
                let write = create(record.collect());
                let write = Write { model: Arc::clone(&model), ..write };
                let memory = outcome(&stores[0], write.clone()).await;
                for store in &stores[1..] {
                    prop_assert_eq!(&memory, &outcome(store, write.clone()).await);
                }
            }
            for store in &stores[1..] {
                prop_assert_eq!(stores[0].records().await, store.records().await);
            }
            Ok(())
        })?;
    }
}

/// Returns the id of a new record, or the refusal.
async fn outcome(store: &Store, write: Write) -> Result<Id, String> {
    let committed = store.engine.commit(write).await;
    committed.map(|it| it.change.id.clone()).map_err(|error| error.to_string())
}

/// Parses criteria. They are refused only because of a name or an id with control characters, or
/// an id that is a list or an object.
fn criteria(data: &Attributes, language: Language) -> Option<Criteria> {
    let parameters = Parameters::read(Vec::new(), data.clone()).unwrap();
    match Criteria::read(parameters, language) {
        Ok(criteria) => Some(criteria),
        Err(bad) if bad.to_string().starts_with("id: this has to be a string") => None,
        Err(bad) => {
            let problems = [Problem::ControlCharacter, Problem::ControlCharacterInId];
            assert!(problems.contains(&bad.problem), "{data:?}: {bad}");
            let text = serde_json::to_string(data).unwrap();
            assert!(text.contains("\\u00") || text.contains("\\n") || text.contains('\u{7f}'));
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn index_supports_every_form_of_a_condition() {
    let stores = [store::memory, store::sqlite, store::redis].map(store::default_store);
    for store in &stores[1..] {
        store.engine.declare(&indexed()).await.unwrap();
    }
    for record in [json!({"a": 1, "A": 1}), json!({"a": "x"}), json!({}), json!({"a": [1]})] {
        for store in &stores {
            store.apply(create(store::attributes(record.clone()))).await;
        }
    }
    let conditions = [
        json!(null),
        json!([]),
        json!([null, 1, 1.5, "x", true]),
        json!({">": 0.5, "<": "x"}),
        json!({">": 0.5, "<=": 1, "!=": 7}),
        json!({">=": "", "like": "x%"}),
    ];
    let sorts = [json!([]), json!("a"), json!("A"), json!("a DESC"), json!("id DESC"), json!("b")];
    for (condition, sort) in
        conditions.iter().flat_map(|it| sorts.iter().map(move |sort| (it, sort)))
    {
        for (name, other) in [("a", "A"), ("id", "a"), ("A", "id")] {
            let filter = json!({name: condition, other: {"!=": "y"}});
            let asked = json!({"where": filter, "sort": sort, "limit": 9});
            let parameters = Parameters::read(Vec::new(), store::attributes(asked)).unwrap();
            let criteria = Criteria::read(parameters, Language::Current).unwrap();
            let [model, others @ ..] = &stores;
            let expected = model.engine.find(&todo(), &criteria).await.unwrap().value;
            for indexed in others {
                let found = indexed.engine.find(&todo(), &criteria).await.unwrap().value;
                assert_eq!(found, expected, "{name} {condition} {sort}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_with_more_ids_than_a_sqlite_statement_accepts_works() {
    let stores = [store::memory, store::sqlite].map(store::default_store);
    stores[1].engine.declare(&indexed()).await.unwrap();
    for id in [1, 2, 39_999, 40_001] {
        for store in &stores {
            store.apply(create(store::attributes(json!({"id": id, "a": id})))).await;
        }
    }
    let ids = || (2..40_000).map(|id| Operand::from(&Id::Integer(id))).collect();
    for (name, asked) in [
        ("id", json!({})),
        ("a", json!({"sort": "id DESC", "limit": 9})),
        ("a", json!({"sort": "a", "limit": 9})),
    ] {
        let parameters = Parameters::read(Vec::new(), store::attributes(asked)).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        let within = Filter::Attribute(name.to_owned(), Condition::OneOf(ids()));
        let criteria = Criteria { within, ..criteria };
        let [model, sqlite] = &stores;
        let expected = model.engine.find(&todo(), &criteria).await.unwrap().value;
        assert_eq!(expected.len(), 2);
        assert_eq!(sqlite.engine.find(&todo(), &criteria).await.unwrap().value, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_of_the_maximum_size_work_in_sqlite() {
    let store = store::default_store(store::sqlite);
    store.apply(create(store::attributes(json!({"id": 1, "a": "b".repeat(2000)})))).await;
    let like = json!({"a": {"like": "%b".repeat(600)}});
    let filters = [
        json!({"id": (0..511).collect::<Vec<_>>()}),
        json!({"or": (0..170).map(|id| json!({"id": id})).collect::<Vec<_>>()}),
        json!({"and": vec![like; 127]}),
    ];
    for filter in filters {
        assert_eq!(found(&store, "where", vec![filter.to_string()]).await, 1, "{filter}");
    }
    let loose = (0..511).map(|number| number.to_string()).collect();
    assert_eq!(found(&store, "id", loose).await, 1);
    let loose = (0..511).map(|number| number.to_string()).collect();
    assert_eq!(found(&store, "a", loose).await, 0);
}

async fn found(store: &Store, name: &str, values: Vec<String>) -> usize {
    let query = values.into_iter().map(|value| (name.to_owned(), value)).collect();
    let parameters = Parameters::read(query, Attributes::new()).unwrap();
    let criteria = Criteria::read(parameters, Language::Current).unwrap();
    store.engine.find(&todo(), &criteria).await.unwrap().value.len()
}

fn create(record: Attributes) -> Write {
    let action = Action::Create(record);
    Write::new(todo(), action, NOON)
}

/// Returns records and criteria with the same few values, so that they match.
fn records_and_questions() -> impl Strategy<Value = (Vec<Attributes>, Vec<Attributes>)> {
    vec(scalar(), 1..6)
        .prop_flat_map(|values| (vec(record(values.clone()), 1..12), vec(question(values), 30)))
}

fn record(values: Vec<Value>) -> impl Strategy<Value = Attributes> {
    let ids = [json!(1), json!(2), json!(-7), json!("a"), json!("A"), json!("a\u{80}b")];
    let value = prop_oneof![9 => select(values), 1 => select(composed())];
    (option::of(select(ids.to_vec())), vec((name(), value), 1..4)).prop_map(|(id, attributes)| {
        let mut record: Attributes = attributes.into_iter().filter(|(n, _)| n != "id").collect();
        record.extend(id.map(|id| ("id".to_owned(), id)));
        record
    })
}

/// Returns a name, which is mostly a plain one.
fn name() -> impl Strategy<Value = String> {
    let plain = select(vec!["a", "a", "A", "b"]);
    let plain = prop_oneof![8 => plain, 1 => Just("id")].prop_map(str::to_owned);
    prop_oneof![9 => plain, 2 => hostile_name()]
}

/// Returns a name that might break a JSON path of SQLite, or be confused with another name.
fn hostile_name() -> impl Strategy<Value = String> {
    let parts = [
        "\"",
        "\\\\",
        "\\.",
        "\\[0\\]",
        "\\[#-1\\]",
        "\\$",
        "'",
        "é",
        "\\\\u0061",
        "\u{0}",
        "\u{1}",
        "\n",
        "\u{7f}",
        "\u{80}",
        "\u{feff}",
        "\u{10ffff}",
    ]
    .join("|");
    let odd = string_regex(&format!("a?({parts}){{0,2}}a?|a\u{0}")).unwrap();
    let long = select(vec![200, 5_000]).prop_map(|length| "a".repeat(length));
    prop_oneof![3 => Just("a".to_owned()), 8 => odd, 2 => long]
}

/// Returns models with indexes on some plain names. SQLite ignores the case of index names.
fn indexed() -> Models {
    let mut models = Models::default();
    let attribute = || Attribute { indexed: true, ..Attribute::default() };
    let model = Model::default().attribute("a", attribute()).attribute("A", attribute());
    models.declare("todo", model).unwrap();
    models
}

/// Returns values to store or to search, including similar ones that are easily confused.
fn scalar() -> impl Strategy<Value = Value> {
    let exact = 9_007_199_254_740_992_u64;
    let floats = [0.1, 0.1_f64.next_up(), -0.0, 5e-324, 1e308, f64::MAX, 1.234_567e-7, 4.0];
    let numbers = Vec::from(floats.map(Value::from));
    let integers = [1, 4, exact, exact + 1, u64::MAX].map(Value::from);
    let others = [json!(-7), json!(i64::MIN), json!(null), json!(true), json!(false)];
    let texts = [
        "", "a", "A", "ab", "b", "4", "4.0", "true", "é", "É", "a\u{0}", "a\u{0}b", "\u{0}",
        "a\u{80}b",
    ];
    let odd_texts = ["a\"b", "a\\b", "%", "[\"a\",1]", "1e999", "\u{10ffff}", "-7"];
    let texts: Vec<_> = texts.into_iter().chain(odd_texts).map(Value::from).collect();
    prop_oneof![
        3 => select([numbers, integers.into(), others.into()].concat()),
        3 => select(texts),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

/// Returns lists and objects to store or to search.
fn composed() -> Vec<Value> {
    let all = json!([["a", 1], { "a": 1 }, { "a": { "b": [null] } }, ["a"], [], {}]);
    all.as_array().cloned().unwrap_or_default()
}

fn attribute(values: Vec<Value>) -> impl Strategy<Value = Value> {
    let has_order = |value: &&Value| value.is_number() || value.is_string();
    let or_a = |mut values: Vec<Value>| {
        values.push(json!("a"));
        select(values)
    };
    let ordered = or_a(values.iter().filter(has_order).cloned().collect());
    let text = or_a(values.iter().filter(|value| value.is_string()).cloned().collect());
    let value = select(values);
    let with = |modifiers: [&str; 4], value: BoxedStrategy<Value>| {
        let modifier = select(modifiers.map(str::to_owned).to_vec());
        (modifier, value).prop_map(|(modifier, value)| json!({modifier: value}))
    };
    let composed = || select(composed());
    let element = prop_oneof![5 => value.clone(), 1 => composed()];
    let list = vec(element, 0..3).prop_map(Value::from).boxed();
    prop_oneof![
        value.clone(),
        with(["=", "!=", "!", "not"], prop_oneof![5 => value, 1 => composed()].boxed()),
        with(["in", "nin", "=", "!="], list),
        with(["<", "<=", ">", ">="], ordered.boxed()),
        with(["like", "contains", "startsWith", "endsWith"], text.boxed()),
    ]
}

fn filter(values: Vec<Value>) -> impl Strategy<Value = Value> {
    let one = (name(), attribute(values)).prop_map(|(name, value)| json!({name: value}));
    one.prop_recursive(2, 6, 3, |part| {
        let parts = || vec(part.clone(), 0..3);
        prop_oneof![
            parts().prop_map(|parts| json!({"and": parts})),
            parts().prop_map(|parts| json!({"or": parts})),
            part.clone().prop_map(|part| json!({"not": part})),
        ]
    })
}

fn question(values: Vec<Value>) -> impl Strategy<Value = Attributes> {
    let term = (select(vec!["a", "a", "A", "b", "id", "é"]), select(vec![1, -1]));
    let sort = vec(term.prop_map(|(name, way)| json!({name: way})), 0..3).prop_map(Value::from);
    let shape = select(vec![json!({}), json!({"select": "a"}), json!({"omit": "a,createdAt"})]);
    let window = option::weighted(0.6, (0..3_u64, 0..6_u64));
    (filter(values), sort, window, shape).prop_map(|(filter, sort, window, shape)| {
        let parameters = Map::from_iter([("where".to_owned(), filter), ("sort".to_owned(), sort)]);
        let window = window.into_iter().flat_map(|(skip, limit)| {
            [("skip".to_owned(), json!(skip)), ("limit".to_owned(), json!(limit))]
        });
        parameters.into_iter().chain(window).chain(store::attributes(shape)).collect()
    })
}
