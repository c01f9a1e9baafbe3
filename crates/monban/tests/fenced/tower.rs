//! The layer that checks the header, around an axum router.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Request, StatusCode};
use axum::routing::{get, put};
use monban::fenced::{FENCING_TOKEN, FencingLayer};
use monban::{Token, block_on};
use tower_service::Service;

use super::*;

type Content = Arc<Mutex<String>>;

struct App {
    router: Router,
}

async fn write(
    State(state): State<Content>,
    Extension(token): Extension<Token>,
    body: String,
) -> String {
    *state.lock().unwrap() = body;
    token.to_string()
}

async fn read(State(state): State<Content>) -> String {
    state.lock().unwrap().clone()
}

impl App {
    fn new() -> Self {
        let guarded = Router::new()
            .route("/", put(write))
            .layer(FencingLayer::new());
        let router = guarded.route("/", get(read)).with_state(Content::default());
        Self { router }
    }

    fn put(&self, tokens: &[&str], content: &str) -> (StatusCode, String) {
        let mut request = Request::put("/");
        for token in tokens {
            request = request.header(FENCING_TOKEN, *token);
        }
        self.call(request.body(Body::from(content.to_owned())).unwrap())
    }

    fn call(&self, request: Request<Body>) -> (StatusCode, String) {
        block_on(async {
            let answer = self.router.clone().call(request).await.unwrap();
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), 1_000)
                .await
                .unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    }
}

impl Guarded for App {
    fn write(&self, token: Token, content: &str) -> bool {
        let (status, body) = self.put(&[&token.to_string()], content);
        if status == StatusCode::OK {
            assert_eq!(body, token.to_string(), "the handler is shown the token");
            return true;
        }
        assert_eq!(status, StatusCode::PRECONDITION_FAILED);
        false
    }

    fn read(&self) -> String {
        self.call(Request::get("/").body(Body::empty()).unwrap()).1
    }
}

#[test]
fn a_service_refuses_a_paused_holder_and_accepts_live_permits() {
    a_paused_holder_is_refused(&App::new());
    live_holders_of_permits_are_accepted(&App::new());
}

#[test]
fn a_request_without_a_token_or_with_no_token_at_all_does_not_get_in() {
    let app = App::new();
    assert_eq!(app.put(&[], "x").0, StatusCode::PRECONDITION_REQUIRED);
    for bad in ["", "-1", "x", "9223372036854775808"] {
        assert_eq!(app.put(&[bad], "x").0, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    assert_eq!(app.put(&["7", "8"], "x").0, StatusCode::BAD_REQUEST);
    assert_eq!(
        app.put(&["7"], "x").0,
        StatusCode::OK,
        "what was refused was not remembered"
    );
}
