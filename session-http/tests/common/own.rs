//! An interface of a user's own: the id in a header, for programs that call an API.

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, header, request, response};
use session_core::{Commit, Error, ErrorKind, Result, Session, SessionId, SessionManager};
use session_http::{RequestHead, SessionInterface};

pub(crate) static TOKEN: HeaderName = HeaderName::from_static("x-session-token");

#[derive(Debug)]
pub(crate) struct HeaderInterface(pub(crate) SessionManager);

#[async_trait]
impl SessionInterface for HeaderInterface {
    fn capture(&self, head: &request::Parts) -> RequestHead {
        RequestHead::with_headers(head, &[&TOKEN])
    }

    async fn open(&self, request: &RequestHead) -> Result<Session> {
        let text = request.headers(&TOKEN).next().and_then(|value| value.to_str().ok());
        let id: Option<SessionId> = text.and_then(|text| text.parse().ok());
        self.0.open(id.as_ref()).await
    }

    async fn commit(&self, session: &Session, _: &RequestHead) -> Result<Commit> {
        self.0.commit(session).await
    }

    fn respond(&self, session: &Session, _: &RequestHead, response: &mut response::Parts) -> Result<()> {
        let status = session.status();
        let text = match status.id {
            Some(id) if status.id_is_new => id.expose(),
            None if status.ended_here => String::new(),
            _ => return Ok(()),
        };
        let value = HeaderValue::from_str(&text)
            .map_err(|error| Error::new(ErrorKind::Other, "not a header").with_source(error))?;
        response.headers.insert(TOKEN.clone(), value);
        response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(())
    }

    async fn reload(&self, session: &Session) -> Result<bool> {
        self.0.reload(session).await
    }
}
