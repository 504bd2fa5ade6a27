//! The user's functions that are called when clients connect and disconnect.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{SetOnce, oneshot};

use crate::context::Context;
use crate::shared::Shared;
use crate::socket::Client;

type ConnectHook = dyn Fn(Client, Context) -> BoxFuture<'static, Result<(), String>> + Send + Sync;
type DisconnectHook = dyn Fn(Client, Context) -> BoxFuture<'static, ()> + Send + Sync;

/// The functions of the user.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    connect: Option<Arc<ConnectHook>>,
    disconnect: Option<Arc<DisconnectHook>>,
}

impl Hooks {
    pub(crate) fn set_connect<F, O, E>(&mut self, hook: F)
    where
        F: Fn(Client, Context) -> O + Send + Sync + 'static,
        O: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let hook = move |client, cx| {
            hook(client, cx).map(|accepted| accepted.map_err(|reason| reason.to_string())).boxed()
        };
        self.connect = Some(Arc::new(hook));
    }

    pub(crate) fn set_disconnect<F, O>(&mut self, hook: F)
    where
        F: Fn(Client, Context) -> O + Send + Sync + 'static,
        O: Future<Output = ()> + Send + 'static,
    {
        self.disconnect = Some(Arc::new(move |client, cx| hook(client, cx).boxed()));
    }
}

/// How long a connection may take to begin after it was accepted.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// Calls the hooks for one connection.
///
/// Invariant: the hook of the end is called once for each connection that the hook of the beginning
/// has accepted, after it, and for no other. So a hook of the beginning runs to its end, also if
/// the connection ends before. Socket.IO does not report the end of a connection that it could not
/// begin, so such a connection counts as ended after a while.
#[derive(Default)]
pub(crate) struct ConnectionHooks {
    state: Mutex<State>,
    has_begun: SetOnce<()>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The connection is not accepted yet.
    #[default]
    Connecting,
    Accepted,
    Ended,
}

impl ConnectionHooks {
    /// Calls the hook of the beginning. An error is the message of the refusal.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        hooks: &Hooks,
        shared: &Arc<Shared>,
        client: Client,
    ) -> Result<(), String> {
        let Some(hook) = &hooks.connect else { return Ok(()) };
        let called = hook(client.clone(), Context::of_client(shared, &client));
        let (this, hooks) = (Arc::clone(self), hooks.clone());
        let (environment, shared) = (shared.environment.clone(), Arc::clone(shared));
        let (sender, accepted) = oneshot::channel();
        environment.spawn(async move {
            let outcome = called.await;
            let is_accepted = outcome.is_ok();
            if is_accepted {
                this.accept(&hooks, &shared, &client);
            }
            // Nobody waits for it if the client is gone.
            let _ = sender.send(outcome);
            let begun = shared.environment.timeout(CONNECT_GRACE, this.has_begun.wait());
            if is_accepted && begun.await.is_err() {
                this.end(&hooks, &shared, client);
            }
        });
        // An error means that the hook has panicked.
        accepted.await.unwrap_or_else(|_| Err("E_UNAVAILABLE: the server has a fault".to_owned()))
    }

    /// Called when the connection has begun.
    pub(crate) fn begin(&self, hooks: &Hooks, client: &Client) {
        // An error means that this was called before.
        let _ = self.has_begun.set(());
        let mut state = self.state.lock();
        match *state {
            State::Connecting if hooks.connect.is_none() => *state = State::Accepted,
            State::Ended => client.disconnect(),
            State::Connecting | State::Accepted => {}
        }
    }

    /// If the connection has ended already, the hook of the end is called at once.
    fn accept(&self, hooks: &Hooks, shared: &Arc<Shared>, client: &Client) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Accepted);
        if before == State::Ended {
            self.end(hooks, shared, client.clone());
        }
    }

    /// Calls the hook of the end, if the connection was accepted.
    pub(crate) fn end(&self, hooks: &Hooks, shared: &Arc<Shared>, client: Client) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Ended);
        if let Some(hook) = hooks.disconnect.as_ref().filter(|_| before == State::Accepted) {
            let cx = Context::of_client(shared, &client);
            shared.environment.spawn(hook(client, cx));
        }
    }
}
