//! What splits the traffic: routes, their rules, and which requests go to the canary by their headers.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What splits the traffic between stable and canary.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficRouting {
    /// Gateway API routes.
    #[serde(rename = "gatewayAPI")]
    pub gateway_api: GatewayApi,
    /// Names of the rules that `setHeaderRoute` and `setMirrorRoute` steps add to the routes, first in the routes and in this order. Whatever rule has such a name is Tidegate's: it is removed when its steps are over. Needs Gateway API 1.4, where rules have names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub managed_routes: Vec<ManagedRoute>,
    /// What all the traffic weighs: `setWeight`, and `weight` of `setCanaryScale`, are parts of it. With 1000, `setWeight: 5` is half a percent. 1..1000000; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_traffic_weight: Option<i32>,
}

impl TrafficRouting {
    /// What all the traffic weighs where a spec says nothing of it.
    pub const WHOLE: i32 = 100;

    /// What all the traffic weighs.
    #[must_use]
    pub fn whole(&self) -> i32 {
        self.max_traffic_weight.unwrap_or(Self::WHOLE)
    }
}

/// A part of the traffic in percent, for people: `10`, `0.5`; a thousandth of a percent is the least that is told apart.
#[must_use]
pub fn percent(part: i32, whole: i32) -> String {
    let thousandths = (i64::from(part) * 200_000 + i64::from(whole)) / (2 * i64::from(whole.max(1)));
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rule that steps add to the routes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct ManagedRoute {
    /// Name of the rule. Where a route has several rules with both Services, the second is `<name>-2`, and so on.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Is a rule of this name one of these managed ones, or the copy of a further rule: `<name>-2` and so on?
#[must_use]
pub fn is_managed_rule(rule: &str, names: &[String]) -> bool {
    names.iter().any(|name| {
        let rest = rule.strip_prefix(name.as_str());
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    })
}

/// Gateway API routes whose backend weights are set; at least one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.httpRoutes) && size(self.httpRoutes) > 0) || (has(self.grpcRoutes) && size(self.grpcRoutes) > 0)").message("gatewayAPI names at least one route, in httpRoutes or grpcRoutes"))]
pub struct GatewayApi {
    /// HTTPRoutes in the Rollout's namespace. In every rule that names both Services, their weights are set; nothing else is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub http_routes: Vec<RouteRef>,
    /// GRPCRoutes in the Rollout's namespace, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub grpc_routes: Vec<RouteRef>,
}

impl GatewayApi {
    /// The routes of a kind.
    #[must_use]
    pub fn of(&self, kind: RouteKind) -> &[RouteRef] {
        match kind {
            RouteKind::Http => &self.http_routes,
            RouteKind::Grpc => &self.grpc_routes,
        }
    }
}

/// Kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
}

impl RouteKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Http, Self::Grpc];

    /// Its `kind`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }

    /// The field of `gatewayAPI` that names such routes.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Http => "httpRoutes",
            Self::Grpc => "grpcRoutes",
        }
    }

    /// Its plural in paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Http => "httproutes",
            Self::Grpc => "grpcroutes",
        }
    }
}

/// A route in the Rollout's namespace, shown as `HTTPRoute web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for RouteId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}

/// A route by name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct RouteRef {
    /// Name of the route, in the Rollout's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Requests that go to the canary by their headers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SetHeaderRoute {
    /// Name of the rule; one of `trafficRouting.managedRoutes`.
    #[schemars(length(min = 1, max = 50))]
    pub name: String,
    /// Headers that a request must have, all of them. None: the rule is removed.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub matches: Vec<HeaderMatch>,
}

/// One header.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// Name of the header (for a GRPCRoute: of the metadata); letters in either case are the same.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"))]
    pub header_name: String,
    /// Its value.
    pub header_value: HeaderValue,
}

/// Value of a header: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, Hash, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.exact), has(self.prefix), has(self.regex)].filter(x, x).size() == 1").message("headerValue has exactly one of exact, prefix, regex"))]
pub struct HeaderValue {
    /// This value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub exact: Option<String>,
    /// Values that begin with this. Needs a gateway that knows regular expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub prefix: Option<String>,
    /// Values that this regular expression matches, in the gateway's own syntax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub regex: Option<String>,
}

/// Copies of requests that go to the canary, whose answers nobody gets.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct SetMirrorRoute {
    /// Name of the rule; one of `trafficRouting.managedRoutes`.
    #[schemars(length(min = 1, max = 50))]
    pub name: String,
    /// Which requests: those that meet any of these. None: the rule is removed.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub matches: Vec<MirrorMatch>,
    /// How many of them, in percent; 1..100. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percentage: Option<i32>,
}

/// Requests that meet all of the fields; at least one is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.method) || has(self.path) || (has(self.headers) && size(self.headers) > 0)").message("a match of setMirrorRoute has at least one of method, path, headers"))]
pub struct MirrorMatch {
    /// Their method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodMatch>,
    /// Their path. `prefix` is by whole elements of the path, as in an HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TextMatch>,
    /// Headers that they have, by name; letters of a name in either case are the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 4))]
    pub headers: BTreeMap<String, TextMatch>,
}

/// A method of HTTP.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, JsonSchema)]
pub struct MethodMatch {
    /// This one.
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)$"))]
    pub exact: String,
}

/// A text: exactly one of the fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.exact), has(self.prefix), has(self.regex)].filter(x, x).size() == 1").message("exactly one of exact, prefix, regex is given"))]
pub struct TextMatch {
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub exact: Option<String>,
    /// Those that begin with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub prefix: Option<String>,
    /// Those that this regular expression matches, in the gateway's own syntax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
}
