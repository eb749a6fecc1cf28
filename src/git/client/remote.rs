//! Where a repository is, and what opens it. Secrets go in and come out only as a request's header.

use std::fmt;

use reqwest::{Certificate, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::git::revision::printable;

/// Longest address.
const MAX_URL: usize = 1024;
/// Shortest secret that is looked for in other texts: shorter ones would match by chance.
const LEAST_SECRET: usize = 4;

/// Why an address or a Secret cannot be used. Never carries what was in it, except the scheme.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RemoteError {
    /// Not an address.
    #[error("the repository's address cannot be read; write https://host/path, at most 1024 characters, without query")]
    Address,
    /// Another scheme.
    #[error("the repository's address begins with '{0}:'; only https is allowed (http with the flag --insecure-git-http)")]
    Scheme(String),
    /// User or password in the address.
    #[error("the repository's address carries a user or password; put them into the Secret")]
    UserInfo,
    /// A key of the Secret cannot be used.
    #[error("key '{key}' of the Secret {why}")]
    Key {
        /// Name of the key.
        key: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Address of a repository: https (http only when allowed), without credentials, query and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// Reads an address. `insecure_http` also lets `http://` through (flag `--insecure-git-http`).
    ///
    /// # Errors
    /// Anything but a plain https address; the error never quotes it.
    pub fn parse(text: &str, insecure_http: bool) -> Result<Self, RemoteError> {
        if text.len() > MAX_URL {
            return Err(RemoteError::Address);
        }
        let mut url = Url::parse(text).map_err(|_| RemoteError::Address)?;
        match url.scheme() {
            "https" => {}
            "http" if insecure_http => {}
            other => return Err(RemoteError::Scheme(printable(other, 20))),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RemoteError::UserInfo);
        }
        if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
            return Err(RemoteError::Address);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    /// Host, and port when it is not the scheme's own.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

enum Credentials {
    Basic { username: SecretString, password: SecretString },
    Bearer(SecretString),
}

/// What opens a remote: credentials, and the authority that signs its certificate. `Debug` says only which keys there are.
#[derive(Default)]
pub struct Access {
    credentials: Option<Credentials>,
    authorities: Option<Vec<Certificate>>,
}

impl Access {
    /// No credentials, and the system's authorities.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// From a Secret's keys: `username` and `password`, or `bearerToken`; optional `ca.crt` (PEM; replaces the system's
    /// authorities). A newline at the end of a value is dropped: editors add it.
    ///
    /// # Errors
    /// Names the key that is missing, contradicts another or cannot be read; never its value.
    pub fn from_secret<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, RemoteError> {
        let text = |key: &'static str| get(key).map(|bytes| secret(key, bytes)).transpose();
        let credentials = match (text("username")?, text("password")?, text("bearerToken")?) {
            (None, None, None) => None,
            (None, None, Some(token)) => Some(Credentials::Bearer(token)),
            (_, _, Some(_)) => {
                return Err(RemoteError::Key {
                    key: "bearerToken",
                    why: "stands beside username or password; keep one of the two",
                });
            }
            (username, Some(password), None) => {
                // Forges take any name, or "git", beside a token.
                Some(Credentials::Basic { username: username.unwrap_or_else(|| SecretString::from("git")), password })
            }
            (Some(_), None, None) => return Err(RemoteError::Key { key: "password", why: "is missing beside username" }),
        };
        Ok(Self { credentials, authorities: get("ca.crt").map(authorities).transpose()? })
    }

    pub(super) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            None => request,
            Some(Credentials::Basic { username, password }) => {
                request.basic_auth(username.expose_secret(), Some(password.expose_secret()))
            }
            Some(Credentials::Bearer(token)) => request.bearer_auth(token.expose_secret()),
        }
    }

    pub(super) fn authorities(&self) -> Option<&[Certificate]> {
        self.authorities.as_deref()
    }

    /// `text`, a server's words, without our secrets: a server could send back what it was sent.
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets: &[&SecretString] = match &self.credentials {
            None => &[],
            Some(Credentials::Basic { username: _, password }) => &[password],
            Some(Credentials::Bearer(token)) => &[token],
        };
        let mut text = text.to_owned();
        for secret in secrets {
            if secret.expose_secret().len() >= LEAST_SECRET {
                text = text.replace(secret.expose_secret(), "(hidden)");
            }
        }
        text
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.credentials {
            None => "none",
            Some(Credentials::Basic { .. }) => "username and password",
            Some(Credentials::Bearer(_)) => "bearerToken",
        };
        f.debug_struct("Access").field("credentials", &kind).field("own authorities", &self.authorities.is_some()).finish()
    }
}

