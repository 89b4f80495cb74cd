//! The header that empties a browser at sign-out.

use http::header::{HeaderName, HeaderValue};

/// What a browser is asked to forget by [`clear_site_data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SiteData {
    /// Cached responses, and pages kept for the back button.
    Cache,
    /// All cookies of the site and its subdomains, also those that this response sets.
    Cookies,
    /// What scripts stored, such as `localStorage`.
    Storage,
}

/// The header `Clear-Site-Data` for the response to a sign-out, so that the next user of the browser finds nothing.
///
/// Browsers obey it over `https` only (and on the machine itself), and some not at all: it is an addition to
/// [`Session::destroy`](session_core::Session::destroy), never a replacement. To empty the cache may take the browser
/// seconds.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::response::{IntoResponse, Redirect};
/// use session_http::{Session, SiteData, clear_site_data};
///
/// async fn sign_out(session: Session) -> impl IntoResponse {
///     session.destroy();
///     ([clear_site_data(&[SiteData::Cache, SiteData::Storage])], Redirect::to("/"))
/// }
/// # }
/// ```
#[must_use]
pub fn clear_site_data(what: &[SiteData]) -> (HeaderName, HeaderValue) {
    let listed = |item: SiteData| what.contains(&item);
    let value = match (listed(SiteData::Cache), listed(SiteData::Cookies), listed(SiteData::Storage)) {
        (false, false, false) => "",
        (true, false, false) => r#""cache""#,
        (false, true, false) => r#""cookies""#,
        (false, false, true) => r#""storage""#,
        (true, true, false) => r#""cache", "cookies""#,
        (true, false, true) => r#""cache", "storage""#,
        (false, true, true) => r#""cookies", "storage""#,
        (true, true, true) => r#""cache", "cookies", "storage""#,
    };
    (HeaderName::from_static("clear-site-data"), HeaderValue::from_static(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_listed_once_and_in_quotes() {
        let text = |what: &[SiteData]| clear_site_data(what).1.to_str().unwrap().to_owned();
        assert_eq!(text(&[SiteData::Cache]), r#""cache""#);
        assert_eq!(text(&[SiteData::Storage, SiteData::Cache, SiteData::Cache]), r#""cache", "storage""#);
        assert_eq!(
            text(&[SiteData::Cookies, SiteData::Storage, SiteData::Cache]),
            r#""cache", "cookies", "storage""#
        );
        assert_eq!(text(&[]), "");
    }
}
