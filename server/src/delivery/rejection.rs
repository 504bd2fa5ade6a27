//! Why a CONNECT to a site is refused, and the message for each kind of client.
//!
//! Apps made for the SocketIO Web Service compare the beginning of its messages, so the server
//! repeats them exactly. For our runtime, a permanent refusal begins with a code and a
//! temporary one does not.

use backwire_records::criteria::escaped_name;

use crate::settings::Origin;
use crate::sites::Refusal;

/// Bytes that the name of a device may have.
pub(super) const MAX_DEVICE_BYTES: usize = 256;

/// Why a client may not connect.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// There is no site of this name.
    NoSite(String),
    /// The name of the device is too long.
    Device,
    /// The site does not allow pages of this origin.
    Origin { site: String, origin: Origin },
    /// The site was removed from the file, and may be added again.
    Removed(String),
    /// The client has disconnected. No client receives the message.
    Disconnected,
    /// The site's `authUrl` refused the token or did not answer.
    Auth { site: String, has_token: bool, refusal: Refusal },
}

impl Rejection {
    /// Whether the client should connect again. Then its transport is ended: clients of Socket.IO
    /// do not repeat a CONNECT that is refused.
    pub(crate) fn ends_transport(&self) -> bool {
        match self {
            Self::Auth { refusal, .. } => refusal.is_temporary(),
            Self::Removed(_) => true,
            Self::NoSite(_) | Self::Disconnected | Self::Device | Self::Origin { .. } => false,
        }
    }

    /// The message of the SocketIO Web Service.
    pub(crate) fn for_stock(&self) -> String {
        match self {
            Self::NoSite(_) | Self::Removed(_) => "Auth error: there is no such site".to_owned(),
            Self::Disconnected => "the connection has ended".to_owned(),
            Self::Device => format!("deviceId: it has at most {MAX_DEVICE_BYTES} bytes"),
            Self::Origin { site, origin } => refused_origin(site, origin),
            Self::Auth { refusal, .. } => refusal.to_string(),
        }
    }

    /// The message for our runtime.
    pub(crate) fn for_runtime(&self) -> String {
        let (site, has_token, refusal) = match self {
            Self::NoSite(name) | Self::Removed(name) => {
                return format!(
                    "E_SITE: this server has no site {:?}: check the name in the page, or add the \
                     site to the server's sites file",
                    escaped_name(name)
                );
            }
            Self::Disconnected => return "the connection has ended".to_owned(),
            Self::Device => {
                return format!(
                    "E_DEVICE: the deviceId has more than {MAX_DEVICE_BYTES} bytes: use a shorter \
                     one"
                );
            }
            Self::Origin { site, origin } => return refused_origin(site, origin),
            Self::Auth { site, has_token, refusal } => (site, *has_token, refusal),
        };
        match refusal {
            Refusal::Unauthorized if !has_token => {
                format!("E_TOKEN: site {site:?} needs a token: connect with one")
            }
            Refusal::Unauthorized | Refusal::Status(403) => format!(
                "E_TOKEN: the authUrl of site {site:?} refused the token: connect with a new one"
            ),
            Refusal::NoUserRoom => format!(
                "E_TOKEN: the authUrl of site {site:?} named no private room for this token: check \
                 userRoomPrefix in the sites file, or connect with another token"
            ),
            Refusal::Status(status) => {
                format!("the authUrl of site {site:?} answered {status}: try again later")
            }
            Refusal::Failed(reason) | Refusal::Unavailable(reason) => format!(
                "the authUrl of site {site:?} could not check the token ({reason}): try again later"
            ),
        }
    }
}

fn refused_origin(site: &str, origin: &Origin) -> String {
    format!(
        "E_ORIGIN: pages of {} may not connect to site {site:?}: add the origin to the site's \
         origins in the server's sites file",
        escaped_name(origin.as_str())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejection_is_temporary_only_if_the_site_cannot_answer_now() {
        let ends_transport = |refusal| {
            Rejection::Auth { site: "shop".to_owned(), has_token: true, refusal }.ends_transport()
        };
        for refusal in
            [Refusal::Unavailable("it is down"), Refusal::Status(503), Refusal::Status(429)]
        {
            assert!(ends_transport(refusal));
        }
        for refusal in [Refusal::Unauthorized, Refusal::Status(500), Refusal::Failed("no list")] {
            assert!(!ends_transport(refusal));
        }
        assert!(!Rejection::Device.ends_transport() && !origin().ends_transport());
    }

    fn auth(has_token: bool, refusal: Refusal) -> String {
        Rejection::Auth { site: "shop".to_owned(), has_token, refusal }.for_runtime()
    }

    fn origin() -> Rejection {
        let origin = "https://evil.example".parse().unwrap();
        Rejection::Origin { site: "shop".to_owned(), origin }
    }

    #[test]
    fn permanent_refusal_begins_with_a_code() {
        for (message, code) in [
            (Rejection::NoSite("x".to_owned()).for_runtime(), "E_SITE: "),
            (Rejection::Device.for_runtime(), "E_DEVICE: "),
            (origin().for_runtime(), "E_ORIGIN: "),
            (auth(false, Refusal::Unauthorized), "E_TOKEN: "),
            (auth(true, Refusal::Unauthorized), "E_TOKEN: "),
            (auth(true, Refusal::Status(403)), "E_TOKEN: "),
            (auth(true, Refusal::NoUserRoom), "E_TOKEN: "),
        ] {
            assert!(message.starts_with(code), "{message}");
        }
    }

    #[test]
    fn temporary_refusal_begins_without_a_code() {
        for refusal in
            [Refusal::Status(500), Refusal::Status(404), Refusal::Failed("it is not there")]
        {
            let message = auth(true, refusal);
            assert!(!message.starts_with("E_") && message.contains("try again"), "{message}");
        }
    }
}
