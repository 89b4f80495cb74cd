//! A browser without a window: it keeps its cookie and reads pages.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use http_body_util::BodyExt as _;
use session_core::SessionManager;
use session_examples::app;
use session_http::CookieConfig;
use session_memory::MemoryStore;
use tower::ServiceExt as _;

pub(crate) fn sessions() -> SessionManager {
    SessionManager::new(MemoryStore::default())
}

pub(crate) fn app(sessions: &SessionManager) -> Router {
    app::page(sessions.clone(), "memory", &CookieConfig::insecure_for_development()).unwrap()
}

#[derive(Clone)]
pub(crate) struct Browser {
    app: Router,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new(app: &Router) -> Self {
        Self { app: app.clone(), cookie: None }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send(Request::get(path), Body::empty()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from("", path, fields).await
    }

    /// With what browsers say of the page that a form is on; nothing when `site` is empty.
    pub(crate) async fn post_from(&mut self, site: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let form: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let mut request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if !site.is_empty() {
            request = request.header("sec-fetch-site", site);
        }
        self.send(request, Body::from(form.join("&"))).await
    }

    pub(crate) async fn sign_in(&mut self, name: &str) {
        let token = self.get("/").await.token();
        let answer = self.post("/sign-in", &[("name", name), ("csrf", &token)]).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert!(self.get("/").await.body.contains("Your devices"));
    }

    async fn send(&mut self, mut request: axum::http::request::Builder, body: Body) -> Page {
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        if let Some(set) = response.headers().get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Page { status: head.status.as_u16(), headers: head.headers, body }
    }
}

impl Page {
    pub(crate) fn token(&self) -> String {
        self.between("name=\"csrf\" value=\"", "\"").remove(0)
    }

    pub(crate) fn visits(&self) -> u64 {
        self.between("id=\"visits\">", "<").remove(0).parse().unwrap()
    }

    pub(crate) fn key(&self) -> String {
        self.between("id=\"key\">", "<").remove(0)
    }

    pub(crate) fn devices(&self) -> Vec<String> {
        self.between("data-key=\"", "\"")
    }

    fn between(&self, start: &str, end: &str) -> Vec<String> {
        let found: Vec<_> =
            self.body.split(start).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned()).collect();
        assert!(!found.is_empty(), "{start} is not on the page: {}", self.body);
        found
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
