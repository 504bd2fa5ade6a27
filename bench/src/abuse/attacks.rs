//! All attacks: on [`reads`], by what [`sockets`] hold and send, by [`connections`], and by what is
//! stored ([`storage`]). Several of them use what is in [`common`].

mod common;
mod connections;
mod reads;
mod sockets;
mod storage;

use crate::attack::Attack;

/// The declared resources of attacks on associations.
const PETS: &str = "
resources:
  user:
    attributes:
      pets: {collection: pet, via: owner}
  pet:
    attributes:
      owner: {model: user}
";

/// In the order of the table.
pub(crate) static ALL: [Attack; 22] = [
    Attack::new(
        "string-operators",
        "search for long texts in long texts that almost match",
        8,
        |target| Box::pin(reads::search(target)),
    )
    .prepared_by(|target| Box::pin(reads::store_texts(target))),
    Attack::new("resume", "resume 4 MB of rooms whose filter matches nothing", 4, |target| {
        Box::pin(sockets::resume(target))
    })
    .prepared_by(|target| Box::pin(storage::store_todos(target, 10_000))),
    Attack::new(
        "distinct-filters",
        "follow 100 filters on each of 100 connections",
        100,
        |target| Box::pin(sockets::follow_filters(target)),
    ),
    Attack::new(
        "destroy-associated",
        "destroy a record with 40,000 associated ones",
        1,
        |target| Box::pin(storage::destroy_associated(target)),
    )
    .with_config(PETS),
    Attack::new("polling-handshakes", "begin sessions that poll, without a CONNECT", 8, |target| {
        Box::pin(connections::begin_polling(target))
    }),
    Attack::new("unread-polls", "request long answers over polling and never poll", 60, |target| {
        Box::pin(connections::request_without_polling(target))
    })
    .prepared_by(|target| Box::pin(storage::store_big(target, 10))),
    Attack::new("populate", "have a record of 900 KB filled in 300 times", 4, |target| {
        Box::pin(reads::get(target, "/pet?populate=owner".to_owned()))
    })
    .with_config(PETS)
    .prepared_by(|target| Box::pin(storage::store_pets_of_big_user(target))),
    Attack::new("sort", "sort 10,000 records by 512 terms", 4, |target| {
        Box::pin(reads::get(target, format!("/todo?sort={}", vec!["title"; 512].join(","))))
    })
    .prepared_by(|target| Box::pin(storage::store_todos(target, 10_000))),
    Attack::new("unbounded-list", "read a list of 143 MB", 4, |target| {
        Box::pin(reads::get(target, "/big".to_owned()))
    })
    .prepared_by(|target| Box::pin(storage::store_big(target, 159))),
    Attack::new(
        "long-subscriptions",
        "follow 10,000 filters of 2 KB on one connection",
        4,
        |target| Box::pin(sockets::follow_long_filters(target)),
    ),
    Attack::new(
        "instance-rooms",
        "join the rooms of 10,000 records as a stock client",
        20,
        |target| Box::pin(sockets::join_instance_rooms(target)),
    )
    .prepared_by(|target| Box::pin(storage::store_todos(target, 10_000))),
    Attack::new("unread-pushes", "follow large records, and read no push", 50, |target| {
        Box::pin(sockets::leave_pushes_unread(target))
    }),
    Attack::new(
        "large-writes",
        "send 16 writes of 1 MB at once on each of 40 connections",
        40,
        |target| Box::pin(sockets::send_large_writes(target)),
    ),
    Attack::new(
        "silent-sockets",
        "connect and send nothing, to a server with 128 descriptors",
        200,
        |target| Box::pin(connections::be_silent(target)),
    )
    .with_descriptors(128),
    Attack::new("half-headers", "send half of the header of a request", 500, |target| {
        Box::pin(connections::send_half_header(target))
    }),
    Attack::new("half-bodies", "send half of the body of a request", 500, |target| {
        Box::pin(connections::send_half_body(target))
    }),
    Attack::new(
        "held-input",
        "send nearly all of 8 KB of headers and of a body of 8 KB",
        4_000,
        |target| Box::pin(connections::hold_input(target)),
    ),
    Attack::new(
        "stock-followers",
        "follow a resource as 1,000 stock clients that all write to it",
        1_000,
        |target| Box::pin(sockets::follow_and_write(target)),
    )
    .prepared_by(|target| Box::pin(storage::store_junk(target))),
    Attack::new("slow-readers", "read an answer of 9 MB with 4 KB each second", 100, |target| {
        Box::pin(connections::read_slowly(target))
    })
    .prepared_by(|target| Box::pin(storage::store_big(target, 10))),
    Attack::new("idle-sockets", "connect without end, and keep the connections", 2_000, |target| {
        Box::pin(sockets::be_idle(target))
    }),
    Attack::new(
        "undeclared-resources",
        "write to resources that nobody has declared",
        8,
        |target| Box::pin(storage::write_undeclared(target)),
    ),
    Attack::new("sessions", "request pages without a cookie, each in a new session", 8, |target| {
        Box::pin(storage::begin_session(target))
    }),
];
