//! connect.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::status::Status;
use outrigger_resources::Answer;
use outrigger_sandbox::{HostError, Input};

use crate::world::{World, whole};

struct Pieces(VecDeque<Bytes>);

#[async_trait]
impl Input for Pieces {
    async fn read(&mut self, most: usize) -> Result<Bytes, HostError> {
        let Some(mut piece) = self.0.pop_front() else {
            return Ok(Bytes::new());
        };
        let rest = piece.split_off(most.min(piece.len()));
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        Ok(piece)
    }
}

async fn connect(world: &World, method: &str, path: &str, body: &[&'static str]) -> Result<Answer, Status> {
    let pieces = Pieces(body.iter().map(|b| Bytes::from_static(b.as_bytes())).collect());
    let path = format!("namespaces/sea/books/moby/{path}");
    let asked = (method, path.as_str(), "*/*");
    world
        .with_asked(asked, ("text/plain; charset=x", ""), async |asked| {
            world.resources.connect(asked, Box::new(pieces)).await
        })
        .await
        .0
}

#[tokio::test]
async fn bodies_go_in_and_bytes_come_out() {
    let world = World::new(0);
    let answer = connect(&world, "POST", "pages/12/b?from=3", &["call me ", "ishmael, "])
        .await
        .unwrap();
    assert_eq!(answer.content_type(), "text/plain");
    let (code, body) = whole(answer).await;
    assert_eq!(
        (code, String::from_utf8(body).unwrap().as_str()),
        (202, "call me ishmael, POST moby/12/b")
    );
    let seen = world.shelf.seen.lock().unwrap().pop().unwrap();
    assert_eq!((seen.verb.as_str(), seen.content_type.as_str()), ("connect", "text/plain"));
    assert_eq!(seen.parameters, [("from".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn streams_are_refused_as_requests_are() {
    let world = World::new(0);
    for (method, path, code) in [
        ("DELETE", "pages", 405),
        ("GET", "cover", 404),
        ("GET", "status", 404),
        ("GET", "pages?refuse", 403),
    ] {
        let refused = connect(&world, method, path, &[]).await.unwrap_err();
        assert_eq!(refused.code, code, "{method} {path}");
    }
}
