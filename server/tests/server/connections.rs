//! TCP connections: who may end them, and when.

mod deadlines;
mod numbers;
mod raw;
mod sessions;
mod transports;
mod violations;
