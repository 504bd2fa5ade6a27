//! Two people edit one list at servers that share a Redis. Each person goes offline and comes back,
//! and the server under each of them is killed.
//!
//! The edits are random. `BACKWIRE_SEED` repeats those of a former run.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use backwire_tests::{Server, Stage, Window};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::redis_server::RedisServer;

const SERVERS: u8 = 3;
const ROUNDS: usize = 3;

/// How long a write may take.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The edits of each person in each part of a round.
const EDITS: usize = 4;

/// Returns the row of a todo, whatever its title has become.
const ROW: &str = "const row = name => [...document.querySelectorAll('[data-testid=todo]')].find(\
    it => it.querySelector('[data-testid=title]').textContent.split(' ')[0] === name);";

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_two_people_are_kept_once_while_the_servers_under_them_are_killed() {
    let seed = env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().expect("it is a number"));
    let seed: u64 = seed.unwrap_or_else(rand::random);
    // The output is shown if the test fails.
    println!("BACKWIRE_SEED={seed}");
    let redis = RedisServer::start(&["--save", ""]);
    let mut servers = (1..=SERVERS).map(|number| Server::sharing(&redis.url(), number));
    let first = servers.next().expect("there are several");
    let stage = Stage::over(first, servers.collect());
    let (a, b) = stage.two_windows().await;
    assert_ne!(a.line.live_server(), b.line.live_server());
    let random = StdRng::seed_from_u64(seed);
    let mut story = Story { stage, windows: [a, b], todos: BTreeMap::new(), next: 0, random };
    for _ in 0..ROUNDS {
        story.round().await;
    }
    let fresh = story.stage.window().await;
    fresh.shows_all(&story.expected()).await;
    for window in &story.windows {
        window.was_consistent().await;
    }
}

/// A todo that must be on every page in the end. Its name is the first word of its title.
#[derive(Debug)]
struct Todo {
    title: String,
    is_completed: bool,
    /// The person who created it, and who alone renames it.
    author: usize,
    /// Whether the other person toggles it. If not, the author toggles it and may delete it.
    is_shared: bool,
}

struct Story {
    stage: Stage,
    windows: [Window; 2],
    todos: BTreeMap<String, Todo>,
    /// The number of the next todo or title.
    next: usize,
    random: StdRng,
}

#[derive(Debug, Deserialize, PartialEq, PartialOrd)]
struct Record {
    title: String,
    completed: bool,
}

impl Story {
    /// One person goes offline. The server of the other one is killed, and after the first has come
    /// back, that of the first. Both edit all the time.
    async fn round(&mut self) {
        let away = self.random.random_range(0..2);
        let other = 1 - away;
        self.edit(&[away, other]).await;
        let is_cut = self.random.random();
        self.leave(away, is_cut).await;
        self.edit(&[away, other]).await;
        let mut killed = vec![match self.random.random() {
            true => self.kill_before_the_answer(other).await,
            false => self.kill(other),
        }];
        self.edit(&[away, other]).await;
        self.come_back(away, is_cut).await;
        self.windows[other].is("online").await;
        if self.random.random() {
            self.edit(&[away, other]).await;
        }
        killed.push(self.kill(away));
        self.edit(&[away, other]).await;
        self.is_everywhere(&killed).await;
        self.start_again(&killed);
        self.is_everywhere(&[]).await;
    }

    async fn leave(&self, person: usize, is_cut: bool) {
        let window = &self.windows[person];
        match is_cut {
            true => window.line.cut(),
            false => window.toggle_connection().await,
        }
        window.is("connecting or offline").await;
    }

    async fn come_back(&self, person: usize, is_cut: bool) {
        let window = &self.windows[person];
        match is_cut {
            true => window.line.repair(),
            false => window.toggle_connection().await,
        }
        window.is("online").await;
    }

    /// Kills the server under a person.
    fn kill(&mut self, person: usize) -> SocketAddr {
        let address = self.windows[person].line.live_server();
        self.stage.server_at(address).kill();
        address
    }

    /// Does the same after a todo was added there, and before the page knows that.
    async fn kill_before_the_answer(&mut self, person: usize) -> SocketAddr {
        self.windows[person].is_saved().await;
        self.windows[person].line.hold_responses();
        let title = self.add(person).await;
        let address = self.windows[person].line.live_server();
        let is_committed =
            async { while !records(address).await.iter().any(|it| it.title == title) {} };
        timeout(COMMIT_TIMEOUT, is_committed).await.expect("the server commits the todo");
        self.windows[person].line.cut();
        self.kill(person);
        self.windows[person].is("connecting or offline").await;
        self.windows[person].line.repair();
        address
    }

