//! Header rules, compiled: the route's put over those for all. Which names may stand in them was settled when the
//! configuration was read.

use std::net::IpAddr;

use http::header::{HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue};

use crate::config::headers::{HeaderRules, Line, Part};

/// What `security` adds where the application does not say it (OWASP Secure Headers Project): nothing is taken for
/// another type than it says, no foreign page frames this one, and links tell other sites the origin alone.
/// `Strict-Transport-Security` is `tls.hsts`'s.
const SECURITY: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    (REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
];

/// What values may be made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The host that was asked for.
    pub host: &'a str,
    /// The client.
    pub client: IpAddr,
    /// The request's id.
    pub request_id: &'a HeaderValue,
}

/// Rules for one direction.
#[derive(Debug)]
pub struct Rules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    fill: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug)]
enum Value {
    /// Copied without an allocation.
    Fixed(HeaderValue),
    Made(Vec<Part>),
}

impl Rules {
    /// The route's rules over those for all; none if there are none. What the route sets or removes is not set,
    /// and what it removes not added, by the others.
    pub fn new(all: &HeaderRules, route: &HeaderRules) -> Option<Self> {
        let sets = |name: &HeaderName| route.set.iter().any(|line| line.name == *name);
        let removes = |name: &HeaderName| route.remove.contains(name);
        let kept = |line: &&Line| !removes(&line.name);
        let inherited = all.set.iter().filter(kept).filter(|line| !sets(&line.name));
        let fill = SECURITY.into_iter().filter(|_| all.security || route.security);
        let rules = Self {
            remove: all.remove.iter().chain(&route.remove).cloned().collect(),
            set: inherited.chain(&route.set).map(compiled).collect(),
            add: all.add.iter().filter(kept).chain(&route.add).map(compiled).collect(),
            fill: fill.filter(|(name, _)| !removes(name) && !all.remove.contains(name)).collect(),
        };
        let nothing = rules.remove.is_empty() && rules.set.is_empty() && rules.add.is_empty();
        (!nothing || !rules.fill.is_empty()).then_some(rules)
    }

    /// Changes a message's headers.
    pub fn apply(&self, headers: &mut HeaderMap, facts: Facts<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.of(facts));
        }
        for (name, value) in &self.add {
            headers.append(name, value.of(facts));
        }
        for (name, value) in &self.fill {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
    }
}

fn compiled(line: &Line) -> (HeaderName, Value) {
    fn text(part: &Part) -> Option<&str> {
        match part {
            Part::Text(text) => Some(text),
            _ => None,
        }
    }
    let fixed: Option<String> = line.value.iter().map(text).collect();
    let fixed = fixed.and_then(|text| HeaderValue::try_from(text).ok());
    (line.name.clone(), fixed.map_or_else(|| Value::Made(line.value.clone()), Value::Fixed))
}

impl Value {
    fn of(&self, Facts { host, client, request_id }: Facts<'_>) -> HeaderValue {
        let parts = match self {
            Self::Fixed(value) => return value.clone(),
            Self::Made(parts) => parts,
        };
        let mut made = String::new();
        for part in parts {
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Host => made.push_str(host),
                Part::ClientIp => made.push_str(&client.to_string()),
                Part::RequestId => made.push_str(request_id.to_str().unwrap_or_default()),
            }
        }
        // A host and an address have no characters that a value could not.
        HeaderValue::try_from(made).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, value: &str) -> Line {
        let name = HeaderName::from_static(name);
        Line { name, value: vec![Part::Text(value.to_owned())] }
    }

    fn applied(
        all: &HeaderRules,
        route: &HeaderRules,
        before: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let id = HeaderValue::from_static("id");
        let facts = Facts { host: "h", client: "2001:db8::1".parse().unwrap(), request_id: &id };
        if let Some(rules) = Rules::new(all, route) {
            rules.apply(&mut headers, facts);
        }
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn a_route_says_the_last_word_about_what_is_said_for_all() {
        let all = HeaderRules {
            set: vec![line("x-a", "all"), line("x-b", "all"), line("x-c", "all")],
            add: vec![line("x-d", "all"), line("x-e", "all")],
            remove: vec![HeaderName::from_static("x-f")],
            security: true,
        };
        let route = HeaderRules {
            set: vec![line("x-b", "route"), line("x-f", "route")],
            add: vec![line("x-d", "route")],
            remove: ["x-c", "x-e", "x-frame-options"].map(HeaderName::from_static).to_vec(),
            security: false,
        };
        let before = [("x-a", "app"), ("x-a", "app"), ("x-c", "app"), ("x-d", "app"), ("x-f", "app")];
        let want = [
            "referrer-policy: strict-origin-when-cross-origin",
            "x-a: all",
            "x-b: route",
            "x-content-type-options: nosniff",
            "x-d: all",
            "x-d: app",
            "x-d: route",
            "x-f: route",
        ];
        assert_eq!(applied(&all, &route, &before), want);
    }

    #[test]
    fn the_preset_does_not_replace_what_the_application_says() {
        let rules = HeaderRules { security: true, ..HeaderRules::default() };
        let lines = applied(&HeaderRules::default(), &rules, &[("x-frame-options", "DENY")]);
        assert!(lines.contains(&"x-frame-options: DENY".to_owned()) && lines.len() == 3, "{lines:?}");
    }

    #[test]
    fn values_are_made_of_what_is_known_and_no_rules_are_nothing() {
        let value = vec![Part::Text("a ".into()), Part::Host, Part::ClientIp, Part::RequestId];
        let made = Line { name: HeaderName::from_static("x-made"), value };
        let rules = HeaderRules { set: vec![made], ..HeaderRules::default() };
        assert_eq!(applied(&rules, &HeaderRules::default(), &[]), ["x-made: a h2001:db8::1id"]);
        assert!(Rules::new(&HeaderRules::default(), &HeaderRules::default()).is_none());
    }
}
