//! Random actions of people, in any order.

use std::collections::BTreeMap;

use backwire::Server;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::json;

use super::{serve, sign_in, signed_in, status, wait_for_pushes, write};
use crate::browser::Browser;
use crate::client::Socket;

const PEOPLE: [&str; 3] = ["ann", "bob", "cyd"];

#[derive(Debug, Clone)]
enum Step {
    Create(&'static str),
    Touch(usize),
    Give(usize, &'static str),
    Destroy(usize),
    Leave(&'static str),
    Return(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = || select(PEOPLE.to_vec());
    let step = prop_oneof![
        3 => person().prop_map(Step::Create),
        3 => (0..8usize).prop_map(Step::Touch),
        3 => (0..8usize, person()).prop_map(|(note, to)| Step::Give(note, to)),
        1 => (0..8usize).prop_map(Step::Destroy),
        1 => person().prop_map(Step::Leave),
        2 => person().prop_map(Step::Return),
    ];
    prop::collection::vec(step, 1..24)
}

/// A person with a page of each kind that has read everything in every way.
struct Person {
    browser: Browser,
    /// Includes notes that have no owner since their person left and returned.
    sockets: Vec<Socket>,
}

impl Person {
    async fn new(server: &Server, name: &str) -> Self {
        let browser = signed_in(server, name, &[]).await;
        let mut sockets = vec![browser.runtime(server).await, browser.socket(server).await];
        for socket in &mut sockets {
            Self::read(socket, "").await;
        }
        Self { browser, sockets }
    }

    async fn read(socket: &mut Socket, id: &str) {
        for path in ["/note", "/note?open=true", "/note?limit=2&sort=text", &format!("/note/{id}")]
        {
            socket.get(path).await;
        }
    }
}

/// Every text contains the name of its owner, and changes with the owner. So the server must not
/// have sent a frame with the name of another person.
async fn check_frames(steps: Vec<Step>) {
    let server = serve().await;
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    let mut people = BTreeMap::new();
    for name in PEOPLE {
        people.insert(name, Person::new(&server, name).await);
    }
    let mut notes: Vec<(String, &str)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let of = |name: &str| json!({ "userId": name, "text": format!("of {name} {number}"), "open": number % 2 == 0 });
        let chosen = |note: usize| (note % notes.len().max(1)).min(notes.len());
        match step {
            Step::Create(name) => {
                let (status, note) = write(&mut editor, Method::POST, "/note", of(name)).await;
                assert_eq!(status, 201);
                notes.push((note["id"].as_str().unwrap().to_owned(), name));
            }
            Step::Leave(name) => {
                let person = people.get_mut(name).unwrap();
                person.browser.send(Method::DELETE, "/sign-in", None).await;
            }
            Step::Return(name) => {
                let person = people.get_mut(name).unwrap();
                sign_in(&mut person.browser, name, &[]).await;
                person.sockets.push(person.browser.runtime(&server).await);
                person.sockets.push(person.browser.socket(&server).await);
                let any = notes.get(number % notes.len().max(1)).map_or("", |(id, _)| id);
                for socket in &mut person.sockets {
                    Person::read(socket, any).await;
                }
            }
            Step::Touch(note) | Step::Give(note, _) | Step::Destroy(note) if notes.is_empty() => {
                let _ = note;
            }
            Step::Touch(note) => {
                let (id, name) = &notes[chosen(note)];
                write(&mut editor, Method::PUT, &format!("/note/{id}"), of(name)).await;
            }
            Step::Give(note, to) => {
                let note = chosen(note);
                notes[note].1 = to;
                write(&mut editor, Method::PUT, &format!("/note/{}", notes[note].0), of(to)).await;
            }
            Step::Destroy(note) => {
                let (id, _) = notes.swap_remove(chosen(note));
                assert_eq!(status(&mut editor, Method::DELETE, &format!("/note/{id}")).await, 200);
            }
        }
    }
    wait_for_pushes(&server).await;
    for (name, person) in &mut people {
        for socket in &mut person.sockets {
            for frame in socket.pushes().await {
                let others = PEOPLE.iter().filter(|other| *other != name);
                for other in others {
                    assert!(!frame.contains(&format!("of {other}")), "{name} received {frame}");
                }
            }
        }
    }
    server.shutdown().await;
}

#[test]
fn no_frame_contains_records_of_another_person() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let result = runner.run(&steps(), |steps| {
        runtime.block_on(check_frames(steps));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
