//! Facts about live queries: named ones for each rule, and random schedules against a model.

mod order;
mod queries;
mod results;
mod support;
