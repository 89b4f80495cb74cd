//! The page's HTML. Whatever came from somebody goes through [`Text`], which escapes it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use session_core::{Flash, SessionKey, Timestamp};

pub(crate) const STYLE: &str = include_str!("style.css");

/// What the page shows.
pub(crate) struct View<'a> {
    pub(crate) visits: u64,
    pub(crate) owner: Option<&'a str>,
    pub(crate) devices: &'a [Device],
    pub(crate) flashes: &'a [Flash],
    pub(crate) token: &'a str,
    pub(crate) storage: &'a str,
    pub(crate) key: Option<SessionKey>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

/// One session of the owner.
pub(crate) struct Device {
    pub(crate) key: SessionKey,
    pub(crate) browser: String,
    pub(crate) seen_at: Timestamp,
    pub(crate) signed_in_at: Timestamp,
    pub(crate) is_this: bool,
}

pub(crate) fn render(view: &View<'_>) -> String {
    let main = match view.owner {
        Some(_) => devices(view),
        None => sign_in(view.token),
    };
    frame(&format!(
        "{header}{flashes}<main>{counter}{main}{details}</main>{footer}",
        header = header(view),
        flashes = flashes(view.flashes),
        counter = counter(view.visits),
        details = details(view),
        footer = FOOTER,
    ))
}

/// A page that only says why something was not done.
pub(crate) fn problem(status: u16, text: &str) -> String {
    frame(&format!(
        "<header class=\"top\">{BRAND}</header><main><section class=\"card alone\"><p class=\"status\">{status}</p>\
         <p>{}</p><p><a class=\"button\" href=\"/\">Back to the page</a></p></section></main>",
        Text(text)
    ))
}

const BRAND: &str = "<a class=\"brand\" href=\"/\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"M12 2 4 5.5v6c0 \
                     5 3.4 8.7 8 10.5 4.6-1.8 8-5.5 8-10.5v-6z\"/><path class=\"tick\" d=\"m8.5 12 2.5 2.5 4.7-5\"/></svg>Sessions</a>";

const FOOTER: &str = "<footer><p>The routes of every tutorial: <a href=\"/set\">/set</a> <a href=\"/get\">/get</a> \
                      <a href=\"/login\">/login</a> <a href=\"/get_session\">/get_session</a></p></footer>";

fn frame(body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Sessions</title>\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/style.css\"></head>\
         <body>{body}</body></html>\n"
    )
}

fn header(view: &View<'_>) -> String {
    let Some(owner) = view.owner else {
        return format!("<header class=\"top\">{BRAND}<span class=\"muted\">Not signed in</span></header>");
    };
    let initial = owner.chars().next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!(
        "<header class=\"top\">{BRAND}<div class=\"who\"><span class=\"avatar\" aria-hidden=\"true\">{}</span>\
         <strong id=\"owner\">{}</strong>{}</div></header>",
        Text(&initial),
        Text(owner),
        form("/sign-out", view.token, "<button class=\"quiet\" id=\"sign-out\">Sign out</button>")
    )
}

fn flashes(flashes: &[Flash]) -> String {
    let mut html = String::new();
    for flash in flashes {
        let class = if flash.category == "error" { "error" } else { "success" };
        let _ = write!(html, "<p class=\"flash {class}\" role=\"status\">{}</p>", Text(&flash.message));
    }
    html
}

fn counter(visits: u64) -> String {
    let times = if visits == 1 { "visit" } else { "visits" };
    format!(
        "<section class=\"card counter\"><p class=\"number\" id=\"visits\">{visits}</p><div><h1>{times} in this session</h1>\
         <p class=\"muted\">Reload in ten tabs at once: every visit is counted, none twice.</p>\
         <a class=\"button\" id=\"again\" href=\"/\">Visit again</a></div></section>"
    )
}

fn sign_in(token: &str) -> String {
    let fields = "<label for=\"name\">Your name</label><div class=\"row\"><input id=\"name\" name=\"name\" \
                  placeholder=\"Ada Lovelace\" autocomplete=\"username\" maxlength=\"60\" required>\
                  <button id=\"sign-in\">Sign in</button></div>";
    format!(
        "<section class=\"card\"><h2>Sign in</h2><p class=\"muted\">Any name will do. Signing in gives the session a new \
         id; the old one stops working at once.</p>{}</section>",
        form("/sign-in", token, fields)
    )
}

