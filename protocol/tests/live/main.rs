//! Facts about live queries: named ones for each rule, and random schedules against a model.

mod criteria;
mod order;
mod page;
mod queries;
mod reading;
mod records;
mod results;
mod schedules;
mod server;
mod shim;
mod support;
