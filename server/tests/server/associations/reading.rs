//! Populated associations, and the paths of collections.

use backwire::model::{Attribute, Find, Model, Populate};
use serde_json::{Value, json};

use super::{ask, body, filled, owned, read, rex, tom};
use crate::client::builder;

#[tokio::test]
async fn associations_are_populated_only_on_request() {
    let server = filled(owned()).await;
    let [ann, bob] = [("Ann", 1), ("Bob", 2)].map(|(name, id)| json!({ "name": name, "id": id }));
    assert_eq!(read(&server, "/user").await, json!([ann, bob]));
    assert_eq!(read(&server, "/user?populate=false").await, json!([ann, bob]));
    assert_eq!(read(&server, "/pet/1").await, rex());
    let with = |name, id, pets| json!({ "name": name, "id": id, "pets": pets });
    assert_eq!(
        read(&server, "/user?populate=pets").await,
        json!([with("Ann", 1, json!([rex(), tom()])), with("Bob", 2, json!([]))])
    );
    assert_eq!(read(&server, "/user/2?populate=true").await, with("Bob", 2, json!([])));
    let of_ann = |name, id| json!({ "name": name, "owner": ann, "id": id });
    assert_eq!(
        read(&server, "/pet?populate=owner").await,
        json!([of_ann("Rex", 1), of_ann("Tom", 2)])
    );
    assert_eq!(
        read(&server, "/pet?populate=owner&select=name&limit=1").await,
        json!([of_ann("Rex", 1)])
    );
    assert_eq!(
        read(&server, "/user?populate=pets&select=name&skip=1").await,
        json!([with("Bob", 2, json!([]))])
    );
    for (path, message) in [
        ("/user?populate=pest", "there is no association pest; did you mean pets?"),
        ("/user/1?populate=pest", "there is no association pest; did you mean pets?"),
        ("/user?populate=name", "there is no association name"),
        ("/cart?populate=pets", "there is no association pets"),
    ] {
        let (status, refused) = ask(&server, "GET", path, Value::Null).await;
        assert_eq!((status, &refused["field"]), (400, &json!("populate")));
        assert_eq!(refused["message"], format!("populate: {message}"));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn resource_declares_default_population_and_its_limits() {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let user = Model { find: Find { populate: Populate::All, ..Find::default() }, ..user };
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let hidden = json!({ "hidden": null }).as_object().cloned();
    let find = Find { limit: Some(1), filter: hidden, ..Find::default() };
    let pet = Model { find, ..pet };
    let builder = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = filled(builder).await;
    assert_eq!(read(&server, "/user/1").await["pets"], json!([rex()]));
    body(&server, "PATCH", "/pet/1", json!({ "hidden": true })).await;
    assert_eq!(read(&server, "/user").await[0]["pets"], json!([tom()]));
    assert_eq!(read(&server, "/user?populate=false").await[0].get("pets"), None);
    server.shutdown().await;
}

#[tokio::test]
async fn collection_has_its_own_path() {
    let server = filled(owned()).await;
    assert_eq!(read(&server, "/user/1/pets").await, json!([rex(), tom()]));
    assert_eq!(read(&server, "/User/1/PETS/").await, json!([rex(), tom()]));
    assert_eq!(read(&server, "/user/2/pets").await, json!([]));
    assert_eq!(read(&server, r#"/user/1/pets?where={"name":"Tom"}"#).await, json!([tom()]));
    assert_eq!(
        read(&server, "/user/1/pets?sort=name%20DESC&limit=1&omit=owner").await,
        json!([{ "name": "Tom", "id": 2 }])
    );
    let nobodys = r#"/user/1/pets?where={"owner":2}"#.replace('"', "%22");
    assert_eq!(read(&server, &nobodys).await, json!([]));
    assert_eq!(read(&server, "/user/1/pets/2").await, tom());
    assert_eq!(
        read(&server, "/user/1/pets/2?populate=owner").await["owner"],
        json!({ "name": "Ann", "id": 1 })
    );
    assert_eq!(read(&server, "/pet/1/owner").await, json!({ "name": "Ann", "id": 1 }));
    for (path, message) in [
        ("/user/9/pets", "there is no record 9 in user"),
        ("/user/1/pets/9", "there is no record 9 in pet"),
        ("/user/2/pets/1", "1 is not in the pets of user 2"),
        ("/user/1/cats", "there is no route for /user/1/cats"),
        ("/user/1/name", "there is no route for /user/1/name"),
        ("/pet/1/owner/1", "there is no route for /pet/1/owner/1"),
    ] {
        let (status, refused) = ask(&server, "GET", path, Value::Null).await;
        assert_eq!((status, &refused["code"]), (404, &json!("E_NOT_FOUND")), "{path}");
        assert_eq!(refused["message"], message);
    }
    body(&server, "PATCH", "/pet/1", json!({ "owner": null })).await;
    let (status, refused) = ask(&server, "GET", "/pet/1/owner", Value::Null).await;
    assert_eq!((status, &refused["message"]), (404, &json!("pet 1 has no owner")));
    server.shutdown().await;
}
