//! What the end-to-end stories of Backwire need: real browsers, a real server, bad lines.
//!
//! A [`Stage`] has a server and as many [`Window`]s as the story asks for. Each window is a browser
//! with a profile of its own, and loads the demo through a line of its own, which the story may cut
//! or freeze. Nothing is simulated and nothing sleeps: every wait is for something that the page
//! shows, with a deadline, and whoever waits in vain is told what the page showed instead.
//!
//! Everything here panics when it fails: to a story a browser that does not start and a todo that
//! does not appear are the same bad news.
//!
//! In reading order:
//!
//! - [`stage`]: a server, a browser, and the windows of a story;
//! - [`todos`]: the demo as a person sees and uses it;
//! - [`scripted`]: stories that are written in JavaScript and run in the page;
//! - [`page`]: any page, what is asked of it and waited for;
//! - [`documentation`]: the code that pages of the documentation show;
//! - [`browser`]: Chromium and its driver;
//! - [`proxy`]: the line between a browser and the server;
//! - [`server`]: the server's program, with its pages and its database;
//! - [`process`]: a program that runs beside a story;
//! - [`places`]: where the programs are.

pub mod scripted;
pub mod stage;
pub mod todos;

pub mod page;

pub mod documentation;

pub mod browser;
pub mod proxy;
pub mod server;

pub mod process;

pub mod places;

pub use browser::{Browser, Device};
pub use page::Page;
pub use proxy::Proxy;
pub use server::{Server, Site};
pub use stage::Stage;
pub use todos::Window;
