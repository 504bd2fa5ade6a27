//! The methods for routes, their layers and hooks.

use std::convert::Infallible;
use std::fmt::Display;

use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, Route};
use tower::{Layer, Service};

use super::Builder;
use crate::context::Context;
use crate::socket::Client;

/// The methods for routes, their layers and hooks.
impl Builder {
    /// Adds a route, over HTTP and sockets alike. Its handler may take a
    /// [`Context`](crate::Context).
    ///
    /// The server begins the requests of one socket in the order of their arrival. Later requests
    /// do not wait for a handler of `GET` or `HEAD`. So a slow one delays no other request, and may
    /// see later writes; at most 16 run at a time for one socket. Later requests wait for a handler
    /// of any other method; [`concurrent_route`](Self::concurrent_route) avoids that.
    pub fn route(mut self, path: &str, handler: MethodRouter) -> Self {
        self.routes = self.routes.add(path, handler);
        self
    }

    /// Adds a route like [`route`](Self::route), but no request of the same socket waits for its
    /// handlers, whatever their methods. It is for handlers that take long, such as one that sends
    /// mail or requests another server. Their writes may be committed after later writes of the
    /// socket.
    pub fn concurrent_route(mut self, path: &str, handler: MethodRouter) -> Self {
        self.routes = self.routes.add_concurrent(path, handler);
        self
    }

    /// Adds a layer to all routes that have been added so far, as axum's `Router::layer` does. A
    /// layer for one route is added to its handlers: `get(report).layer(…)`.
    ///
    /// Layers see each request of a socket as well, and may use the extractors of this crate, such
    /// as [`Session`](crate::Session). They do not see the requests for resources, whose
    /// [access](backwire_records::access) rules decide.
    ///
    /// ```
    /// use axum::extract::Request;
    /// use axum::middleware::{Next, from_fn};
    /// use axum::response::Response;
    /// use axum::routing::get;
    /// use backwire::{Context, Error, Server};
    ///
    /// async fn signed_in(cx: Context, request: Request, next: Next) -> Result<Response, Error> {
    ///     match cx.principal().await?.person {
    ///         Some(_) => Ok(next.run(request).await),
    ///         None => Err(Error::Unauthenticated),
    ///     }
    /// }
    ///
    /// let server = Server::builder()
    ///     .route("/report", get(async || "only for people who have signed in"))
    ///     .layer(from_fn(signed_in))
    ///     .route("/welcome", get(async || "for everyone"));
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.routes = self.routes.layer(&layer);
        self
    }

    /// Sets a function that is called for each client that connects over a socket, before it can
    /// send a request. Events can be sent to the client as soon as the function has returned.
    ///
    /// An error refuses the client. Its text is the message of the `connect_error` of a stock
    /// client. Begin it with a code, such as `E_TOKEN: …`: for a text that begins with `E_` a page
    /// with Backwire's runtime stops and fires `refused`. After any other text it tries to connect
    /// again.
    ///
    /// ```
    /// use backwire::{Client, Context, Server};
    ///
    /// async fn connect(client: Client, _: Context) -> Result<(), String> {
    ///     match client.handshake().query("room") {
    ///         Some(room) => Ok(client.listen(&room)),
    ///         None => Err("E_BAD_URL: the query has no room".to_owned()),
    ///     }
    /// }
    ///
    /// let server = Server::builder().on_connect(connect).on_disconnect(async |client, cx| {
    ///     // An error would mean that the name of the event is not allowed.
    ///     let _ = cx.broadcast_to_all("left", &**client.id());
    /// });
    /// ```
    pub fn on_connect<F, O, E>(mut self, hook: F) -> Self
    where
        F: Fn(Client, Context) -> O + Send + Sync + 'static,
        O: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.routes.hooks.set_connect(hook);
        self
    }

    /// Sets a function that is called once for each client that was accepted, when its connection
    /// has ended, for whatever reason.
    pub fn on_disconnect<F, O>(mut self, hook: F) -> Self
    where
        F: Fn(Client, Context) -> O + Send + Sync + 'static,
        O: Future<Output = ()> + Send + 'static,
    {
        self.routes.hooks.set_disconnect(hook);
        self
    }

    /// Replaces the handlers of some HTTP methods of a resource or its records: `/todo`,
    /// `/todo/{id}`. The other methods keep their handlers. The new handlers also answer other
    /// spellings of the url, such as `/Todo/`.
    ///
    /// A commit of a handler is logged and pushed like every other write:
    ///
    /// ```
    /// use axum::Json;
    /// use axum::routing::post;
    /// use backwire::blueprints::Reply;
    /// use backwire::change::Attributes;
    /// use backwire::{Context, Error, Server};
    ///
    /// // Before a todo is created.
    /// async fn create(cx: Context, Json(mut todo): Json<Attributes>) -> Result<Reply, Error> {
    ///     todo.entry("done").or_insert(false.into());
    ///     cx.create("todo", todo).await
    /// }
    ///
    /// let server = Server::builder().override_route("/todo", post(create));
    /// ```
    ///
    /// An update arrives as `PUT` or, from Backwire's runtime, as `PATCH`: give both a handler. The
    /// resource has no shortcuts, such as `/todo/create`, because they would bypass its handlers.
    ///
    /// A request with an `Idempotency-Key` may arrive again. If the handler then makes another
    /// write than the first time, the request is refused.
    pub fn override_route(mut self, path: &str, handlers: MethodRouter) -> Self {
        self.routes = self.routes.add_override(path, handlers);
        self
    }
}