    /// Starts killed servers again, at their addresses.
    fn start_again(&mut self, killed: &[SocketAddr]) {
        // A server waits for its number, so all start at the same time.
        let stopped = self.stage.servers_mut().filter(|it| killed.contains(&it.address()));
        thread::scope(|scope| {
            for server in stopped {
                scope.spawn(|| server.start_again());
            }
        });
    }

    /// Waits until all edits are on both pages, and reads them from each server that runs.
    async fn is_everywhere(&self, killed: &[SocketAddr]) {
        let expected = self.expected();
        for window in &self.windows {
            window.is("online").await;
            window.shows_all(&expected).await;
            window.is_saved().await;
        }
        for address in self.stage.servers().map(Server::address) {
            if !killed.contains(&address) {
                let mut shown: Vec<_> = records(address).await.iter().map(Record::shown).collect();
                shown.sort_unstable();
                assert_eq!(shown, expected, "the server {address}");
            }
        }
    }

    /// Returns all todos as pages show them, in order.
    fn expected(&self) -> Vec<String> {
        let mut shown: Vec<_> =
            self.todos.values().map(|it| shown(&it.title, it.is_completed)).collect();
        shown.sort_unstable();
        shown
    }

    /// The persons edit in turn.
    async fn edit(&mut self, persons: &[usize]) {
        for _ in 0..EDITS {
            for &person in persons {
                match self.random.random_range(0..6) {
                    0 | 1 => drop(self.add(person).await),
                    2 => self.rename(person).await,
                    3 => self.delete(person).await,
                    _ => self.toggle(person).await,
                }
            }
        }
    }

    async fn add(&mut self, author: usize) -> String {
        self.next += 1;
        let name = format!("{}{}", ["a", "b"][author], self.next);
        let title = format!("{name} new");
        self.windows[author].add(&title).await;
        let is_shared = self.random.random();
        let todo = Todo { title: title.clone(), is_completed: false, author, is_shared };
        self.todos.insert(name, todo);
        title
    }

    /// Renames as the keyboard does: a press of the title opens its editor.
    async fn rename(&mut self, person: usize) {
        let Some(name) = self.pick(|todo| todo.author == person) else { return };
        self.next += 1;
        let title = format!("{name} renamed {}", self.next);
        let edit = format!(
            "row.querySelector('[data-testid=title]').click();
             const input = row.querySelector('[data-testid=edit]');
             input.value = {};
             const enter = {{key: 'Enter', bubbles: true, cancelable: true}};
             input.dispatchEvent(new KeyboardEvent('keydown', enter));",
            json!(title)
        );
        assert!(self.on_row(person, &name, &edit).await, "{name} is on the page of its author");
        self.todo(&name).title = title;
    }

    async fn delete(&mut self, person: usize) {
        let is_own = |todo: &Todo| todo.author == person && !todo.is_shared;
        let Some(name) = self.pick(is_own) else { return };
        let click = "row.querySelector('[data-testid=destroy]').click()";
        assert!(self.on_row(person, &name, click).await, "{name} is on the page of its author");
        self.todos.remove(&name);
    }

    /// Toggles a todo, if the page has it already.
    async fn toggle(&mut self, person: usize) {
        let toggles = |todo: &Todo| (todo.author == person) != todo.is_shared;
        let Some(name) = self.pick(toggles) else { return };
        let click = "row.querySelector('[data-testid=toggle]').click()";
        if self.on_row(person, &name, click).await {
            let todo = self.todo(&name);
            todo.is_completed = !todo.is_completed;
        }
    }

    fn pick(&mut self, is_one: impl Fn(&Todo) -> bool) -> Option<String> {
        let names: Vec<_> =
            self.todos.iter().filter(|(_, it)| is_one(it)).map(|(name, _)| name).collect();
        let number = self.random.random_range(0..names.len().max(1));
        names.get(number).map(|name| (*name).clone())
    }

    fn todo(&mut self, name: &str) -> &mut Todo {
        self.todos.get_mut(name).expect("it was picked")
    }

    /// Runs a statement with the row of a todo. Returns `false` if the page does not have it.
    async fn on_row(&self, person: usize, name: &str, statement: &str) -> bool {
        let script = format!(
            "(() => {{ {ROW} return (row => {{ if (row) {{ {statement} }} return Boolean(row); }})(row({})); }})()",
            json!(name)
        );
        self.windows[person].page.value(&script).await == json!(true)
    }
}

impl Record {
    fn shown(&self) -> String {
        shown(&self.title, self.completed)
    }
}

fn shown(title: &str, is_completed: bool) -> String {
    format!("[{}] {title}", if is_completed { 'x' } else { ' ' })
}

/// Reads all todos from a server.
async fn records(server: SocketAddr) -> Vec<Record> {
    let answer = reqwest::get(format!("http://{server}/todo?limit=1000")).await;
    let answer = answer.expect("the server answers").text().await.expect("the answer has an end");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
