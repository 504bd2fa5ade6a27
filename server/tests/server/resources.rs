//! Declared resources and their paths.

use std::path::Path;

use backwire::Server;
use backwire::config::Config;
use backwire::model::{Attribute, Ids, Kind, Model, Timestamps};
use backwire::route::{Paths, Shortcuts};
use backwire::settings::{Settings, Store};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, refusal, start};

/// Starts the server of the example in the documentation.
async fn as_documented() -> Server {
    let page = include_str!("../../../docs/reference/resources.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, yaml).unwrap();
    let settings = settings(&file);
    assert_eq!(settings.port, 8080);
    start(builder().settings(Settings { port: 0, store: Store::Memory, ..settings })).await
}

fn settings(file: &Path) -> Settings {
    Config::read(file).unwrap().apply_to(Settings::default()).unwrap()
}

async fn with(name: &str, model: Model) -> Server {
    start(builder().resource(name, model).unwrap()).await
}

async fn with_paths(paths: Paths) -> Server {
    start(builder().paths(paths)).await
}

#[tokio::test]
async fn documented_example_works_as_described() {
    let server = as_documented().await;
    let (status, todo) =
        ask(&server, Method::POST, "/todo", json!({ "title": "Milk", "x": 1 })).await;
    assert_eq!((status, &todo["completed"], todo.get("x")), (201, &json!(false), None));
    let (status, refused) = ask(&server, Method::POST, "/todo", json!({})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("E_INVALID_NEW_RECORD")));
    assert_eq!(refused["problems"], json!([{ "field": "title", "rule": "is required" }]));
    assert_eq!(ask(&server, Method::PATCH, "/todo/1", json!({ "completed": true })).await.0, 200);
    assert_eq!(ask(&server, Method::GET, "/todo", Value::Null).await.1, json!([]));
    assert_eq!(ask(&server, Method::GET, "/cart", Value::Null).await.0, 404);

    let ann = json!({ "email": "ann@example.org", "age": "30" });
    let (status, person) = ask(&server, Method::POST, "/people", ann.clone()).await;
    assert_eq!((status, &person["role"], &person["age"]), (201, &json!("guest"), &json!(30)));
    assert_eq!(person["_id"].as_str().unwrap().len(), 36);
    assert!(person["createdAt"].as_str().unwrap().ends_with('Z'));
    let (status, refused) = ask(&server, Method::POST, "/people", ann).await;
    assert_eq!(
        (status, &refused["code"], &refused["field"]),
        (409, &json!("E_UNIQUE"), &json!("email"))
    );
    let (status, refused) = ask(&server, Method::POST, "/people", json!({ "age": 151 })).await;
    assert_eq!((status, &refused["field"], &refused["limit"]), (400, &json!("age"), &json!(150)));
    assert_eq!(ask(&server, Method::GET, "/person", Value::Null).await.0, 404);
    let large = json!({ "title": "x".repeat(70_000) });
    assert_eq!(ask(&server, Method::POST, "/todo", large).await.0, 413);
    assert_eq!(ask(&server, Method::GET, "/note", Value::Null).await.0, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn declared_primary_key_is_used_everywhere() {
    let model = Model { key: "_id".to_owned(), ids: Ids::Client, ..Model::default() };
    let server = with("todo", model).await;
    let (mut ours, mut stock) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    assert_eq!(refusal(&ours.post("/todo", json!({ "id": 1 })).await), json!([400, "E_NO_ID"]));
    ours.get("/todo").await;
    stock.get("/todo").await;
    let created = ours.post("/todo", json!({ "_id": "a", "id": 1 })).await;
    assert_eq!((&created["body"]["_id"], &created["body"]["id"]), (&json!("a"), &json!(1)));
    assert_eq!(stock.event().await[1]["id"], "a");
    let put = ours.put("/todo", json!({ "_id": "a", "done": true })).await;
    assert_eq!(put["body"]["done"], true);
    assert_eq!(stock.event().await[1]["data"]["_id"], "a");
    assert_eq!(
        refusal(&ours.put("/todo/a", json!({ "_id": "b" })).await),
        json!([400, "E_BAD_ID"])
    );
    assert_eq!(
        ours.get("/todo?_id=a&select=done").await["body"],
        json!([{ "_id": "a", "done": true }])
    );
    server.shutdown().await;
}

#[tokio::test]
async fn put_creates_a_missing_record_only_if_upsert_is_declared() {
    let server = with("todo", Model { upsert: true, ..Model::default() }).await;
    assert_eq!(ask(&server, Method::PUT, "/todo/a", json!({ "n": 1 })).await.0, 201);
    assert_eq!(ask(&server, Method::PUT, "/todo/a", json!({ "n": 2 })).await.0, 200);
    assert_eq!(ask(&server, Method::PATCH, "/todo/b", json!({ "n": 1 })).await.0, 404);
    assert_eq!(ask(&server, Method::PUT, "/cart/a", json!({ "n": 1 })).await.0, 404);
    server.shutdown().await;

    let server = with("todo", Model { upsert: true, ids: Ids::Uuid, ..Model::default() }).await;
    let (status, refused) = ask(&server, Method::PUT, "/todo/7", json!({})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_ID")));
    let id = "0192f3a0-0000-7000-8000-000000000001";
    let (status, todo) = ask(&server, Method::PUT, &format!("/todo/{id}"), json!({})).await;
    assert_eq!((status, &todo["id"]), (201, &json!(id)));
    server.shutdown().await;
}

#[tokio::test]
async fn attribute_may_be_declared_by_its_type_only() {
    let model = json!({ "attributes": { "title": "string", "rank": "integer", "note": null } });
    let server = with("todo", serde_json::from_value(model).unwrap()).await;
    let sent = json!({ "title": 7, "rank": "7", "note": 7 });
    let todo = ask(&server, Method::POST, "/todo", sent).await.1;
    assert_eq!([&todo["title"], &todo["rank"], &todo["note"]], [&json!("7"), &json!(7), &json!(7)]);
    let (status, refused) = ask(&server, Method::POST, "/todo", json!({ "rank": "first" })).await;
    assert_eq!((status, &refused["field"]), (400, &json!("rank")));
    server.shutdown().await;
}

#[tokio::test]
async fn form_is_accepted_as_a_record() {
    let rank = Attribute { kind: Some(Kind::Integer), ..Attribute::default() };
    let server = with("todo", Model::default().attribute("rank", rank)).await;
    let send = async |method: Method, path: &str, body: &'static str| {
        let url = format!("http://{}{path}", server.addr());
        let form = "application/x-www-form-urlencoded; charset=UTF-8";
        let request = Client::new().request(method, url).header("content-type", form).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, todo) =
        send(Method::POST, "/todo", "title=Oat+milk&rank=7&tags[]=a&tags[]=b").await;
    assert_eq!((status, &todo["title"], &todo["rank"]), (201, &json!("Oat milk"), &json!(7)));
    assert_eq!(todo["tags"], json!(["a", "b"]));
    assert_eq!(send(Method::PUT, "/todo/1", "title=Eggs").await.1["title"], "Eggs");
    // curl sends JSON with the content type of a form.
    assert_eq!(send(Method::PATCH, "/todo/1", r#"{"title":3}"#).await.1["title"], 3);
    let (status, refused) = send(Method::POST, "/todo", "a[=1").await;
    assert_eq!(
        (status, &refused["code"], &refused["field"]),
        (400, &json!("E_BAD_FORM"), &json!("body"))
    );
    server.shutdown().await;
}

#[tokio::test]
async fn list_creates_each_record_once_when_repeated() {
    let short = Attribute { kind: Some(Kind::String), max: Some(4.into()), ..Attribute::default() };
    let model = Model { timestamps: Timestamps::Off, ..Model::default().attribute("title", short) };
    let server = with("todo", model).await;
    let mut socket = Socket::runtime(&server).await;
    let list = json!([{ "title": "Milk" }, { "title": "Eggs" }]);
    let created = json!([{ "title": "Milk", "id": 1 }, { "title": "Eggs", "id": 2 }]);
    for _ in 0..2 {
        let post = json!({ "url": "/todo", "data": list, "headers": { "idempotency-key": "k" } });
        let answer = socket.ask(json!(["post", post])).await;
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(201), &created));
    }
    let refused = socket.post("/todo", json!([{ "title": "Salt" }, { "title": "Bread" }])).await;
    assert_eq!(refusal(&refused), json!([400, "E_INVALID_NEW_RECORD"]));
    assert_eq!(refused["body"]["field"], "1.title");
    assert_eq!(refusal(&socket.post("/todo", json!([7])).await), json!([400, "E_BAD_BODY"]));
    let many = vec![json!({}); 1001];
    assert_eq!(refusal(&socket.post("/todo", json!(many)).await), json!([413, "E_TOO_LARGE"]));
    assert_eq!(socket.get("/todo").await["body"], created);
    assert_eq!(socket.post("/todo", json!([])).await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn repeated_create_returns_the_same_uuid() {
    let server = with("todo", Model { ids: Ids::Uuid, ..Model::default() }).await;
    let mut socket = Socket::runtime(&server).await;
    let post =
        json!(["post", { "url": "/todo", "data": {}, "headers": { "idempotency-key": "k" } }]);
    let (first, again) = (socket.ask(post.clone()).await, socket.ask(post).await);
    assert_eq!((&first["statusCode"], &first["body"]), (&json!(201), &again["body"]));
    assert_eq!(socket.get("/todo").await["body"].as_array().unwrap().len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn write_shortcuts_work_when_enabled() {
    let server = with_paths(Paths { shortcuts: Shortcuts::Write, ..Paths::default() }).await;
    let get = async |path| ask(&server, Method::GET, path, Value::Null).await;
    let (status, todo) = get("/todo/create?title=Milk").await;
    assert_eq!((status, &todo["title"]), (201, &json!("Milk")));
    assert_eq!(get("/todo/update/1?done=yes").await.1["done"], "yes");
    assert_eq!(get("/TODO/find/1/").await.1["done"], "yes");
    assert_eq!(get("/todo/find?done=no").await.1, json!([]));
    assert_eq!(get("/todo/destroy/1").await.0, 200);
    assert_eq!(ask(&server, Method::DELETE, "/todo/find", Value::Null).await.0, 405);

    let (status, todo) = ask(&server, Method::POST, "/todo/create", json!({ "n": 1 })).await;
    assert_eq!((status, &todo["id"]), (201, &json!(2)));
    let put = ask(&server, Method::PUT, "/todo/update/2", json!({ "n": 2 })).await;
    assert_eq!((put.0, &put.1["n"]), (200, &json!(2)));
    let find = json!({ "where": { "n": { ">": 1 } } });
    assert_eq!(ask(&server, Method::POST, "/todo/find", find).await.1[0]["id"], 2);
    assert_eq!(ask(&server, Method::DELETE, "/todo/destroy/2", Value::Null).await.0, 200);
    server.shutdown().await;

    let server = start(builder()).await;
    assert_eq!(ask(&server, Method::GET, "/todo/create?title=Milk", Value::Null).await.0, 400);
    assert_eq!(ask(&server, Method::GET, "/todo/find", Value::Null).await, (200, json!([])));
    server.shutdown().await;
}

#[tokio::test]
async fn record_named_like_a_shortcut_is_reachable_by_other_paths() {
    let server = start(builder()).await;
    let done = async |method, path: &str, body| ask(&server, method, path, body).await;
    assert_eq!(done(Method::POST, "/todo", json!({ "id": "find" })).await.0, 201);
    assert!(done(Method::GET, "/todo/find", Value::Null).await.1.is_array());
    assert_eq!(done(Method::GET, "/todo/find/find", Value::Null).await.1["id"], "find");
    let (id, set) = (json!({ "id": "find" }), json!({ "id": "find", "done": true }));
    assert_eq!(done(Method::PATCH, "/todo", set).await.1["done"], true);
    assert_eq!(done(Method::DELETE, "/todo", id).await.0, 200);
    server.shutdown().await;

    let server = with_paths(Paths { shortcuts: Shortcuts::Off, ..Paths::default() }).await;
    ask(&server, Method::POST, "/todo", json!({ "id": "find" })).await;
    assert_eq!(ask(&server, Method::GET, "/todo/find", Value::Null).await.1["id"], "find");
    server.shutdown().await;
}

#[tokio::test]
async fn configured_prefix_applies_to_all_paths() {
    let server = with_paths(Paths { prefix: "/api".to_owned(), ..Paths::default() }).await;
    assert_eq!(ask(&server, Method::POST, "/API/todo", json!({})).await.0, 201);
    assert_eq!(ask(&server, Method::GET, "/todo", Value::Null).await.0, 404);
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.get("/api/todo/1").await["statusCode"], 200);
    server.shutdown().await;
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_lists_the_methods() {
    let server = start(builder()).await;
    ask(&server, Method::POST, "/todo", json!({})).await;
    let url = format!("http://{}/todo/1", server.addr());
    let head = Client::new().head(&url).send().await.unwrap();
    let get = Client::new().get(&url).send().await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-length"]),
        (get.status(), &get.headers()["content-length"])
    );
    assert_eq!(head.text().await.unwrap(), "");
    for (path, verbs) in [
        ("/todo/1", "GET,HEAD,PUT,PATCH,DELETE,OPTIONS"),
        ("/todo", "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"),
        ("/todo/find", "GET,HEAD,POST,OPTIONS"),
    ] {
        let url = format!("http://{}{path}", server.addr());
        let options = Client::new().request(Method::OPTIONS, url).send().await.unwrap();
        assert_eq!(options.status(), 200);
        assert_eq!(options.headers()["allow"], verbs);
    }
    let wrong = Client::new().post(&url).send().await.unwrap();
    assert_eq!(
        (wrong.status().as_u16(), &wrong.headers()["allow"]),
        (405, &"GET,HEAD,PUT,PATCH,DELETE,OPTIONS".parse().unwrap())
    );
    server.shutdown().await;
}

#[tokio::test]
async fn creates_continue_after_a_client_gives_the_largest_id() {
    let server = start(builder()).await;
    let mut socket = Socket::runtime(&server).await;
    for given in ["9007199254740991", "9007199254740990"] {
        let url = format!("/todo/{given}");
        let given: i64 = given.parse().unwrap();
        assert_eq!(socket.post("/todo", json!({ "id": given })).await["statusCode"], 201);
        assert_eq!(socket.get(&url).await["statusCode"], 200);
    }
    for expected in 1..=3 {
        let created = socket.post("/todo", json!({ "title": "Milk" })).await;
        assert_eq!(created["body"]["id"], expected, "{created}");
    }
    server.shutdown().await;
}
