//! Keeps a connection to one member of the cluster, and goes on to the next when that one is of no use.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::address::{Address, Host};
use super::dial::{Dialer, Failed};
use super::faults::{self, Trouble};
use super::proto::{
    AuthenticateRequest, Call, KEEP_ALIVE, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    RangeRequest, StatusRequest, WATCH, WatchRequest, WatchResponse,
};
use super::whole::Whole;
use crate::data::{Error, Result, printable};
use crate::rule::{Clock, backoff};

/// A line of tens of thousands of claims is still read.
const LARGEST: usize = 64 << 20;
/// A connection over which nothing comes is asked whether it lives; no more often than etcd allows.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The connection of a store, whatever becomes of it.
pub(super) struct Hub {
    pub(super) address: Address,
    pub(super) clock: Clock,
    state: Mutex<State>,
    /// The number of the connection in use: one that turned out to be of no use is left for the next.
    turn: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    token: Option<MetadataValue<Ascii>>,
}

/// A connection to one member. Cheap to clone.
#[derive(Clone)]
pub(super) struct Link {
    channel: Channel,
    failed: Failed,
    pub(super) host: Host,
    pub(super) turn: u64,
}

/// How often a call is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
    /// Once at each member.
    OneRound,
    /// Until the time is over.
    Many,
}

/// Whether a request whose answer did not come may have been carried out, or may yet be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Doubt {
    #[default]
    None,
    Some,
}

