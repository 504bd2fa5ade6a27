//! Random operations on associations. The server, and a client that has received all pushes since
//! the start, have the same members as a model that is a plain list of pairs.

use std::collections::{BTreeMap, BTreeSet};

use backwire::Server;
use backwire::model::{Attribute, Model};
use backwire::settings::Store;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::client::{Socket, builder, start};

/// The ids that operations use: a few more than exist at first.
const IDS: std::ops::Range<i64> = 1..6;

/// The number of records of each resource at first.
const FIRST: i64 = 3;

#[derive(Debug, Clone)]
enum Operation {
    AddPet(i64, i64),
    RemovePet(i64, i64),
    ReplacePets(i64, BTreeSet<i64>),
    SetOwner(i64, Option<i64>),
    PostPet(i64),
    /// From the side of the team (`true`) or of the member.
    AddMember(bool, i64, i64),
    RemoveMember(bool, i64, i64),
    ReplaceMembers(bool, i64, BTreeSet<i64>),
    PostMember(i64),
    Destroy(&'static str, i64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let (id, ids) = (|| IDS, || btree_set(1..4_i64, 0..4));
    prop_oneof![
        3 => (id(), id()).prop_map(|(user, pet)| Operation::AddPet(user, pet)),
        2 => (id(), id()).prop_map(|(user, pet)| Operation::RemovePet(user, pet)),
        2 => (id(), ids()).prop_map(|(user, pets)| Operation::ReplacePets(user, pets)),
        2 => (id(), proptest::option::of(id())).prop_map(|(pet, user)| Operation::SetOwner(pet, user)),
        1 => id().prop_map(Operation::PostPet),
        3 => (any::<bool>(), id(), id()).prop_map(|(side, a, b)| Operation::AddMember(side, a, b)),
        2 => (any::<bool>(), id(), id()).prop_map(|(side, a, b)| Operation::RemoveMember(side, a, b)),
        2 => (any::<bool>(), id(), ids()).prop_map(|(side, a, b)| Operation::ReplaceMembers(side, a, b)),
        1 => id().prop_map(Operation::PostMember),
        2 => (prop::sample::select(vec!["user", "pet", "team"]), id())
            .prop_map(|(of, id)| Operation::Destroy(of, id)),
    ]
}

/// The model.
#[derive(Debug, Clone, PartialEq, Default)]
struct World {
    users: BTreeSet<i64>,
    teams: BTreeSet<i64>,
    /// The owner of each pet.
    pets: BTreeMap<i64, Option<i64>>,
    /// Pairs of a team and a user.
    members: BTreeSet<(i64, i64)>,
    made: BTreeMap<&'static str, i64>,
}

impl World {
    fn new() -> Self {
        Self {
            users: (1..=FIRST).collect(),
            teams: (1..=FIRST).collect(),
            pets: (1..=FIRST).map(|pet| (pet, None)).collect(),
            members: BTreeSet::new(),
            made: ["user", "pet", "team"].map(|of| (of, FIRST)).into(),
        }
    }

    fn make(&mut self, of: &'static str) -> i64 {
        let made = self.made.get_mut(of).unwrap();
        *made += 1;
        *made
    }

