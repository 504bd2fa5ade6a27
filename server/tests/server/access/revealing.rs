//! Refused writes reveal nothing of records that the caller may not read, unless the resource sets
//! `reveals`.

use backwire::config::Config;
use backwire::settings::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use super::{model, signed_in, with_sign_in, write};
use crate::browser::Browser;
use crate::client::{builder, start};

fn person(declaration: Value) -> Value {
    let mut person = json!({ "attributes": { "email": { "unique": true } } });
    person.as_object_mut().unwrap().extend(declaration.as_object().unwrap().clone());
    person
}

#[test]
fn resource_whose_refusals_would_reveal_values_or_ids_is_refused() {
    let refused = |declaration: Value| {
        builder().resource("person", model(declaration)).err().map(|error| error.to_string())
    };
    let staff = json!({ "role": "staff" });
    let hidden = json!({ "access": { "read": staff, "create": "everyone" } });
    let error = refused(person(hidden.clone())).unwrap();
    for part in ["person.email", "E_UNIQUE", "reveals: true"] {
        assert!(error.contains(part), "{error}");
    }
    let registration = json!({ "access": { "owner": "userId", "create": "everyone" } });
    assert!(refused(person(registration)).unwrap().contains("reveals: true"));
    let given = json!({ "key": "name", "ids": "client", "access": hidden["access"] });
    let error = refused(given.clone()).unwrap();
    for part in ["person.name", "E_EXISTS", "reveals: true"] {
        assert!(error.contains(part), "{error}");
    }
    let reveals = |mut declaration: Value| {
        declaration["reveals"] = json!(true);
        declaration
    };
    assert_eq!(refused(reveals(person(hidden.clone()))), None);
    assert_eq!(refused(reveals(given)), None);
    assert_eq!(refused(hidden), None);
    assert_eq!(refused(person(json!({ "access": { "read": staff, "create": staff } }))), None);
    assert_eq!(
        refused(person(json!({ "access": { "owner": "userId", "create": "signedIn" } }))),
        None
    );
}

#[test]
fn configuration_that_would_reveal_values_is_an_error_when_the_server_starts() {
    let yaml = "resources:\n  person:\n    attributes: {email: {unique: true}}\n    \
                access: {read: {role: staff}, create: everyone}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    let start = |yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        Config::read(&file).unwrap().apply_to(Settings::default())
    };
    assert!(start(yaml).unwrap_err().to_string().contains("reveals: true"));
    assert!(start(&format!("{yaml}    reveals: true\n")).is_ok());
}

#[tokio::test]
async fn caller_without_access_to_all_records_cannot_choose_ids() {
    let access = json!({ "read": { "role": "staff" }, "create": "everyone" });
    let form = model(json!({ "access": access }));
    let builder = with_sign_in(builder()).resource("form", form).unwrap();
    let open = model(json!({ "access": access, "reveals": true }));
    let server = start(builder.resource("open", open).unwrap()).await;
    let mut staff = signed_in(&server, "eve", &["staff"]).await;
    let mut nobody = Browser::new(&server);
    let given = json!({ "id": "secret" });
    for path in ["/form", "/open"] {
        assert_eq!(write(&mut staff, Method::POST, path, given.clone()).await.0, 201);
        assert_eq!(write(&mut staff, Method::POST, path, given.clone()).await.0, 409);
        assert_eq!(write(&mut nobody, Method::POST, path, json!({})).await.0, 201);
    }
    // The attack: the server answers alike for used and for free ids.
    for id in ["secret", "free"] {
        let refused = write(&mut nobody, Method::POST, "/form", json!({ "id": id })).await;
        assert_eq!((refused.0, &refused.1["code"]), (400, &json!("E_BAD_ID")));
    }
    assert_eq!(write(&mut nobody, Method::POST, "/open", given).await.0, 409);
    server.shutdown().await;
}

#[tokio::test]
async fn unique_values_apply_to_all_records_if_the_resource_reveals_them() {
    let access = json!({ "owner": "userId", "create": "everyone" });
    let person = model(person(json!({ "access": access, "reveals": true })));
    let server = start(with_sign_in(builder()).resource("person", person).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let mail = json!({ "email": "ann@example.com" });
    assert_eq!(write(&mut ann, Method::POST, "/person", mail.clone()).await.0, 201);
    for who in [&mut bob, &mut Browser::new(&server)] {
        let (status, refused) = write(who, Method::POST, "/person", mail.clone()).await;
        assert_eq!((status, &refused["field"]), (409, &json!("email")));
    }
    server.shutdown().await;
}
