//! The site whose users receive messages: its back end, which authenticates them, and its entry in
//! sites.yml.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Its name, which is also that of its namespace.
pub(super) const NAME: &str = "bench";
pub(super) const API_KEY: &str = "54321";

/// The back end. It runs as long as this is kept.
pub(super) struct Site {
    address: String,
    serving: JoinHandle<()>,
}

impl Site {
    pub(super) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let app = Router::new().route("/rooms", get(rooms));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the back end of the site failed: {error}");
            }
        });
        Ok(Self { address, serving })
    }

    /// Writes the file with this site in it.
    pub(super) fn describe(&self, folder: &Path) -> Result<PathBuf> {
        let file = folder.join("sites.yml");
        let address = &self.address;
        let text = format!(
            "{NAME}:\n  authUrl: http://{address}/rooms\n  apiKey: {API_KEY}\n  userRoomPrefix: user_\n"
        );
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(file)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The token is the number of the user.
async fn rooms(headers: HeaderMap) -> Json<Vec<String>> {
    let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer "));
    Json(token.map(|token| format!("user_{token}")).into_iter().collect())
}
