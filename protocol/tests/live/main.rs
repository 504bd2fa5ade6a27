//! Facts about live queries: named ones for each rule, and random schedules against a model.

mod order;
mod page;
mod queries;
mod results;
mod schedules;
mod server;
mod support;
