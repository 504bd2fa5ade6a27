//! Tests of live queries: named tests for each rule, and random schedules against a model.

mod criteria;
#[path = "../shared/json.rs"]
mod json;
mod order;
mod page;
mod pushes;
mod queries;
mod reading;
mod records;
mod results;
mod schedules;
mod server;
mod shim;
mod support;
