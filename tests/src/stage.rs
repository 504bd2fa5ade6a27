//! A server, a browser, and the windows of a story.

use crate::browser::{Browser, Device};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::todos::Window;

/// The environment of a story: a server with an empty list, and windows that show it.
#[derive(Debug)]
pub struct Stage {
    /// The server of all windows.
    pub server: Server,
    /// The separate server of the pages, if there is one.
    pages: Option<Server>,
    browser: Browser,
}

impl Stage {
    /// Starts a server and a browser.
    pub fn set() -> Self {
        Self { server: Server::start(), pages: None, browser: Browser::start() }
    }

    /// Does the same with a separate server for pages that is always reachable. So a page can be
    /// loaded while its line or the server is down.
    pub fn with_pages_elsewhere() -> Self {
        Self { pages: Some(Server::start()), ..Self::set() }
    }

    /// Opens one more window on its own line, and waits until it is online.
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

    /// Opens two windows, as of two people.
    pub async fn two_windows(&self) -> (Window, Window) {
        tokio::join!(self.window(), self.window())
    }

    /// Returns the browser, for pages other than the demo.
    pub fn browser(&self) -> &Browser {
        &self.browser
    }
}
