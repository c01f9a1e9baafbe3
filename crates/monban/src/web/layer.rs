//! One request per user at a time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header, request};
use tower_layer::Layer;
use tower_service::Service;

use crate::data::{Error, Key, Options, Result};
use crate::engine::{Lease, Locks};

/// Lets one request of a user run at a time, on all machines together.
///
/// The user is what the closure reads from the request: an id that the program has checked itself, from a
/// session say. The key is `user-lock:ID`, see [`prefix`](Self::prefix).
///
/// | | answer |
/// |---|---|
/// | the user's other requests are done | the inner service's; it finds an `Arc<Lease>` among the request's extensions |
/// | another request of the user runs | 409 Conflict with `Retry-After`; with [`wait`](Self::wait) only after that time |
/// | the closure says `None` | the inner service's, with no lock: there is no user |
/// | the id is empty, or too long for a key | 400 Bad Request: no lock is shared by all who have none |
/// | the store is not available, or the lease is lost on the way | 503 Service Unavailable with `Retry-After` |
///
/// The lock is kept until the inner service has answered with its head, and released before the client sees
/// it, so a client that sends one request after the other is never told to wait for itself. A body that is
/// streamed after that is not protected. If the client goes away, the request is dropped and the lock
/// released.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::post};
/// use monban::{Locks, web::OneAtATime};
///
/// let layer = OneAtATime::new(Locks::in_memory(), |request| {
///     let user = request.headers.get("x-user")?;
///     Some(user.to_str().ok()?.to_owned())
/// });
/// let app: Router = Router::new()
///     .route("/order", post(async || "ordered"))
///     .layer(layer);
/// # let _ = app;
/// ```
#[derive(Clone)]
pub struct OneAtATime {
    rules: Arc<Rules>,
}

type Identify = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

#[derive(Clone)]
struct Rules {
    locks: Locks,
    user: Arc<Identify>,
    prefix: String,
    wait: Option<Duration>,
    retry_after: Duration,
    options: Options,
}

impl OneAtATime {
    /// Locks each user's requests; `user` says whose request it is.
    pub fn new(
        locks: Locks,
        user: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let rules = Rules {
            locks,
            user: Arc::new(user),
            prefix: "user-lock".to_owned(),
            wait: None,
            retry_after: Duration::from_secs(1),
            options: Options::new(),
        };
        Self {
            rules: Arc::new(rules),
        }
    }

    /// The first part of the key; without this, `user-lock`. Give each group of routes that may run side by
    /// side one of its own. An empty one is refused at the first request, with 400.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.change(|rules| rules.prefix = prefix.into())
    }

    /// Lets a request wait this long for the one before it; without this, it does not wait.
    #[must_use]
    pub fn wait(self, within: Duration) -> Self {
        self.change(|rules| rules.wait = Some(within))
    }

    /// What `Retry-After` says, rounded up to whole seconds; without this, 1 s.
    #[must_use]
    pub fn retry_after(self, pause: Duration) -> Self {
        self.change(|rules| rules.retry_after = pause)
    }

    /// How long leases live.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other; [`Error::Unsupported`] if the store cannot
    /// keep them.
    pub fn with(self, options: Options) -> Result<Self> {
        // Any key will do to be told whether the options fit.
        self.rules.locks.mutex("options")?.with(options.clone())?;
        Ok(self.change(|rules| rules.options = options))
    }

    fn change(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.rules));
        self
    }
}

impl fmt::Debug for OneAtATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneAtATime")
            .field("prefix", &self.rules.prefix)
            .field("wait", &self.rules.wait)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for OneAtATime {
    type Service = OneAtATimeService<S>;

    fn layer(&self, inner: S) -> OneAtATimeService<S> {
        OneAtATimeService {
            rules: Arc::clone(&self.rules),
            inner,
        }
    }
}

/// The service that [`OneAtATime`] makes of another.
#[derive(Clone)]
pub struct OneAtATimeService<S> {
    rules: Arc<Rules>,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for OneAtATimeService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneAtATimeService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for OneAtATimeService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Default + Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone stays for the next call; the one that has been polled ready is used now.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        Box::pin(async move { rules.serve(inner, request).await })
    }
}

impl Rules {
    async fn serve<S, B, R>(
        &self,
        mut inner: S,
        request: Request<B>,
    ) -> Result<Response<R>, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
        R: Default,
    {
        let (parts, body) = request.into_parts();
        let user = (self.user)(&parts);
        let mut request = Request::from_parts(parts, body);
        let Some(user) = user else {
            return inner.call(request).await;
        };
        let lease = match self.lock(&user).await {
            Ok(lease) => Arc::new(lease),
            Err(error) => return Ok(self.refusal(&error)),
        };
        request.extensions_mut().insert(Arc::clone(&lease));
        let answer = lease.scope(inner.call(request)).await;
        // A handler that has kept the lease releases it when it drops it.
        if let Some(lease) = Arc::into_inner(lease)
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "a request is answered, but its lock could not be released");
        }
        answer.unwrap_or_else(|error| Ok(self.refusal(&error)))
    }

    async fn lock(&self, user: &str) -> Result<Lease> {
        let key = Key::join([self.prefix.as_str(), user])?;
        let mutex = self.locks.mutex(key)?.with(self.options.clone())?;
        let limit = self.wait.unwrap_or_default();
        if limit.is_zero() {
            let busy = match mutex.try_lock_or_busy().await? {
                Ok(lease) => return Ok(lease),
                Err(busy) => busy,
            };
            return Err(Error::TimedOut {
                key: mutex.key().clone(),
                waited: Duration::ZERO,
                who: busy.who.map(Box::new),
            });
        }
        mutex.lock().within(limit).await
    }

    fn refusal<R: Default>(&self, error: &Error) -> Response<R> {
        let status = match error {
            Error::TimedOut { .. } => StatusCode::CONFLICT,
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            _ => {
                tracing::warn!(%error, "a request could not be run alone");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let mut response = Response::new(R::default());
        *response.status_mut() = status;
        if status != StatusCode::BAD_REQUEST {
            let millis = self.retry_after.as_millis();
            let seconds = u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}
