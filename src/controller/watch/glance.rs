//! Reads that cost little: for a look that only asks whether there is anything to do.
//!
//! A read at least as new as what the watches have shown sees what made us look, wherever it is answered from, and what
//! is newer still comes as an event of its own. So it is enough for finding that there is nothing to do; and the API
//! server answers it from memory. It is not enough for doing anything: that is decided on a read from the store itself.

use std::sync::Arc;

use http::{Method, Request, Uri};
use kube::Client;
use kube::client::Body;
use tower::service_fn;

use super::seen::Seen;
use crate::controller::count::{Target, target};

/// A client whose reads of watched kinds are as new as what the watches have shown. Other kinds are read live.
#[must_use]
pub fn client(inner: &Client, seen: &Arc<Seen>) -> Client {
    let (own, seen) = (inner.clone(), Arc::clone(seen));
    let service = service_fn(move |mut request: Request<Body>| {
        let client = own.clone();
        if let Some(uri) = relaxed(request.method(), request.uri(), &seen) {
            *request.uri_mut() = uri;
        }
        async move { client.send(request).await }
    });
    Client::new(service, inner.default_namespace())
}

/// The address of a read that may be answered from memory; none when the request has to stay as it is.
fn relaxed(method: &Method, uri: &Uri, seen: &Seen) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    if *method != Method::GET || query.contains("watch=") || query.contains("resourceVersion=") {
        return None;
    }
    let Target { resource, named } = target(uri.path());
    let version = seen.newest(resource)?;
    // One object's read knows no match: its version always means "not older than".
    let matching = if named { "" } else { "&resourceVersionMatch=NotOlderThan" };
    let separator = if query.is_empty() { "" } else { "&" };
    let path = uri.path();
    let text = format!("{path}?{query}{separator}resourceVersion={version}{matching}");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: reads of watched kinds are never older than what was shown. Everything else goes out as it is: what is
    /// not watched is read live, and a write or a watch is never touched.
    #[test]
    fn which_reads_are_relaxed() {
        let seen = Seen::default();
        seen.reached("services", 7);
        let asked = |method: Method, uri: &str| relaxed(&method, &uri.parse().unwrap(), &seen).map(|uri| uri.to_string());
        let list = "/api/v1/namespaces/shop/services?&labelSelector=a%3Db";
        let expected = format!("{list}&resourceVersion=7&resourceVersionMatch=NotOlderThan");
        assert_eq!(asked(Method::GET, list), Some(expected));
        let one = "/api/v1/namespaces/shop/services/web";
        assert_eq!(asked(Method::GET, one), Some(format!("{one}?resourceVersion=7")));
        for (method, uri) in [
            (Method::GET, "/api/v1/namespaces/shop/pods"),
            (Method::GET, "/api/v1/services?watch=true&resourceVersion=3"),
            (Method::GET, "/api/v1/services?&resourceVersion=3"),
            (Method::PATCH, one),
            (Method::POST, "/api/v1/namespaces/shop/services?&dryRun=All"),
        ] {
            assert_eq!(asked(method.clone(), uri), None, "{method} {uri}");
        }
    }
}