    /// Applies an operation, if all records that it names exist. Returns whether it did.
    fn apply(&mut self, operation: &Operation) -> bool {
        let (users, teams, pets) = (&self.users, &self.teams, &self.pets);
        let pair = |of_team: bool, a, b| if of_team { (a, b) } else { (b, a) };
        let sides = |of_team: bool| if of_team { (teams, users) } else { (users, teams) };
        match operation {
            Operation::AddPet(user, pet) if users.contains(user) && pets.contains_key(pet) => {
                self.pets.insert(*pet, Some(*user));
            }
            Operation::RemovePet(user, pet) if users.contains(user) && pets.contains_key(pet) => {
                if pets[pet] == Some(*user) {
                    self.pets.insert(*pet, None);
                }
            }
            Operation::ReplacePets(user, wanted)
                if users.contains(user) && wanted.iter().all(|pet| pets.contains_key(pet)) =>
            {
                for (pet, owner) in &mut self.pets {
                    if wanted.contains(pet) {
                        *owner = Some(*user);
                    } else if *owner == Some(*user) {
                        *owner = None;
                    }
                }
            }
            Operation::SetOwner(pet, user) if pets.contains_key(pet) => {
                self.pets.insert(*pet, *user);
            }
            Operation::PostPet(user) if users.contains(user) => {
                let pet = self.make("pet");
                self.pets.insert(pet, Some(*user));
            }
            Operation::AddMember(of_team, a, b)
                if sides(*of_team).0.contains(a) && sides(*of_team).1.contains(b) =>
            {
                self.members.insert(pair(*of_team, *a, *b));
            }
            Operation::RemoveMember(of_team, a, b)
                if sides(*of_team).0.contains(a) && sides(*of_team).1.contains(b) =>
            {
                self.members.remove(&pair(*of_team, *a, *b));
            }
            Operation::ReplaceMembers(of_team, a, wanted)
                if sides(*of_team).0.contains(a) && wanted.is_subset(sides(*of_team).1) =>
            {
                let is_of_a = |it: &(i64, i64)| *a == if *of_team { it.0 } else { it.1 };
                self.members.retain(|it| !is_of_a(it));
                self.members.extend(wanted.iter().map(|b| pair(*of_team, *a, *b)));
            }
            Operation::PostMember(team) if teams.contains(team) => {
                let user = self.make("user");
                self.users.insert(user);
                self.members.insert((*team, user));
            }
            Operation::Destroy("user", id) if users.contains(id) => {
                self.users.remove(id);
                self.members.retain(|(_, user)| user != id);
                self.pets.values_mut().filter(|it| **it == Some(*id)).for_each(|it| *it = None);
            }
            Operation::Destroy("team", id) if teams.contains(id) => {
                self.teams.remove(id);
                self.members.retain(|(team, _)| team != id);
            }
            Operation::Destroy("pet", id) if pets.contains_key(id) => {
                self.pets.remove(id);
            }
            _ => return false,
        }
        true
    }

    /// Returns all non-empty collections, with names such as `user 1 pets`.
    fn collections(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let mut all: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        let mut put = |name: String, id: i64| {
            all.entry(name).or_default().insert(id);
        };
        for (pet, owner) in &self.pets {
            owner.iter().for_each(|owner| put(format!("user {owner} pets"), *pet));
        }
        for (team, user) in &self.members {
            put(format!("team {team} members"), *user);
            put(format!("user {user} teams"), *team);
        }
        all
    }
}

fn request(operation: &Operation) -> (Method, String, Value) {
    let side = |of_team: bool, id: &i64| match of_team {
        true => format!("/team/{id}/members"),
        false => format!("/user/{id}/teams"),
    };
    match operation {
        Operation::AddPet(user, pet) => {
            (Method::PUT, format!("/user/{user}/pets/{pet}"), Value::Null)
        }
        Operation::RemovePet(user, pet) => {
            (Method::DELETE, format!("/user/{user}/pets/{pet}"), Value::Null)
        }
        Operation::ReplacePets(user, pets) => {
            (Method::PUT, format!("/user/{user}/pets"), json!(pets))
        }
        Operation::SetOwner(pet, user) => {
            (Method::PATCH, format!("/pet/{pet}"), json!({ "owner": user }))
        }
        Operation::PostPet(user) => (Method::POST, format!("/user/{user}/pets"), json!({ "a": 1 })),
        Operation::AddMember(of_team, a, b) => {
            (Method::PUT, format!("{}/{b}", side(*of_team, a)), Value::Null)
        }
        Operation::RemoveMember(of_team, a, b) => {
            (Method::DELETE, format!("{}/{b}", side(*of_team, a)), Value::Null)
        }
        Operation::ReplaceMembers(of_team, a, ids) => (Method::PUT, side(*of_team, a), json!(ids)),
        Operation::PostMember(team) => {
            (Method::POST, format!("/team/{team}/members"), json!({ "a": 1 }))
        }
        Operation::Destroy(of, id) => (Method::DELETE, format!("/{of}/{id}"), Value::Null),
    }
}

struct Run {
    server: Server,
    http: Client,
    world: World,
    /// A client that has been subscribed since the start.
    listener: Socket,
    received: BTreeMap<String, BTreeSet<i64>>,
}

impl Run {
    async fn new(store: Store) -> Self {
        let many = |of: &str, via: &str| Attribute::collection(of, via);
        let user = Model::default();
        let user = user.attribute("pets", many("pet", "owner"));
        let user = user.attribute("teams", many("team", "members"));
        let pet = Model::default().attribute("owner", Attribute::model("user"));
        let team = Model::default().attribute("members", many("user", "teams"));
        let builder = builder().store(store).resource("user", user).unwrap();
        let builder = builder.resource("pet", pet).unwrap().resource("team", team).unwrap();
        let server = start(builder).await;
        let listener = Socket::stock(&server).await;
        let (http, world) = (Client::new(), World::new());
        let mut run = Self { server, http, world, listener, received: BTreeMap::new() };
        for of in ["user", "pet", "team"] {
            run.listener.get(&format!("/{of}")).await;
            let some = vec![json!({ "a": 1 }); FIRST as usize];
            run.ask(Method::POST, &format!("/{of}"), some.into()).await;
        }
        run
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.server.addr());
        let request = self.http.request(method, url);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn apply(&mut self, operation: &Operation) {
        if matches!(operation, Operation::SetOwner(_, Some(user)) if !self.world.users.contains(user))
        {
            // The server does not check whether the owner exists, so it would push nothing to its
            // collection.
            return;
        }
        let is_possible = self.world.apply(operation);
        let (method, path, body) = request(operation);
        let (status, answer) = self.ask(method, &path, body).await;
        assert_eq!(status < 300, is_possible, "{operation:?}: {answer}");
        assert!(is_possible || status == 404, "{operation:?}: {answer}");
        self.listen().await;
    }