impl Hub {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            clock: Clock::system(),
            state: Mutex::default(),
            turn: watch::Sender::new(0),
        }
    }

    /// Connects, is let in, and sees whether the cluster decides anything and lets us read.
    pub(super) async fn open(&self) -> Result<()> {
        let within = self.address.timeout;
        let status = self.ask(&StatusRequest {}, within, Tries::OneRound).await;
        let version = status.map_err(|error| self.hinted(error.into()))?.version;
        let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
        let number: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if number < (3, 4) {
            let version = printable(&version);
            return Err(Error::unsupported(
                "etcd",
                format!(
                    "{} is version {version}, at least 3.4 is needed",
                    self.address
                ),
            ));
        }
        // A read that a majority must confirm, of where the locks are.
        let look = RangeRequest {
            key: [&self.address.prefix[..], b"monban/probe"].concat(),
            keys_only: true,
            limit: 1,
            ..RangeRequest::default()
        };
        let looked = self.ask(&look, within, Tries::Many).await;
        looked.map(drop).map_err(Error::from)
    }

    fn hinted(&self, error: Error) -> Error {
        match &error {
            Error::Unavailable { what, .. } if self.address.tls.is_some() => {
                faults::unavailable(format!("{what}; is it a port for TLS?")).because(error)
            }
            Error::Unavailable { what, .. } if what.contains("answered:") => {
                faults::unavailable(format!("{what}; if it wants TLS, write etcds://"))
                    .because(error)
            }
            _ => error,
        }
    }

    /// Sends a request that changes nothing, or nothing that matters.
    pub(super) async fn ask<R: Call>(
        &self,
        request: &R,
        within: Duration,
        tries: Tries,
    ) -> std::result::Result<R::Answer, Trouble> {
        self.send(request, within, tries, &mut Doubt::None).await
    }

    /// Sends a request; where it fails, again, at the next member, until it is answered or time is over.
    pub(super) async fn send<R: Call>(
        &self,
        request: &R,
        within: Duration,
        tries: Tries,
        doubt: &mut Doubt,
    ) -> std::result::Result<R::Answer, Trouble> {
        let path = PathAndQuery::from_static(R::PATH);
        let once = |link: Link, token: Option<MetadataValue<Ascii>>| {
            let (request, path) = (request.clone(), path.clone());
            async move {
                let mut grpc = client(Whole(link.channel)).await?;
                let codec = ProstCodec::<R, R::Answer>::default();
                let request = signed(request, token);
                Ok(grpc.unary(request, path, codec).await?.into_inner())
            }
        };
        self.insist(once, within, tries, doubt).await
    }

    /// Renews a lease; the answer has the seconds that it lives from when the server had the request, 0 if it has ended.
    pub(super) async fn keep_alive(
        &self,
        lease: i64,
        within: Duration,
    ) -> std::result::Result<LeaseKeepAliveResponse, Trouble> {
        let once = |link: Link, token: Option<MetadataValue<Ascii>>| async move {
            let mut grpc = client(link.channel).await?;
            let codec = ProstCodec::<LeaseKeepAliveRequest, LeaseKeepAliveResponse>::default();
            let only = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
            let mut request = signed(only, token);
            require_leader(&mut request);
            let path = PathAndQuery::from_static(KEEP_ALIVE);
            let answers = grpc.streaming(request, path, codec).await?;
            let answer = answers.into_inner().message().await?;
            answer.ok_or_else(|| Status::unavailable("a renewal was not answered"))
        };
        self.insist(once, within, Tries::Many, &mut Doubt::None)
            .await
    }

    /// Opens a stream of watches at the member that is in use.
    pub(super) async fn watch(
        &self,
        link: &Link,
        requests: impl tokio_stream::Stream<Item = WatchRequest> + Send + 'static,
    ) -> std::result::Result<tonic::Streaming<WatchResponse>, Trouble> {
        let token = self.lock().token.clone();
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let mut request = signed(requests, token);
        require_leader(&mut request);
        let opened = async {
            let mut grpc = client(link.channel.clone()).await?;
            let path = PathAndQuery::from_static(WATCH);
            grpc.streaming(request, path, codec).await
        };
        match tokio::time::timeout(self.address.timeout, opened).await {
            Ok(Ok(answers)) => Ok(answers.into_inner()),
            Ok(Err(status)) => Err(faults::of(status, &link.host)),
            Err(_) => Err(Trouble::Failed(faults::silent(
                &link.host,
                self.address.timeout,
            ))),
        }
    }

    async fn insist<A, F: Future<Output = std::result::Result<A, Status>>>(
        &self,
        once: impl Fn(Link, Option<MetadataValue<Ascii>>) -> F,
        within: Duration,
        tries: Tries,
        doubt: &mut Doubt,
    ) -> std::result::Result<A, Trouble> {
        let members = u32::try_from(self.address.hosts.len().min(3)).unwrap_or(1);
        let each = within / members;
        let until = self.clock.now().after(within);
        let mut pauses = backoff::exponential(PAUSE / 10, PAUSE);
        let mut tried = 0;
        let mut let_in = false;
        loop {
            let link = self.link();
            let answer = match self.token(&link, each, let_in).await {
                Ok(token) => {
                    let asked = tokio::time::timeout(each, once(link.clone(), token)).await;
                    asked.map_or_else(
                        |_| Err(Trouble::Failed(faults::silent(&link.host, each))),
                        |answer| answer.map_err(|status| link.trouble(status)),
                    )
                }
                Err(trouble) => Err(trouble),
            };
            tried += 1;
            let error = match answer {
                Err(Trouble::TokenGone) if !let_in => {
                    let_in = true;
                    continue;
                }
                Err(Trouble::Failed(error)) if error.is_transient() => error,
                answer => return answer,
            };
            *doubt = Doubt::Some;
            self.give_up(link.turn);
            let over = tries == Tries::OneRound && tried >= members;
            if over || self.clock.now() >= until {
                return Err(Trouble::Failed(error));
            }
            tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
        }
    }

    /// The token of our user, if we are one; a new one if the server has forgotten the last.
    async fn token(
        &self,
        link: &Link,
        within: Duration,
        anew: bool,
    ) -> std::result::Result<Option<MetadataValue<Ascii>>, Trouble> {
        let Some((name, password)) = &self.address.user else {
            return Ok(None);
        };
        if !anew && let Some(token) = self.lock().token.clone() {
            return Ok(Some(token));
        }
        let request = AuthenticateRequest {
            name: name.clone(),
            password: password.clone(),
        };
        let asked = async {
            let mut grpc = client(Whole(link.channel.clone())).await?;
            let path = PathAndQuery::from_static(AuthenticateRequest::PATH);
            let codec = ProstCodec::<_, <AuthenticateRequest as Call>::Answer>::default();
            grpc.unary(Request::new(request), path, codec).await
        };
        let answer = tokio::time::timeout(within, asked)
            .await
            .map_err(|_| Trouble::Failed(faults::silent(&link.host, within)))?;
        let token = match answer {
            Ok(answer) => answer.into_inner().token,
            // A cluster that asks nobody who they are lets us in too.
            Err(status) if status.message().contains("authentication is not enabled") => {
                return Ok(None);
            }
            Err(status) => return Err(link.trouble(status)),
        };
        let unreadable = |_| Trouble::Failed(faults::garbled(&link.host));
        let token: MetadataValue<Ascii> = token.parse().map_err(unreadable)?;
        self.lock().token = Some(token.clone());
        Ok(Some(token))
    }

    /// Gets a new token; without one the next verb says why.
    pub(super) async fn sign_in_again(&self, link: &Link) {
        let _ = self.token(link, self.address.timeout, true).await;
    }

    /// The connection in use.
    pub(super) fn link(&self) -> Link {
        let turn = *self.turn.borrow();
        let mut state = self.lock();
        match &state.link {
            Some(link) if link.turn == turn => link.clone(),
            _ => state.link.insert(self.connect(turn)).clone(),
        }
    }

    /// A connection that is made when it is first used.
    fn connect(&self, turn: u64) -> Link {
        let hosts = &self.address.hosts;
        let at = usize::try_from(turn).unwrap_or(0) % hosts.len();
        let host = hosts[at].clone();
        let failed = Failed::default();
        let dialer = Dialer {
            host: host.clone(),
            tls: self.address.tls.clone(),
            failed: failed.clone(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{host}"))
            .unwrap_or_else(|_| Endpoint::from_static("http://etcd"))
            .http2_keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(ASK_AFTER / 2);
        Link {
            channel: endpoint.connect_with_connector_lazy(dialer),
            failed,
            host,
            turn,
        }
    }

    /// This connection was of no use: the next one is at the next member.
    pub(super) fn give_up(&self, turn: u64) {
        self.turn.send_if_modified(|now| {
            let ours = *now == turn;
            *now += u64::from(ours);
            ours
        });
    }

    /// Returns when another connection than this is in use.
    pub(super) async fn given_up(&self, turn: u64) {
        let mut turns = self.turn.subscribe();
        let _ = turns.wait_for(|now| *now != turn).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// What a status means; where it is that there was no connection, why not.
    fn trouble(&self, status: Status) -> Trouble {
        match self.failed.get() {
            Some(error) => Trouble::Failed(error),
            None => faults::of(status, &self.host),
        }
    }
}

async fn client<S: GrpcService<Body>>(through: S) -> std::result::Result<Grpc<S>, Status> {
    let mut grpc = Grpc::new(through).max_decoding_message_size(LARGEST);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.into().to_string()))?;
    Ok(grpc)
}

fn signed<T>(message: T, token: Option<MetadataValue<Ascii>>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}

/// A member that is cut off from its leader is to end the stream, rather than be silent.
fn require_leader<T>(request: &mut Request<T>) {
    let yes = MetadataValue::from_static("true");
    request.metadata_mut().insert("hasleader", yes);
}

/// How long a verb for a claim of this TTL waits for an answer: the store's bound, or less where the TTL leaves less
/// time to ask again.
pub(super) fn patience(bound: Duration, ttl: Duration) -> Duration {
    bound.min((ttl / 3).max(Duration::from_secs(1)))
}

/// Shows where it is, for the messages of others.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({})", self.address)
    }
}

/// A hub is shared by the verbs and the tasks of a store.
pub(super) type Shared = Arc<Hub>;
