//! Whatever is asked of whatever is there: SQLite picks what memory picks.

use backwire::change::Attributes;
use backwire::criteria::{Criteria, Language, Parameters};
use backwire::write::{Action, Write};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::store::{self, NOON, todo};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_picks_what_memory_picks(
        records in vec(record(), 0..20),
        asked in vec((asked(), select(vec![Language::Current, Language::Sails09])), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stores = [store::memory, store::sqlite].map(store::roomy);
            for record in records {
                for store in &stores {
                    // Some ids are there already.
                    let _ = store.engine.commit(create(record.clone())).await;
                }
            }
            for (data, language) in asked {
                let parameters = Parameters::read(Vec::new(), data.clone()).unwrap();
                let criteria = Criteria::read(parameters, language).unwrap();
                let [model, sqlite] = &stores;
                prop_assert_eq!(
                    model.engine.find(&todo(), &criteria).await.unwrap().value,
                    sqlite.engine.find(&todo(), &criteria).await.unwrap().value,
                    "{:?}", data
                );
            }
            Ok(())
        })?;
    }
}

fn create(record: Attributes) -> Write {
    let action = Action::Create(record);
    Write { resource: todo(), action, key: None, origin: None, at: NOON }
}

fn record() -> impl Strategy<Value = Attributes> {
    let id = select(vec![json!(1), json!(2), json!(-7), json!("a"), json!("A"), json!("a\u{0}b")]);
    let value = prop_oneof![9 => scalar(), 1 => Just(json!(["a", 1])), 1 => Just(json!({"a": 1}))];
    (proptest::option::of(id), vec((name(), value), 0..4)).prop_map(|(id, attributes)| {
        let mut record: Attributes = attributes.into_iter().filter(|(n, _)| n != "id").collect();
        record.extend(id.map(|id| ("id".to_owned(), id)));
        record
    })
}

fn name() -> impl Strategy<Value = String> {
    // A plain one, and such as could trouble a path of SQLite.
    select(vec!["a", "a", "a", "id", "", "\"", "a.b", "a[0]", "$", "é", "\u{0}"])
        .prop_map(str::to_owned)
}

/// Few, so that they meet, and their neighbours.
fn scalar() -> impl Strategy<Value = Value> {
    let exact = 9_007_199_254_740_992_u64;
    let numbers = [0.1, 0.1_f64.next_up(), -0.0, 5e-324, 1e308, f64::MAX, 1.5, 123_456.789e-7, 4.0];
    let mut values: Vec<Value> = numbers.map(Value::from).into();
    let integers =
        [json!(0), json!(1), json!(2), json!(4), json!(-7), json!(exact), json!(exact + 1)];
    values.extend(integers);
    values.extend([json!(u64::MAX), json!(i64::MIN), json!(null), json!(true), json!(false)]);
    let texts = ["", "a", "A", "ab", "aB", "b", "4", "4.0", "true", "é", "É", "a\u{0}", "a\u{0}b"];
    let others = ["a\"b", "a\\b", "%", "[\"a\",1]", "1e999", "\u{10ffff}", "\u{0}", "-7"];
    values.extend(texts.into_iter().chain(others).map(Value::from));
    prop_oneof![
        8 => select(values),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    scalar().prop_map(|value| Value::from(value.as_str().map_or("a%", |text| text)))
}

fn attribute() -> impl Strategy<Value = Value> {
    let comparison = select(vec!["<", "<=", ">", ">="]);
    let comparable = scalar().prop_filter("it has an order", |v| v.is_number() || v.is_string());
    let like = select(vec!["like", "contains", "startsWith", "endsWith"]);
    let equal = select(vec!["=", "!="]);
    let list = select(vec!["in", "nin"]);
    prop_oneof![
        scalar(),
        vec(scalar(), 0..4).prop_map(Value::from),
        (comparison, comparable).prop_map(|(name, value)| json!({name: value})),
        (like, text()).prop_map(|(name, value)| json!({name: value})),
        (equal, scalar()).prop_map(|(name, value)| json!({name: value})),
        (list, vec(scalar(), 0..4)).prop_map(|(name, values)| json!({name: values})),
    ]
}

fn filter() -> impl Strategy<Value = Value> {
    let leaf = vec((name(), attribute()), 0..3)
        .prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>()));
    leaf.prop_recursive(3, 12, 3, |part| {
        prop_oneof![
            vec(part.clone(), 0..3).prop_map(|parts| json!({"and": parts})),
            vec(part.clone(), 0..3).prop_map(|parts| json!({"or": parts})),
            part.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn asked() -> impl Strategy<Value = Attributes> {
    let sort = vec((select(vec!["a", "id", "é"]), select(vec![1, -1])), 0..3).prop_map(|terms| {
        Value::from_iter(terms.into_iter().map(|(name, way)| json!({name: way})))
    });
    let shape = select(vec![json!({}), json!({"select": "a"}), json!({"omit": "a,createdAt"})]);
    (filter(), sort, 0..3_u64, proptest::option::of(0..4_u64), shape).prop_map(
        |(filter, sort, skip, limit, shape)| {
            let mut asked = store::attributes(shape);
            asked.extend([("where".to_owned(), filter), ("sort".to_owned(), sort)]);
            asked.extend([("skip".to_owned(), skip.into())]);
            asked.extend(limit.map(|limit| ("limit".to_owned(), limit.into())));
            asked
        },
    )
}
