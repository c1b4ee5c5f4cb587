//! Header rules, prefixes and redirects as they are read: what is taken, and every refusal with its words.

use super::super::tests::{LEAST, config, report};
use super::*;

fn app(lines: &str) -> String {
    format!(
        "{LEAST}[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n[[routes]]\npath = \"/app/v1\"\nupstream = \"app\"\n{lines}\n"
    )
}

fn elsewhere(lines: &str) -> String {
    format!("{LEAST}[[routes]]\npath = \"/old\"\n{lines}\n")
}

#[test]
fn rules_are_read_with_their_variables_and_braces_that_are_none_stand_for_themselves() {
    let lines = "[routes.request_headers]\nset = [\"X-Tenant: a{host}b\", 'X-Json: {\"a\":{}}']\nadd = [\"X-C: {client_ip}\"]\n\
                 remove = [\"Cookie\", \"authorization\"]\n[routes.response_headers]\nsecurity = true\nadd = [\"Set-Cookie: a=1, b\"]";
    let shape = config(&app(lines), &[]).routes.remove(0).shape;
    let text = |text: &str| Part::Text(text.to_owned());
    let set = &shape.request_headers.set;
    assert_eq!(set[0].value, [text("a"), Part::Host, text("b")]);
    assert_eq!(set[1].value, [text("{\"a\":{}}")]);
    assert_eq!(shape.request_headers.add[0].value, [Part::ClientIp]);
    assert_eq!(shape.request_headers.remove.len(), 2);
    assert!(shape.response_headers.security);
    let all =
        format!("{LEAST}[response_headers]\nsecurity = true\n[request_headers]\nremove = [\"X-Debug\"]\n");
    let all = config(&all, &[]);
    assert!(all.response_headers.security && all.request_headers.remove[0] == "x-debug");
}

#[test]
fn what_the_gate_says_itself_cannot_be_touched_by_a_request_rule() {
    for name in [
        "X-Auth-Subject",
        "x_auth_subject",
        "X.Auth.Subject",
        "X-Keepgate-Assertion",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Encoding",
        "Content-Range",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Expect",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Request-Id",
        "X-Original-URL",
        "X-Rewrite-Url",
    ] {
        for rule in [
            format!("set = [\"{name}: x\"]"),
            format!("add = [\"{name}: x\"]"),
            format!("remove = [\"{name}\"]"),
        ] {
            for text in [
                app(&format!("[routes.request_headers]\n{rule}")),
                format!("{LEAST}[request_headers]\n{rule}\n"),
            ] {
                let said = report(&text, &[]);
                assert!(
                    said.contains("request_headers.") && said.contains("remove it"),
                    "{name} {rule}: {said}"
                );
            }
        }
    }
    for name in ["Authorization", "Cookie"] {
        let said = report(&app(&format!("[routes.request_headers]\nset = [\"{name}: x\"]")), &[]);
        assert!(said.contains("a secret"), "{said}");
    }
}

#[test]
fn an_answers_framing_and_the_gates_own_headers_cannot_be_touched() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Trailer",
        "Content-Encoding",
        "X-Request-Id",
    ] {
        let said = report(&app(&format!("[routes.response_headers]\nset = [\"{name}: x\"]")), &[]);
        assert!(said.contains("routes[1].response_headers.set"), "{name}: {said}");
    }
    let cors = "response_headers]\nset = [\"Access-Control-Allow-Origin: *\"]";
    assert_eq!(report(&app(&format!("[routes.{cors}")), &[]), "no problem");
    for text in [format!("{LEAST}[{cors}\n"), format!("{LEAST}[routes.{cors}\n")] {
        assert!(report(&text, &[]).contains("[cors]"), "{text}");
    }
}

#[test]
fn what_is_no_header_is_refused_in_words() {
    let lines = "[routes.request_headers]\nset = [\"X-A\", \"X A: b\", \": b\", \"X-A:\", \"X-A: \\tb\\u0000\", \"X-É: b\", \"X-A: é\", \
                 \"X-A: {hots}\", \"X-A: b\\r\\nX-B: c\", 5]\nremove = [\"X-A: b\"]\n\
                 [routes.response_headers]\nset = [\"X-B: {host}\", \"X-C: 1\", \"x-c: 2\"]";
    insta::assert_snapshot!(report(&app(lines), &[]));
    for twice in ["set = [\"X-C: 1\", \"x-c: 2\"]", "set = [\"X-C: 1\"]\nremove = [\"x-C\"]"] {
        let said = report(&app(&format!("[routes.response_headers]\n{twice}")), &[]);
        assert!(said.contains("\"x-c\" is also set or removed"), "{said}");
    }
    let many = (0..=MOST).map(|at| format!("\"X-{at}: 1\"")).collect::<Vec<_>>().join(", ");
    assert!(report(&format!("{LEAST}[request_headers]\nadd = [{many}]\n"), &[]).contains("has 51 items"));
}

