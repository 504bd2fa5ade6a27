//! Chromium and its driver.
//!
//! Each page has its own browser process with an empty profile, as if it were on another computer:
//! pages share no cache, no storage and no connection.

use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};

use crate::page::Page;
use crate::process::Process;

/// The options of Chromium: it runs without a screen, also in a container, and without background
/// activity.
const FLAGS: [&str; 16] = [
    "--headless=new",
    "--window-size=640,780",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    // Some pages belong to another site.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    // Animations keep a machine without a graphics card busy.
    "--force-prefers-reduced-motion",
    // A story may collect garbage with `gc()`.
    "--js-flags=--expose-gc",
    // Chromium ends with its driver, however that ends.
    "--remote-debugging-pipe",
];

/// The maximum number of attempts to start the driver. It chooses a port that is free on `::1`, and
/// exits if the port is in use on `127.0.0.1`. Another attempt chooses another port.
const MAX_ATTEMPTS: usize = 5;

/// A driver that opens pages.
#[derive(Debug)]
pub struct Browser {
    driver: Arc<Process>,
    url: String,
}

impl Browser {
    /// Starts the driver. Each page starts its own browser.
    pub fn start() -> Self {
        let (driver, port) = (1..MAX_ATTEMPTS)
            .find_map(|_| driver().ok())
            .unwrap_or_else(|| driver().unwrap_or_else(|reason| panic!("{reason}")));
        Self { driver: Arc::new(driver), url: format!("http://127.0.0.1:{port}") }
    }

    /// Opens a page in a browser of its own.
    pub async fn open(&self, url: &str) -> Page {
        self.open_on(Device::Computer, url).await
    }

    /// Opens a page in a browser of its own, on a device.
    pub async fn open_on(&self, device: Device, url: &str) -> Page {
        let profile = TempDir::new().expect("there is room for a profile");
        let session =
            WebDriver::builder(&self.url, capabilities(device, &profile)).client(client());
        let session = session.connect().await;
        let session = session.unwrap_or_else(|error| panic!("no browser was opened: {error}"));
        let page = Page::new(session, profile, self.driver.clone());
        page.go(url).await;
        page
    }
}

/// The device that shows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A computer: a screen with mouse and keyboard.
    Computer,
    /// A phone: a narrow touch screen. Clicks arrive as taps.
    Phone,
}

/// Starts a driver on a port that it chooses itself.
fn driver() -> Result<(Process, u16), String> {
    Process::try_start(Command::new("chromedriver").arg("--port=0"), port_in)
}

/// Returns a client that opens a connection for each command. A dropped session is ended in another
/// tokio runtime while ours is blocked, so it could not use a connection of ours.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    client.build().expect("it needs neither TLS nor a proxy")
}

fn capabilities(device: Device, profile: &TempDir) -> Capabilities {
    let profile = format!("--user-data-dir={}", profile.path().display());
    let capabilities = || -> WebDriverResult<Capabilities> {
        let mut chrome = ChromeCapabilities::new();
        for flag in FLAGS {
            chrome.add_arg(flag)?;
        }
        chrome.add_arg(&profile)?;
        if device == Device::Phone {
            let screen = json!({"width": 360, "height": 740, "mobile": true, "touch": true});
            chrome.add_experimental_option("mobileEmulation", json!({"deviceMetrics": screen}))?;
        }
        chrome.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        Ok(chrome.into())
    };
    capabilities().expect("all of this is text")
}

/// Returns the port in `ChromeDriver was started successfully on port 40123.`
fn port_in(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("started successfully on port ")?;
    port.trim_end_matches('.').parse().ok()
}
