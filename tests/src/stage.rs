//! A server, a browser, and the windows of a story.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::browser::{Browser, Device};
use crate::proxy::{Proxy, WebSockets};
use crate::server::Server;
use crate::todos::Window;

/// The environment of a story: a server with an empty list, and windows that show it.
#[derive(Debug)]
pub struct Stage {
    /// The server of all windows, if there are no others.
    pub server: Server,
    /// The other servers with the same data.
    others: Vec<Server>,
    /// The separate server of the pages, if there is one.
    pages: Option<Server>,
    browser: Browser,
    windows: AtomicUsize,
    websockets: WebSockets,
}

impl Stage {
    /// Starts a server and a browser.
    pub fn set() -> Self {
        Self::over(Server::start(), Vec::new())
    }

    /// Starts a browser for several servers with the same data. Each window prefers another one.
    pub fn over(server: Server, others: Vec<Server>) -> Self {
        let (browser, windows) = (Browser::start(), AtomicUsize::new(0));
        let websockets = WebSockets::Allow;
        Self { server, others, pages: None, browser, windows, websockets }
    }

    /// Does the same with a separate server for pages that is always reachable. So a page can be
    /// loaded while its line or the server is down.
    pub fn with_pages_elsewhere() -> Self {
        Self { pages: Some(Server::start()), ..Self::set() }
    }

    /// Does the same, where each line treats WebSockets in this way.
    pub fn with_websockets(self, websockets: WebSockets) -> Self {
        Self { websockets, ..self }
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
        let mut servers: Vec<_> = self.servers().map(Server::address).collect();
        let preferred = self.windows.fetch_add(1, Ordering::SeqCst) % servers.len();
        servers.rotate_left(preferred);
        let line = match &self.pages {
            Some(pages) => Proxy::beside(pages.address(), self.server.address()).await,
            None => Proxy::to_first_of(&servers).await,
        };
        line.set_websockets(self.websockets);
        let page = self.browser.open_on(device, &line.origin()).await;
        Window::new(line, page).await
    }

    /// Opens two windows, as of two people.
    pub async fn two_windows(&self) -> (Window, Window) {
        tokio::join!(self.window(), self.window())
    }

    /// Returns all servers.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(&self.others)
    }

    /// Returns all servers, to kill them or start them again.
    pub fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        std::iter::once(&mut self.server).chain(&mut self.others)
    }

    /// Returns the server with this address.
    pub fn server_at(&mut self, address: SocketAddr) -> &mut Server {
        self.servers_mut().find(|it| it.address() == address).expect("it is one of the stage")
    }

    /// Returns the browser, for pages other than the demo.
    pub fn browser(&self) -> &Browser {
        &self.browser
    }
}
