//! Associations with an engine that counts its calls and fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use backwire::Server;
use backwire::change::Resource;
use backwire::engine::Error;
use backwire::model::{Attribute, Model};
use serde_json::{Value, json};

use crate::client::{Socket, builder, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

#[derive(Default)]
struct Watch {
    /// Reads of lists.
    finds: AtomicUsize,
    /// Whether writes to pets fail.
    fails: AtomicBool,
}

impl Watch {
    fn fails_at(&self, resource: &Resource) -> bool {
        self.fails.load(Ordering::SeqCst) && resource.as_str() == "pet"
    }
}

#[async_trait]
impl Interceptor for Watch {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        match call {
            Call::Find => drop(self.finds.fetch_add(1, Ordering::SeqCst)),
            Call::Commit(resource) if self.fails_at(resource) => {
                return Err(Error::Unavailable("the disk is full".to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Twelve users with a pet each, all in one team.
async fn server() -> (Server, Socket, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let user = Model::default()
        .attribute("pets", Attribute::collection("pet", "owner"))
        .attribute("teams", Attribute::collection("team", "members"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let team = Model::default().attribute("members", Attribute::collection("user", "teams"));
    let builder = builder().engine(intercepted_by(&watch)).resource("user", user).unwrap();
    let builder = builder.resource("pet", pet).unwrap().resource("team", team).unwrap();
    let server = start(builder).await;
    let mut socket = Socket::runtime(&server).await;
    socket.post("/user", vec![json!({}); 12].into()).await;
    socket.post("/pet", (1..=12).map(|owner| json!({ "owner": owner })).collect()).await;
    socket.post("/team", json!({})).await;
    socket.put("/team/1/members", (1..=12).collect()).await;
    (server, socket, watch)
}

#[tokio::test]
async fn populate_uses_a_constant_number_of_reads() {
    let (server, mut socket, watch) = server().await;
    for (url, finds) in [
        ("/user", 1),
        ("/user?populate=pets", 2),
        ("/pet?populate=owner", 2),
        ("/user?populate=teams", 3),
        ("/user?populate=pets,teams", 4),
        // A record with its pets has kind part, so the server also finds the record by its id.
        ("/user/1?populate=pets", 2),
    ] {
        watch.finds.store(0, Ordering::SeqCst);
        let answer = socket.get(url).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(watch.finds.load(Ordering::SeqCst), finds, "{url}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn references_to_a_destroyed_record_are_removed_when_the_engine_works_again() {
    let (server, mut socket, watch) = server().await;
    let mut follower = Socket::runtime(&server).await;
    follower.get("/pet").await;
    watch.fails.store(true, Ordering::SeqCst);
    assert_eq!(socket.delete("/user/1").await["statusCode"], 200);
    // Reads see what is still to be done as done.
    assert_eq!(socket.get("/user/1").await["statusCode"], 404);
    assert_eq!(socket.get("/pet/1").await["body"]["owner"], Value::Null);
    assert_eq!(socket.get("/pet/1?populate=owner").await["body"]["owner"], Value::Null);
    watch.fails.store(false, Ordering::SeqCst);
    let push = follower.event().await;
    assert_eq!(push[4][0][2], 1);
    assert_eq!(push[4][0][3]["owner"], Value::Null);
    assert_eq!(socket.get("/pet/1").await["body"]["owner"], Value::Null);
    assert_eq!(socket.get("/team/1/members").await["body"].as_array().unwrap().len(), 11);
    server.shutdown().await;
}
