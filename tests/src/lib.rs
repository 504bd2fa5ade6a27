//! The support code of Backwire's end-to-end stories: real browsers, a real server, and unreliable
//! connections.
//!
//! A [`Stage`] has a server and as many [`Window`]s as the story needs. Each window is a browser
//! with its own profile. It loads the demo through its own proxy (a *line*), which the story may
//! cut or freeze. Nothing is simulated and nothing sleeps: every wait is for something that the
//! page shows, with a deadline. A failed wait reports what the page showed instead.
//!
//! Everything here panics when it fails, because any failure fails the story.
//!
//! In reading order:
//!
//! - [`stage`]: a server, a browser, and the windows of a story;
//! - [`todos`]: the demo as a person sees and uses it;
//! - [`scripted`]: stories that are written in JavaScript and run in the page;
//! - [`page`]: any page, with expressions and waits;
//! - [`documentation`]: the code that pages of the documentation show;
//! - [`browser`]: Chromium and its driver, and [`firefox`];
//! - [`proxy`]: the line between a browser and the server;
//! - [`server`]: the server's program, with its pages and its database;
//! - [`process`]: a program that runs during a story;
//! - [`paths`]: the paths of the programs.

pub mod scripted;
pub mod stage;
pub mod todos;

pub mod page;

pub mod documentation;

pub mod browser;
pub mod firefox;
pub mod proxy;
pub mod server;

pub mod process;

pub mod paths;

pub use browser::{Browser, Device};
pub use page::Page;
pub use proxy::{Proxy, WebSockets};
pub use server::{Server, Site};
pub use stage::Stage;
pub use todos::Window;
