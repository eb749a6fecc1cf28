//! Which metric servers may be asked. Queries and addresses are anybody's text; the controller's network is not.
//!
//! A name is resolved once, its addresses are checked, and the connection goes to a checked address: a name that
//! resolves differently a moment later (DNS rebinding) gains nothing. Redirects are never followed.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most names of a list that are looked at.
const MAX_LISTED: usize = 1000;

/// Addresses of clouds' metadata services outside of the link-local ranges: they hand out credentials.
const METADATA: &[IpAddr] = &[
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Which hosts analyses of a namespace may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Any host that is not this machine: no Project lists the namespace.
    #[default]
    AnyRemote,
    /// These, as `host`, `host:port` or `*.suffix`: the union over the Projects that list the namespace. This machine
    /// too, when it is listed by name or address.
    Listed(Vec<String>),
}

/// Why a host is not asked. The text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the list.
    #[error("the address is not allowed: no Project of this namespace lists it under metricAddresses")]
    NotListed,
    /// 169.254.0.0/16, fe80::/10, metadata services.
    #[error("the address is not allowed: it is link-local or a metadata service")]
    LinkLocal,
    /// 127.0.0.0/8, ::1, 0.0.0.0/8.
    #[error("the address is not allowed: it is the controller's own machine; a Project may list it under metricAddresses")]
    Loopback,
    /// Multicast and broadcast.
    #[error("the address is not allowed: it is not the address of one host")]
    NotOneHost,
}

impl AddressPolicy {
    /// May this URL be asked, as far as can be said without resolving its name? Addresses written as numbers are
    /// decided here, because they are never resolved.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refusal> {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let listed = match self {
            Self::AnyRemote => false,
            Self::Listed(list) => {
                if !list.iter().take(MAX_LISTED).any(|entry| matches(entry, &host, url.port_or_known_default())) {
                    return Err(Refusal::NotListed);
                }
                true
            }
        };
        match ip_of(&host) {
            Some(ip) => check_ip(ip, listed),
            None => Ok(()),
        }
    }

    /// May a name resolve to this machine? Only one that somebody listed.
    pub(super) const fn loopback(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

/// Does an entry of the list mean this host and port? `*.suffix` means names below the suffix, not the suffix itself.
fn matches(entry: &str, host: &str, port: Option<u16>) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let (name, wanted) = match entry.rsplit_once(':') {
        // `[::1]` and `::1` have colons of their own.
        Some((name, digits)) if !name.is_empty() && (!name.contains(':') || name.ends_with(']')) => match digits.parse::<u16>() {
            Ok(number) => (name, Some(number)),
            Err(_) => return false,
        },
        _ => (entry.as_str(), None),
    };
    if wanted.is_some() && wanted != port {
        return false;
    }
    match name.strip_prefix("*.") {
        Some(suffix) => !suffix.is_empty() && host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        // The same address can be written in several ways.
        None => match (ip_of(name), ip_of(host)) {
            (Some(listed), Some(asked)) => listed == asked,
            (None, None) => !name.is_empty() && name.trim_end_matches('.') == host,
            _ => false,
        },
    }
}

fn ip_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// May a connection go to this address?
pub(super) fn check_ip(ip: IpAddr, loopback: bool) -> Result<(), Refusal> {
    let ip = embedded(ip);
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let this_machine = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    };
    if link_local || METADATA.contains(&ip) {
        Err(Refusal::LinkLocal)
    } else if this_machine && !loopback {
        Err(Refusal::Loopback)
    } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err(Refusal::NotOneHost)
    } else {
        Ok(())
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291), NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // IPv4-compatible addresses (::a.b.c.d) but not :: and ::1, which mean something of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => ip,
    }
}

/// Resolves names for the HTTP client, and hands out checked addresses only.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    /// May names resolve to this machine?
    pub(super) loopback: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.loopback;
        Box::pin(async move {
            // Port 0: the client puts the URL's own in its place.
            let found: Vec<SocketAddr> = match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => found.collect(),
                Err(_) => return Err(Box::new(Unresolved) as Box<dyn Error + Send + Sync>),
            };
            // One bad address among good ones is refused as a whole: nobody has a good reason for such a name.
            for address in &found {
                check_ip(address.ip(), loopback)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The name has no address.
#[derive(Debug)]
pub(super) struct Unresolved;

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of the server cannot be resolved")
    }
}

impl Error for Unresolved {}
