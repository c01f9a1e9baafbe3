//! Sends a request of one message as one frame, which says that it is the last.
//!
//! The gRPC client finds out that there is nothing more to send only after it has sent the message: an empty frame
//! follows, a further write for us and a further wake-up for the server, with every request.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, http};
use tonic::transport::Channel;
use tower_service::Service;

/// A connection for requests of one message each.
#[derive(Clone)]
pub(super) struct Whole(pub(super) Channel);

impl Service<http::Request<Body>> for Whole {
    type Response = http::Response<Body>;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let whole = |message| {
            Body::new(Message {
                message,
                sent: false,
            })
        };
        self.0.call(request.map(whole))
    }
}

/// One message: the client library encodes it into one frame, whatever its size.
struct Message {
    message: Body,
    sent: bool,
}

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.sent {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.message).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent = frame.is_data();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.sent
    }
}
