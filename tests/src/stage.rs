//! A server, a browser, and the windows of a story.

use crate::browser::{Browser, Device};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::todos::Window;

/// Where a story is played: a server with an empty list, and windows on it.
#[derive(Debug)]
pub struct Stage {
    /// What all windows talk to.
    pub server: Server,
    /// Where pages come from, if not from there.
    pages: Option<Server>,
    browser: Browser,
}

impl Stage {
    /// Starts what a story needs.
    pub fn set() -> Self {
        Self { server: Server::start(), pages: None, browser: Browser::start() }
    }

    /// The same, with a server for pages that is never away: a page can be loaded while its line is
    /// down, or the server.
    pub fn with_pages_elsewhere() -> Self {
        Self { pages: Some(Server::start()), ..Self::set() }
    }

    /// One more window, on a line of its own; returns when it is online.
    pub async fn window(&self) -> Window {
        self.window_on(Device::Computer).await
    }

    /// Opens one more window, on the screen of a phone.
    pub async fn phone(&self) -> Window {
        self.window_on(Device::Phone).await
    }

    async fn window_on(&self, device: Device) -> Window {
        let server = self.server.address();
        let line = match &self.pages {
            Some(pages) => Proxy::beside(pages.address(), server).await,
            None => Proxy::to(server).await,
        };
        let page = self.browser.open_on(device, &line.origin()).await;
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
