//! A Git server over HTTP or HTTPS on loopback: `git http-backend` behind a few lines of HTTP, with faults on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What goes wrong, once or always, with requests that contain a text in their first line.
pub enum Fault {
    /// This status, with an empty page.
    Status(u16),
    /// A page for people.
    Html,
    /// Sent on to an address; `{path}` stands for path and query of the request.
    Redirect(String),
    /// The connection is cut before anything is done.
    CutBefore,
    /// The connection is cut after the work was done.
    CutAfter,
    /// The answer is cut in its middle.
    CutWithin,
    /// No answer for this long.
    Hang(Duration),
    /// One byte of answer, then none for this long.
    Stall(Duration),
    /// Something else happens first.
    First(Box<dyn Fn() + Send>),
}

struct Rule {
    pattern: String,
    fault: Fault,
    once: bool,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<String>>,
    authorization: Mutex<Option<String>>,
}

pub struct Server {
    port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
}

impl Server {
    /// Serves the repositories below `root`.
    pub fn http(root: &Path) -> Self {
        Self::start(root, None)
    }

    pub fn https(root: &Path, certificates: &Certificates) -> Self {
        Self::start(root, Some(certificates.server()))
    }

    fn start(root: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let (theirs, root, scheme) = (Arc::clone(&shared), root.to_owned(), if tls.is_some() { "https" } else { "http" });
        // Ends with the process; a connection that fails is the test's matter.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, root, tls) = (Arc::clone(&theirs), root.clone(), tls.clone());
                std::thread::spawn(move || {
                    if let Some(tls) = tls {
                        let Ok(connection) = rustls::ServerConnection::new(tls) else { return };
                        let _ = serve(rustls::StreamOwned::new(connection, stream), &root, &shared);
                    } else {
                        let _ = serve(stream, &root, &shared);
                    }
                });
            }
        });
        Self { port, scheme, shared }
    }

    pub fn url(&self) -> String {
        self.url_of("team/shop.git")
    }

    pub fn url_of(&self, repository: &str) -> String {
        format!("{}://127.0.0.1:{}/{repository}", self.scheme, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on only requests with this header are answered.
    pub fn require(&self, authorization: &str) {
        *self.shared.authorization.lock().unwrap() = Some(authorization.to_owned());
    }

    /// The next request that matches goes wrong.
    pub fn once(&self, pattern: &str, fault: Fault) {
        self.shared.rules.lock().unwrap().push(Rule { pattern: pattern.to_owned(), fault, once: true });
    }

    /// Every request that matches goes wrong.
    pub fn always(&self, pattern: &str, fault: Fault) {
        self.shared.rules.lock().unwrap().push(Rule { pattern: pattern.to_owned(), fault, once: false });
    }

    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// First lines of all requests so far, with ` authorized` behind those that brought credentials.
    pub fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

struct Request {
    first_line: String,
    authorization: Option<String>,
    content_type: String,
    body: Vec<u8>,
}

fn read_request(stream: &mut impl BufRead) -> std::io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("no request"));
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        })
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        first_line: lines[0].clone(),
        authorization: header("authorization"),
        content_type: header("content-type").unwrap_or_default(),
        body,
    })
}

fn serve(stream: impl Read + Write, root: &Path, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream)?;
    let stream = stream.get_mut();
    let mark = if request.authorization.is_some() { " authorized" } else { "" };
    shared.log.lock().unwrap().push(format!("{}{mark}", request.first_line.trim_end_matches(" HTTP/1.1")));
    let fault = {
        let mut rules = shared.rules.lock().unwrap();
        let found = rules.iter().position(|rule| request.first_line.contains(&rule.pattern));
        found.map(|at| {
            if rules[at].once {
                rules.remove(at)
            } else {
                Rule { pattern: String::new(), fault: again(&rules[at].fault), once: true }
            }
        })
    };
    let fault = fault.map(|rule| rule.fault);
    match &fault {
        Some(Fault::Status(code)) => return respond(stream, &format!("{code} No"), &[], b""),
        Some(Fault::Html) => {
            return respond(stream, "200 OK", &["Content-Type: text/html".to_owned()], b"<html>planted-token</html>");
        }
        Some(Fault::Redirect(to)) => {
            let path = request.first_line.split(' ').nth(1).unwrap_or_default();
            return respond(stream, "301 Moved", &[format!("Location: {}", to.replace("{path}", path))], b"");
        }
        Some(Fault::CutBefore) => return Ok(()),
        Some(Fault::Hang(time)) => {
            std::thread::sleep(*time);
            return Ok(());
        }
        Some(Fault::First(work)) => work(),
        Some(Fault::CutAfter | Fault::CutWithin | Fault::Stall(_)) | None => {}
    }
    let wanted = shared.authorization.lock().unwrap().clone();
    if wanted.is_some() && wanted != request.authorization {
        return respond(stream, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"git\"".to_owned()], b"");
    }
    let (status, headers, body) = backend(root, &request)?;
    match fault {
        Some(Fault::CutAfter) => Ok(()),
        Some(Fault::CutWithin) => {
            write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\n{}\r\nContent-Length: {}\r\n\r\n",
                headers.join("\r\n"),
                body.len()
            )?;
            stream.write_all(&body[..body.len() / 2])?;
            stream.flush()
        }
        Some(Fault::Stall(time)) => {
            write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\n{}\r\nContent-Length: {}\r\n\r\n",
                headers.join("\r\n"),
                body.len()
            )?;
            stream.write_all(&body[..1])?;
            stream.flush()?;
            std::thread::sleep(time);
            Ok(())
        }
        _ => respond(stream, &status, &headers, &body),
    }
}

fn again(fault: &Fault) -> Fault {
    match fault {
        Fault::Status(code) => Fault::Status(*code),
        Fault::Html => Fault::Html,
        Fault::Redirect(to) => Fault::Redirect(to.clone()),
        Fault::CutBefore => Fault::CutBefore,
        Fault::CutAfter => Fault::CutAfter,
        Fault::CutWithin => Fault::CutWithin,
        Fault::Hang(time) => Fault::Hang(*time),
        Fault::Stall(time) => Fault::Stall(*time),
        Fault::First(_) => panic!("happens once"),
    }
}

fn respond(stream: &mut impl Write, status: &str, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Runs `git http-backend` as a CGI program.
fn backend(root: &Path, request: &Request) -> std::io::Result<(String, Vec<String>, Vec<u8>)> {
    let mut words = request.first_line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "tidegate")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", &request.content_type)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(&request.body)?;
    let output = child.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| std::io::Error::other("no headers"))?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut status = "200 OK".to_owned();
    let mut headers = Vec::new();
    for line in head.lines() {
        match line.strip_prefix("Status: ") {
            Some(code) => code.clone_into(&mut status),
            None => headers.push(line.to_owned()),
        }
    }
    Ok((status, headers, output[end + 4..].to_vec()))
}

/// An authority and a certificate of its for `127.0.0.1`, made by openssl.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let output = Command::new("openssl").current_dir(folder.path()).args(arguments.split(' ')).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"));
        openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server -addext subjectAltName=IP:127.0.0.1"));
        openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 2 -out server.crt",
        );
        Self { folder }
    }

    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.path("ca.crt")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let certificate = CertificateDer::from_pem_file(self.path("server.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    port
}
