//! Creates with members of collections, with the conventions of Sails.

use backwire::model::{Conventions, Model};
use backwire::server::Builder;
use serde_json::{Value, json};

use super::{shut_down, two};
use crate::client::{Socket, ask};
use crate::redis_server::RedisServer;

/// Declares users with pets of their own and with patients.
fn clinic(builder: Builder) -> Builder {
    let many = |of: &str, via: &str| json!({ "collection": of, "via": via });
    let user = json!({ "attributes": {
        "pets": many("pet", "owner"), "patients": many("pet", "vets"),
    } });
    let pet = json!({ "attributes": {
        "owner": { "model": "user" }, "vets": many("user", "patients"),
    } });
    let declared = [("user", user), ("pet", pet)].into_iter().fold(builder, |all, (name, it)| {
        all.resource(name, serde_json::from_value::<Model>(it).unwrap()).unwrap()
    });
    declared.compat(Conventions::Sails)
}

/// Receives pushes until the new user is pushed, and a later member of a collection. Returns the
/// collections of the new user, and the other pushes: resource, verb, record, added record.
async fn pushes_until_added(socket: &mut Socket, later: u64) -> (Value, Vec<Value>) {
    let (mut created, mut others) = (None, Vec::new());
    while created.is_none() || others.last() != Some(&json!(["user", "addedTo", 1, later])) {
        let push = socket.event().await;
        let change = &push[1];
        match (&push[0], &change["verb"]) {
            (resource, verb) if resource == "user" && verb == "created" => {
                let ids = |name: &str| -> Vec<Value> {
                    let members = change["data"][name].as_array().unwrap();
                    members.iter().map(|member| member["id"].clone()).collect()
                };
                created = Some(json!({ "pets": ids("pets"), "patients": ids("patients") }));
            }
            (resource, verb) => {
                others.push(json!([resource, verb, change["id"], change["addedId"]]))
            }
        }
    }
    (created.unwrap(), others)
}

#[tokio::test]
async fn push_of_a_new_record_has_its_members_at_each_server() {
    let redis = RedisServer::start(&[]);
    let servers = two(&redis, clinic).await;
    for _ in 0..4 {
        assert_eq!(ask(&servers.0, "POST", "/pet", json!({})).await.0, 200);
    }
    let mut followers = [Socket::stock(&servers.0).await, Socket::stock(&servers.1).await];
    for follower in &mut followers {
        for url in ["/user", "/pet"] {
            assert_eq!(follower.get(url).await["statusCode"], 200);
        }
    }
    let ann = json!({ "pets": [1, 2], "patients": [2, 3] });
    assert_eq!(ask(&servers.1, "POST", "/user", ann.clone()).await.0, 200);
    // Later members have pushes of their own.
    assert_eq!(ask(&servers.0, "PUT", "/user/1/pets/4", Value::Null).await.0, 200);
    for follower in &mut followers {
        let (created, others) = pushes_until_added(follower, 4).await;
        assert_eq!(created, ann);
        let count = |push: Value| others.iter().filter(|other| **other == push).count();
        for id in [1, 2] {
            assert_eq!(count(json!(["pet", "updated", id, null])), 1, "{others:?}");
        }
        for id in [2, 3] {
            assert_eq!(count(json!(["pet", "addedTo", id, 1])), 1, "{others:?}");
        }
        let is_added = |push: &&Value| push[0] == "user" && push[1] == "addedTo";
        assert_eq!(others.iter().filter(is_added).count(), 1, "{others:?}");
    }
    shut_down(servers).await;
}
