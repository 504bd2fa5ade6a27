//! A session: `GET /visits` counts the visits of a browser, over HTTP and over its sockets.
//! `DELETE /visits` begins again at zero. With curl: `curl -c jar -b jar localhost:1337/visits`.

use std::io;

use axum::Json;
use axum::routing::get;
use backwire::error::Result;
use backwire::server::Builder;
use backwire::{Server, Session};
use serde::Serialize;

#[derive(Serialize)]
struct Visits {
    visits: u64,
}

async fn count(session: Session) -> Result<Json<Visits>> {
    let visits = session.get("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    Ok(Json(Visits { visits }))
}

async fn forget(session: Session) {
    session.clear();
}

pub(crate) fn routes(server: Builder) -> Builder {
    server.route("/visits", get(count).delete(forget))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).bind().await?;
    println!("{}/visits", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
