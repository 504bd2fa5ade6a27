//! The defaults of all resources, in the builder and in a file.

use axum::Router;
use backwire::model::{Attribute, Find, Ids, Kind, Model, Timestamps};
use reqwest::Method;
use serde_json::{Value, json};

use super::config_file::file;
use super::{ask, build, builder, serve};

fn defaults() -> Model {
    let find = Find { limit: Some(2), ..Find::default() };
    let model = Model { ids: Ids::Uuid, timestamps: Timestamps::Off, find, ..Model::default() };
    model.attribute("n", Attribute { kind: Some(Kind::Integer), ..Attribute::default() })
}

/// Returns what a new record shows of a resource's model: whether its id is a UUID, the kind of its
/// time, whether `n` has a type, and how many of three records a list has.
async fn observed(router: &Router, name: &str) -> Value {
    let addr = serve(router.clone()).await;
    let path = format!("/{name}");
    let (status, record) = ask(Method::POST, addr, &path, json!({ "n": "7" })).await;
    assert_eq!(status, 201, "{record}");
    for _ in 0..2 {
        ask(Method::POST, addr, &path, json!({})).await;
    }
    let (_, list) = ask(Method::GET, addr, &path, Value::Null).await;
    let time = match &record["createdAt"] {
        Value::Null => "off",
        Value::Number(_) => "ms",
        _ => "iso",
    };
    json!([record["id"].is_string(), time, record["n"].is_number(), list.as_array().unwrap().len()])
}

#[tokio::test]
async fn resource_has_the_defaults_of_the_builder_unless_it_says_otherwise() {
    let own = |model| Model { ids: Ids::Any, timestamps: Timestamps::Ms, ..model };
    let find = Find { limit: Some(1), ..Find::default() };
    let server = builder()
        .resource_with("early", |early| early)
        .unwrap()
        .resource_defaults(defaults())
        .unwrap()
        .resource_with("same", |same| same.attribute("m", Attribute::default()))
        .unwrap()
        .resource_with("own", |model| Model { find, ..own(model) })
        .unwrap()
        .resource_with("untyped", |model| model.attribute("n", Attribute::default()))
        .unwrap()
        .resource("complete", Model::default())
        .unwrap();
    let (router, handle) = build(server).await;
    for (name, expected) in [
        ("early", json!([false, "ms", false, 3])),
        ("same", json!([true, "off", true, 2])),
        ("own", json!([false, "ms", true, 1])),
        ("untyped", json!([true, "off", false, 2])),
        ("complete", json!([false, "ms", false, 3])),
        // Undeclared resources have no attributes.
        ("undeclared", json!([true, "off", false, 2])),
    ] {
        assert_eq!(observed(&router, name).await, expected, "{name}");
    }
    handle.shutdown().await;
}

#[tokio::test]
async fn file_replaces_defaults_of_the_builder_key_by_key() {
    let file = file(
        "resource_defaults: {timestamps: iso}\n\
         resources:\n  same: {}\n  own: {ids: any, timestamps: ms, find: {limit: 1}}\n",
    );
    let server = builder()
        .resource_defaults(defaults())
        .unwrap()
        .config_file(&file)
        .unwrap()
        .resource_with("later", |later| later)
        .unwrap()
        .resource_with("other", |model| Model { timestamps: Timestamps::Off, ..model })
        .unwrap();
    let (router, handle) = build(server).await;
    for (name, expected) in [
        ("same", json!([true, "iso", true, 2])),
        ("own", json!([false, "ms", true, 1])),
        ("later", json!([true, "iso", true, 2])),
        ("other", json!([true, "off", true, 2])),
        ("undeclared", json!([true, "iso", false, 2])),
    ] {
        assert_eq!(observed(&router, name).await, expected, "{name}");
    }
    handle.shutdown().await;
}

#[test]
fn defaults_that_no_resource_may_have_are_refused() {
    let unnamed = defaults().attribute("a\n", Attribute::default());
    // Undeclared resources have no attributes, and declared ones report them.
    let server = builder().resource_defaults(unnamed).unwrap();
    assert!(server.resource_with("note", |note| note).is_err());
    let filter = json!({ "n": { "no such operator": 1 } }).as_object().cloned();
    let find = Find { filter, ..Find::default() };
    let refused = builder().resource_defaults(Model { find, ..Model::default() });
    let error = refused.err().expect("the filter is invalid").to_string();
    assert!(error.starts_with("resource_defaults.find.where: "), "{error}");
}