    /// Applies the received membership changes.
    async fn listen(&mut self) {
        for frame in self.listener.pushes().await {
            let (resource, news): (String, Value) = serde_json::from_str(&frame[2..]).unwrap();
            let name =
                || format!("{resource} {} {}", news["id"], news["attribute"].as_str().unwrap());
            match news["verb"].as_str().unwrap() {
                "addedTo" => {
                    let collection = self.received.entry(name()).or_default();
                    assert!(collection.insert(news["addedId"].as_i64().unwrap()), "{news}");
                }
                "removedFrom" => {
                    let collection = self.received.get_mut(&name()).unwrap();
                    assert!(collection.remove(&news["removedId"].as_i64().unwrap()), "{news}");
                }
                "destroyed" => {
                    let of = format!("{resource} {} ", news["id"]);
                    self.received.retain(|name, _| !name.starts_with(&of));
                }
                _ => {}
            }
        }
    }

    /// Reads all non-empty collections in two ways, and checks that both agree.
    async fn read(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let mut all = BTreeMap::new();
        for (of, attribute) in [("user", "pets"), ("user", "teams"), ("team", "members")] {
            let url = format!("/{of}?populate={attribute}");
            for record in self.ask(Method::GET, &url, Value::Null).await.1.as_array().unwrap() {
                let members = ids(&record[attribute]);
                let path = format!("/{of}/{}/{attribute}", record["id"]);
                assert_eq!(ids(&self.ask(Method::GET, &path, Value::Null).await.1), members);
                if !members.is_empty() {
                    all.insert(format!("{of} {} {attribute}", record["id"]), members);
                }
            }
        }
        all
    }

    async fn check(&mut self) {
        let there = self.world.collections();
        assert_eq!(self.read().await, there);
        // The changes of a cascade may be pushed after the answer to the destroy.
        for _ in 0..1_000 {
            self.received.retain(|_, members| !members.is_empty());
            if self.received == there {
                break;
            }
            self.listen().await;
        }
        assert_eq!(self.received, there);
    }
}

fn ids(records: &Value) -> BTreeSet<i64> {
    records.as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect()
}

fn run(store: Store, operations: &[Operation]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(store).await;
        for operation in operations {
            run.apply(operation).await;
        }
        run.check().await;
        run.server.shutdown().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn associations_in_memory_equal_the_model(
        operations in vec(operation(), 1..30)
    ) {
        run(Store::Memory, &operations);
    }

    #[test]
    fn associations_in_sqlite_equal_the_model(
        operations in vec(operation(), 1..30)
    ) {
        let folder = tempfile::tempdir().unwrap();
        run(Store::Sqlite(folder.path().join("backwire.db")), &operations);
    }
}
