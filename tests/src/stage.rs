//! A server, a browser, and the windows of a story.

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::server::Server;
use crate::todos::Window;

/// Where a story is played: a server with an empty list, and windows on it.
#[derive(Debug)]
pub struct Stage {
    /// What all windows talk to.
    pub server: Server,
    browser: Browser,
}

impl Stage {
    /// Starts what a story needs.
    pub fn set() -> Self {
        Self { server: Server::start(), browser: Browser::start() }
    }

    /// One more window, on a line of its own; returns when it is online.
    pub async fn window(&self) -> Window {
        let line = Proxy::to(self.server.address()).await;
        let page = self.browser.open(&line.origin()).await;
        Window::new(line, page).await
    }

    /// Two windows, as two people have them.
    pub async fn two_windows(&self) -> (Window, Window) {
        tokio::join!(self.window(), self.window())
    }

    /// The browser, for pages beside the demo.
    pub fn browser(&self) -> &Browser {
        &self.browser
    }
}
