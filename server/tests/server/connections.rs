//! TCP connections, and when the server closes them.

mod deadlines;
mod numbers;
mod raw;
mod sessions;
mod transports;
mod violations;