fn secret(key: &'static str, bytes: &[u8]) -> Result<SecretString, RemoteError> {
    let text = str::from_utf8(bytes).map_err(|_| RemoteError::Key { key, why: "is not text" })?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(RemoteError::Key { key, why: "is empty" });
    }
    if text.chars().any(char::is_control) {
        return Err(RemoteError::Key { key, why: "has a control character or more than one line" });
    }
    Ok(SecretString::from(text))
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, RemoteError> {
    let unreadable = RemoteError::Key { key: "ca.crt", why: "has no certificate in PEM form" };
    match Certificate::from_pem_bundle(pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Protects: no other scheme, no credentials in an address; and no error quotes what it refuses.
    #[test]
    fn addresses() {
        let refused = [
            ("ext::sh -c touch", false, RemoteError::Scheme("ext".to_owned())),
            ("file:///etc", true, RemoteError::Scheme("file".to_owned())),
            ("ssh://git@host/x", true, RemoteError::Scheme("ssh".to_owned())),
            ("http://host/x", false, RemoteError::Scheme("http".to_owned())),
            ("https://planted-token@host/x", false, RemoteError::UserInfo),
            ("https://ada:planted-token@host/x", false, RemoteError::UserInfo),
            ("https://host/x?token=planted-token", false, RemoteError::Address),
            ("https://host/x#planted-token", false, RemoteError::Address),
            ("--upload-pack=x", false, RemoteError::Address),
            ("host:path", false, RemoteError::Scheme("host".to_owned())),
            ("https://", false, RemoteError::Address),
        ];
        for (text, http, wanted) in refused {
            let error = RemoteUrl::parse(text, http).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("planted"), "{text}: {error}");
            assert_eq!(error, wanted, "{text}");
        }
        let url = RemoteUrl::parse("https://Host:8443/team/x.git/", false).unwrap();
        assert_eq!((url.to_string().as_str(), url.host().as_str()), ("https://host:8443/team/x.git", "host:8443"));
        assert!(RemoteUrl::parse("http://127.0.0.1:1/x", true).is_ok());
    }

    fn access(keys: &[(&str, &str)]) -> Result<Access, RemoteError> {
        let map: BTreeMap<&str, &[u8]> = keys.iter().map(|(k, v)| (*k, v.as_bytes())).collect();
        Access::from_secret(|key| map.get(key).copied())
    }

    /// Protects: which keys a Secret may have, and that neither errors nor `Debug` show a value.
    #[test]
    fn secrets() {
        let good: [(&[(&str, &str)], &str); 4] = [
            (&[], "none"),
            (&[("password", "planted-token\n")], "username and password"),
            (&[("username", "ada"), ("password", "planted-token\r\n")], "username and password"),
            (&[("bearerToken", "planted-token")], "bearerToken"),
        ];
        for (keys, wanted) in good {
            let debug = format!("{:?}", access(keys).unwrap());
            assert_eq!(debug, format!("Access {{ credentials: \"{wanted}\", own authorities: false }}"));
        }
        let bad: [(&[(&str, &str)], &str); 6] = [
            (&[("username", "ada")], "password"),
            (&[("username", "ada"), ("password", "")], "password"),
            (&[("password", "planted\ntoken")], "password"),
            (&[("bearerToken", "planted-token"), ("password", "x")], "bearerToken"),
            (&[("bearerToken", "planted\u{0}token")], "bearerToken"),
            (&[("ca.crt", "planted-token")], "ca.crt"),
        ];
        for (keys, wanted) in bad {
            let error = access(keys).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
            assert!(matches!(error, RemoteError::Key { key, .. } if key == wanted), "{error}");
        }
    }

    /// Protects: a server that sends our secret back does not get it into our messages.
    #[test]
    fn echoes() {
        let access = access(&[("username", "ada"), ("password", "planted-token")]).unwrap();
        assert_eq!(access.redact("you sent planted-token, ada"), "you sent (hidden), ada");
    }
}
