//! Parameters that are not criteria: mistakes, and parameters of other APIs.

use backwire::Server;
use backwire::access::Access;
use backwire::model::{Attribute, Model};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, refusal, start};

/// Starts a server with items, which have declared attributes, and things, which have none.
async fn shop() -> Server {
    let item = Model::default().attribute("title", Attribute::default());
    let builder = builder().resource("item", item).unwrap();
    let server = start(builder.resource("thing", Model::default()).unwrap()).await;
    for resource in ["item", "thing", "note"] {
        for title in ["a", "b", "c"] {
            ask(&server, "POST", &format!("/{resource}"), json!({ "title": title })).await;
        }
    }
    server
}

async fn titles(server: &Server, url: &str) -> String {
    let (status, all) = ask(server, "GET", url, Value::Null).await;
    assert_eq!(status, 200, "{url}: {all}");
    let all = all.as_array().unwrap().iter();
    all.map(|it| it["title"].as_str().unwrap()).collect::<Vec<_>>().join("")
}

#[tokio::test]
async fn unknown_parameter_of_a_declared_resource_suggests_the_closest_match() {
    let server = shop().await;
    for (name, nearest) in [("titel", "; did you mean title?"), ("page", ""), ("q", "")] {
        let refused = json!({
            "code": "E_BAD_CRITERIA",
            "message": format!("{name}: this is neither an attribute nor a parameter{nearest}"),
            "field": name,
        });
        let url = format!("/item?{name}=a");
        assert_eq!(ask(&server, "GET", &url, Value::Null).await, (400, refused.clone()));
        for mut socket in [Socket::runtime(&server).await, Socket::stock(&server).await] {
            let in_url = socket.get(&url).await;
            assert_eq!((&in_url["statusCode"], &in_url["body"]), (&json!(400), &refused));
            let data = json!({ "where": {}, name: "a" });
            let in_data = socket.ask(json!(["get", { "url": "/item", "data": data }])).await;
            assert_eq!(in_data["body"], refused);
        }
    }
    let (status, refused) = ask(&server, "GET", "/item/1?titel=a", Value::Null).await;
    assert_eq!((status, &refused["field"]), (400, &json!("titel")));
    assert_eq!(titles(&server, "/item?title=a&_=17").await, "a");
    server.shutdown().await;
}

#[tokio::test]
async fn parameters_of_other_apis_are_applied_or_ignored_without_declared_attributes() {
    let server = shop().await;
    for resource in ["thing", "note"] {
        for (query, expected) in [
            ("page=1&per_page=2", "ab"),
            ("page=2&per_page=2", "c"),
            ("page=2&limit=1", "b"),
            ("page=1", "abc"),
            ("offset=1", "bc"),
            ("offset=1&limit=1", "b"),
            ("order=desc", "cba"),
            ("order=title%20DESC", "cba"),
            ("sort=title&order=DESC", "cba"),
            ("q=x&search=x&fields=title&expand=owner&_embed=1&_fields=a&access_token=t", "abc"),
            ("force=true&context=edit&_csrf=t&_method=GET&_=1&include[]=a&include[]=b", "abc"),
            ("title=b&q=x", "b"),
            ("where={\"q\":null}", "abc"),
            ("colour=red", ""),
        ] {
            assert_eq!(titles(&server, &format!("/{resource}?{query}")).await, expected, "{query}");
        }
        for query in ["page=0", "page=2&skip=1", "per_page=2&limit=2", "offset=1&skip=1"] {
            let (status, refused) =
                ask(&server, "GET", &format!("/{resource}?{query}"), Value::Null).await;
            assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_CRITERIA")), "{query}");
        }
        let (status, _) =
            ask(&server, "GET", &format!("/{resource}/1?include=x"), Value::Null).await;
        assert_eq!(status, 200);
        let mut socket = Socket::runtime(&server).await;
        let data = json!({ "page": 2, "per_page": 2, "include": ["owner"] });
        let ack = socket.ask(json!(["get", { "url": format!("/{resource}"), "data": data }])).await;
        assert_eq!(ack["body"][0]["title"], "c");
        let query = ack["headers"]["backwire-query"].as_str().unwrap();
        assert!(query.starts_with("part;skip=2;limit=2"), "{query}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn write_ignores_unknown_parameters_and_refuses_criteria() {
    let server = shop().await;
    for resource in ["item", "thing", "note"] {
        let url = |rest: &str| format!("/{resource}{rest}");
        for (verb, path, data, expected) in [
            ("POST", "?_csrf=t", json!({ "title": "d" }), 201),
            ("PUT", "/1?force=true&page=2", json!({ "title": "e" }), 200),
            ("PATCH", "/1?colour=red", json!({ "title": "f" }), 200),
            ("DELETE", "/2?force=true", Value::Null, 200),
            ("DELETE", "/3?where={\"title\":\"c\"}", Value::Null, 400),
            ("DELETE", "?where={}", Value::Null, 400),
            ("PATCH", "/3?limit=1", json!({ "title": "g" }), 400),
        ] {
            let (status, body) = ask(&server, verb, &url(path), data.clone()).await;
            assert_eq!(status, expected, "{verb} {path}: {body}");
            if expected == 400 {
                assert_eq!(body["code"], "E_BAD_CRITERIA");
                let verb = verb.to_lowercase();
                let request = json!([verb, { "url": url(path), "data": data }]);
                let ack = Socket::runtime(&server).await.ask(request).await;
                assert_eq!(refusal(&ack), json!([400, "E_BAD_CRITERIA"]));
            }
        }
    }
    // Otherwise the value of a declared attribute would be lost.
    let (status, body) = ask(&server, "PATCH", "/item/1?title=h", json!({})).await;
    assert_eq!((status, &body["field"]), (400, &json!("title")));
    server.shutdown().await;
}

#[tokio::test]
async fn write_refuses_url_values_by_the_attributes_of_the_written_record() {
    let access = Access { owner: Some("by".to_owned()), ..Access::default() };
    let draft = Model { access, ..Model::default() }.attribute("name", Attribute::default());
    let pet = Model::default()
        .attribute("name", Attribute::default())
        .attribute("owner", Attribute::model("user"));
    let user = Model::default()
        .attribute("name", Attribute::default())
        .attribute("age", Attribute::default())
        .attribute("pets", Attribute::collection("pet", "owner"));
    let builder = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = start(builder.resource("draft", draft).unwrap()).await;
    ask(&server, "POST", "/user", json!({ "name": "Ann" })).await;
    for (url, field) in [
        ("/user/1/pets?name=Rex", json!("name")),
        ("/draft?by=2", json!("by")),
        // No pet has an age.
        ("/user/1/pets?age=3", Value::Null),
    ] {
        let (status, body) = ask(&server, "POST", url, json!({})).await;
        let expected = if field.is_null() { 201 } else { 400 };
        assert_eq!((status, &body["field"]), (expected, &field), "{url}: {body}");
    }
    server.shutdown().await;
}
