//! The check of the header `Fencing-Token`, as a layer for tower, axum and what is built on them.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::{HighWater, Stale};
use crate::data::Token;

/// The header that carries [`Token`] as text: `17`, or `17;seat=1`.
pub const FENCING_TOKEN: HeaderName = HeaderName::from_static("fencing-token");

/// Refuses requests whose `Fencing-Token` is lower than the highest seen.
///
/// | token | answer |
/// |---|---|
/// | as high as any seen, or higher | the inner service's; it finds the [`Token`] among the request's extensions |
/// | lower than the highest seen | 412 Precondition Failed |
/// | not readable, or several | 400 Bad Request |
/// | none | 428 Precondition Required |
///
/// One layer guards one resource: whatever stands behind it. Put it before the routes that write.
///
/// It stops a request that *arrives* late. A handler that has been let in and then stalls is not stopped: it
/// should hand the token on to where the data lies (see [`sql`](super::sql)). And it remembers in this process:
/// after a restart, and beside other processes, only a guard at the data knows what was seen.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::put};
/// use monban::fenced::FencingLayer;
///
/// let app: Router = Router::new()
///     .route("/state", put(async || "written"))
///     .layer(FencingLayer::new());
/// # let _ = app;
/// ```
#[derive(Clone, Debug, Default)]
pub struct FencingLayer {
    seen: Arc<Mutex<HighWater>>,
}

impl FencingLayer {
    /// A guard that has seen no token yet. Clones guard the same resource.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for FencingLayer {
    type Service = FencingService<S>;

    fn layer(&self, inner: S) -> FencingService<S> {
        FencingService {
            seen: Arc::clone(&self.seen),
            inner,
        }
    }
}

/// The service that [`FencingLayer`] makes of another.
#[derive(Clone, Debug)]
pub struct FencingService<S> {
    seen: Arc<Mutex<HighWater>>,
    inner: S,
}

impl<S> FencingService<S> {
    /// The token of a request that is let in, or the answer to one that is not.
    fn admit<B>(&self, request: &Request<B>) -> Result<Token, StatusCode> {
        let mut shown = request.headers().get_all(FENCING_TOKEN).iter();
        let token = shown.next().ok_or(StatusCode::PRECONDITION_REQUIRED)?;
        if shown.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let token = token.to_str().ok().and_then(|text| text.parse().ok());
        let token: Token = token.ok_or(StatusCode::BAD_REQUEST)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.admit(token)
            .map_err(|_: Stale| StatusCode::PRECONDITION_FAILED)?;
        Ok(token)
    }
}

impl<S, B, R> Service<Request<B>> for FencingService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = FencingFuture<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.admit(&request) {
            Ok(token) => {
                request.extensions_mut().insert(token);
                FencingFuture::Inner(Box::pin(self.inner.call(request)))
            }
            Err(status) => FencingFuture::Refused(ready(Ok(refusal(status)))),
        }
    }
}

fn refusal<R: Default>(status: StatusCode) -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = status;
    response
}

/// The future of [`FencingService`]: the inner service's, or a refusal that is there at once.
#[derive(Debug)]
pub enum FencingFuture<F, R> {
    /// The request was let in.
    Inner(Pin<Box<F>>),
    /// It was not.
    Refused(R),
}

impl<F, R> Future for FencingFuture<F, R>
where
    F: Future,
    R: Future<Output = F::Output> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut *self {
            Self::Inner(inner) => inner.as_mut().poll(context),
            Self::Refused(refused) => Pin::new(refused).poll(context),
        }
    }
}