fn devices(view: &View<'_>) -> String {
    let mut rows = String::new();
    for device in view.devices {
        rows.push_str(&row(device, view));
    }
    let everywhere = form(
        "/sign-out-elsewhere",
        view.token,
        "<button class=\"quiet\" id=\"elsewhere\">Sign out everywhere else</button>",
    );
    format!(
        "<section class=\"card\"><div class=\"title\"><h2>Your devices</h2>{everywhere}</div>\
         <ul class=\"devices\">{rows}</ul></section>"
    )
}

fn row(device: &Device, view: &View<'_>) -> String {
    let badge = if device.is_this { "<span class=\"badge\">This device</span>" } else { "" };
    let action = format!("/devices/{}/revoke", device.key);
    let label = if device.is_this { "Sign out" } else { "Revoke" };
    let button = format!("<button class=\"danger\">{label}</button>");
    format!(
        "<li data-key=\"{key}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><rect x=\"3\" y=\"4\" width=\"18\" \
         height=\"12\" rx=\"1.5\"/><path d=\"M2 20h20\"/></svg><div class=\"what\"><strong>{browser}</strong>{badge}\
         <span class=\"muted\">Last seen {seen}, signed in {since}</span></div>{form}</li>",
        key = device.key,
        browser = Text(&device.browser),
        seen = Ago(view.now.saturating_since(device.seen_at)),
        since = Ago(view.now.saturating_since(device.signed_in_at)),
        form = form(&action, view.token, &button),
    )
}

fn details(view: &View<'_>) -> String {
    let begun = view.created_at.map(|at| Ago(view.now.saturating_since(at)).to_string()).unwrap_or_default();
    let ends = view.expires_at.map(|at| Span(at.saturating_since(view.now)).to_string()).unwrap_or_default();
    let key = view.key.map(|key| key.to_string()).unwrap_or_default();
    format!(
        "<section class=\"card\"><h2>This session</h2><dl><div><dt>Kept in</dt><dd>{}</dd></div>\
         <div><dt>Begun</dt><dd>{begun}</dd></div><div><dt>Ends, if not used</dt><dd>in {ends}</dd></div>\
         <div class=\"wide\"><dt>Key at the server</dt><dd><code id=\"key\">{key}</code></dd></div></dl>\
         <p class=\"muted\">The key is safe to show: it names the session for its whole life, and opens nothing. What opens \
         it is the secret beside the key in your cookie, of which the server keeps a hash.</p></section>",
        Text(view.storage),
    )
}

fn form(action: &str, token: &str, fields: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"csrf\" value=\"{}\">{fields}</form>",
        Text(action),
        Text(token)
    )
}

/// Text that may come from anybody.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A length of time in its largest unit.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..60 => (seconds, "second"),
            60..3_600 => (seconds / 60, "minute"),
            3_600..172_800 => (seconds.div_ceil(3_600), "hour"),
            _ => (seconds.div_ceil(86_400), "day"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// How long ago something was.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(5) {
            f.write_str("just now")
        } else {
            write!(f, "{} ago", Span(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_came_from_somebody_is_html() {
        let evil = "<script>\"'&";
        let flash = session_core::Session::empty();
        flash.flash("success", evil).unwrap();
        let key = session_core::SessionId::generate().unwrap().key();
        let now = Timestamp::from_millis(1_000_000);
        let device = Device { key, browser: evil.to_owned(), seen_at: now, signed_in_at: now, is_this: true };
        let html = render(&View {
            visits: 1,
            owner: Some(evil),
            devices: &[device],
            flashes: &flash.take_flashes().unwrap(),
            token: evil,
            storage: evil,
            key: Some(key),
            created_at: Some(now),
            expires_at: Some(now),
            now,
        });
        assert!(!html.contains("<script"), "{html}");
        assert!(html.matches("&lt;script&gt;&quot;&#39;&amp;").count() >= 5, "{html}");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "just now"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(Ago(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