#[test]
fn a_prefix_is_taken_off_if_it_is_one_of_the_routes_path() {
    let shape = |lines: &str| config(&app(lines), &[]).routes.remove(0).shape;
    let strip = |lines: &str| shape(lines).strip_prefix;
    assert_eq!(strip("strip_prefix = true").as_deref(), Some("/app/v1"));
    assert_eq!(strip("strip_prefix = \"/app\"").as_deref(), Some("/app"));
    assert_eq!(strip("strip_prefix = false"), None);
    assert_eq!(shape("upstream_path = \"/v2\"").upstream_path.as_deref(), Some("/v2"));
    assert_eq!(shape("upstream_path = \"/\"").upstream_path, None);
    for wrong in
        ["\"/ap\"", "\"/other\"", "\"/\"", "\"/app/v1/x\"", "\"/app/\"", "\"app\"", "\"/a/../b\"", "5"]
    {
        let said = report(&app(&format!("strip_prefix = {wrong}")), &[]);
        assert!(said.contains("routes[1].strip_prefix"), "{wrong}: {said}");
    }
    let root = format!("{LEAST}strip_prefix = true\n").replace("api = true", "upstream = \"app\"")
        + "[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n";
    assert!(report(&root, &[]).contains("no beginning"), "{}", report(&root, &[]));
    let api = report(&format!("{LEAST}strip_prefix = true\nupstream_path = \"/x\"\n"), &[]);
    assert_eq!(api.matches("not used with `api`").count(), 2, "{api}");
}

#[test]
fn a_redirect_leads_to_a_fixed_host_and_takes_the_path_only_at_its_end() {
    let target = |lines: &str| config(&elsewhere(lines), &[]).routes.remove(0);
    let route = target("redirect = \"https://new.example.com/a/{path}\"\nredirect_status = 308");
    let want = Redirect { to: "https://new.example.com/a/".to_owned(), keeps_path: true, status: 308 };
    assert_eq!(route.target, RouteTarget::Redirect(want));
    assert_eq!(route.auth, crate::config::route::RouteAuth::None);
    assert_eq!(
        target("redirect = \"/\"\nauth = \"required\"").auth,
        crate::config::route::RouteAuth::Required
    );
    for good in ["/new?x=1", "https://h", "https://h:8443/x?y=1", "https://[::1]/{path}", "/{path}"] {
        assert_eq!(report(&elsewhere(&format!("redirect = \"{good}\"")), &[]), "no problem", "{good}");
    }
    for wrong in [
        "//evil.example/{path}",
        "http://new.example.com/",
        "https:///x",
        "https://{path}",
        "https://h{path}",
        "https://u@h/",
        "https://h:0/",
        "https://h:x/",
        "https://{host}/",
        "/x{path}",
        "/{path}/x",
        "/{path}/{path}",
        "/?x={path}",
        "/?x=/{path}",
        "/a/../b",
        "https://h/./{path}",
        "/x#y",
        "/a b",
        "/a\\\\b",
        "javascript:alert(1)",
        "new/{path}",
    ] {
        let said = report(&elsewhere(&format!("redirect = \"{wrong}\"")), &[]);
        assert!(said.contains("routes[1].redirect ") && said.contains("new.example.com"), "{wrong}: {said}");
    }
    for (lines, words) in [
        ("redirect = \"/x\"\nredirect_status = 200", "redirect_status"),
        ("redirect_status = 301\napi = true", "without `redirect`"),
        ("redirect = \"/x\"\napi = true", "several places"),
        ("redirect = \"/x\"\nupgrade = [\"websocket\"]", "`redirect`"),
        ("redirect = \"/x\"\nstrip_prefix = true", "not used with `redirect`"),
        ("redirect = \"/old\"", "leads to itself"),
        ("redirect = \"/old/new/{path}\"", "leads to itself"),
        ("redirect = \"/old?x=1\"\nmethods = [\"POST\"]", "no problem"),
        ("redirect = \"/older\"", "no problem"),
        ("redirect = \"/old/new\"\n[[routes]]\npath = \"/old/new\"\napi = true", "no problem"),
        ("redirect = \"/x\"\nroles = [\"a\"]", "lets callers in"),
    ] {
        let said = report(&elsewhere(lines), &[]);
        assert!(said.contains(words), "{lines}: {said}");
    }
}

proptest::proptest! {
    /// A short fuzz of the two little languages that clients' words are put into.
    #[test]
    fn what_is_taken_keeps_its_shape_whatever_is_written(written in "[/a.?{}:hostpath_#%@ ]{0,24}") {
        let node = Node { place: crate::config::problem::Place::Unset, value: Value::Text(written.clone()) };
        if let Ok((to, keeps_path)) = destination(&node) {
            assert!(!to.contains('{') && !to.starts_with("//"));
            assert!(!keeps_path || to.ends_with('/'));
            assert!(to.starts_with('/') || to.starts_with("https://"));
        }
        if let Ok(parts) = parts(&written, Side::Request) {
            let told: String = parts.iter().map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Host => "{host}",
                Part::ClientIp => "{client_ip}",
                Part::RequestId => "{request_id}",
            }).collect();
            assert_eq!(told, written);
        }
    }
}
