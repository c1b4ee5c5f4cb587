//! Several application servers behind a gate, and one of them killed, hung, refusing, breaking off: what
//! the client sees, what is tried again and what is not, and what an operator is told. Every server
//! remembers what reached it, so that nothing that was done twice goes unnoticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::client::{Answer, Client, plain};
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Way};

/// A file with these servers and these lines about their group.
fn file(servers: &[&Node], lines: &str) -> String {
    let addresses: Vec<_> = servers.iter().map(|node| node.address.to_string()).collect();
    format!(
        "[listen]\nworkers = 1\n[limits]\nresponse_timeout = \"1s\"\n[upstreams.app]\nservers = {addresses:?}\n\
         slow_start = \"0s\"\n{lines}\n[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n"
    )
}

fn gate(servers: &[&Node], lines: &str) -> Gate {
    Gate::start_from_file(&file(servers, lines))
}

async fn get(client: &Client, path: &str) -> Answer {
    client.get(path).send().await
}

async fn post(client: &Client, path: &str) -> Answer {
    client.post(path, json!({"pay": 1})).send().await
}

async fn metric(gate: &Gate, name: &str) -> u64 {
    let text = plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit_once(' ').expect("a value").1.parse::<u64>().expect("whole")).sum()
}

/// What `upstream list` says of a server.
fn told(gate: &Gate, node: &Node) -> Value {
    let list = gate.cli_json(&["upstream", "list"]);
    let address = node.address.to_string();
    let found = list.as_array().expect("a list").iter().find(|server| server["server"] == address);
    found.expect("it is listed").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_costs_no_request_and_is_left_out_soon() {
    let (up, gone) = (Node::start("up", Way::Answer).await, Node::start("gone", Way::Answer).await);
    let gate = gate(&[&gone, &up], "fail_timeout = \"1h\"");
    let address = gone.address.to_string();
    gone.kill().await;
    let client = gate.client();
    for number in 0..20 {
        assert_eq!(post(&client, &format!("/{number}")).await.expect(200).text(), "up");
    }
    assert_eq!(up.seen(), (0..20).map(|number| format!("POST /{number}")).collect::<Vec<_>>());
    assert_eq!(metric(&gate, "keepgate_upstream_retries_total").await, 3, "then nobody asks it any more");
    assert_eq!(metric(&gate, "keepgate_upstream_server_ejections_total").await, 1);
    let list = gate.cli_json(&["upstream", "list"]);
    assert_eq!((&list[0]["server"], &list[0]["health"]), (&json!(address), &json!("ejected")));
    assert!(list[0]["why"].as_str().is_some_and(|why| why.contains("refused")), "{list}");
    assert!(list[0]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{list}");
    assert_eq!((&list[1]["health"], &list[1]["since"]), (&json!("up"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_read_is_tried_elsewhere_only_if_it_may_be_done_twice() {
    let (up, breaks) = (Node::start("up", Way::Answer).await, Node::start("breaks", Way::Break).await);
    let gate = gate(&[&breaks, &up], "max_fails = 0");
    let client = gate.client();
    assert_eq!(get(&client, "/get").await.expect(200).text(), "up");
    assert_eq!((breaks.seen(), up.seen()), (vec!["GET /get".to_owned()], vec!["GET /get".to_owned()]));
    let mut refused = 0;
    for number in 0..6 {
        let answer = post(&client, &format!("/{number}")).await;
        if answer.status == 502 {
            assert_eq!(answer.problem(), "upstream-broken");
            refused += 1;
        }
    }
    assert_eq!(refused, 3, "every second one");
    let mut posts: Vec<_> = [breaks.seen(), up.seen()].concat();
    posts.retain(|request| request.starts_with("POST"));
    posts.sort();
    assert_eq!(posts, (0..6).map(|number| format!("POST /{number}")).collect::<Vec<_>>(), "each once");
    // Idempotent, but with a body, which has gone.
    let put = client.request("PUT", "/put").body("text/plain", "x").send();
    let (put, other) = (put.await, client.request("PUT", "/put").body("text/plain", "x").send().await);
    let mut statuses = [put.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_asked_once_answered_504_for_and_left_out() {
    let (up, hangs) = (Node::start("up", Way::Answer).await, Node::start("hangs", Way::Hang).await);
    let gate = gate(&[&hangs, &up], "max_fails = 1\nfail_timeout = \"1h\"");
    let client = gate.client();
    assert_eq!(get(&client, "/x").await.expect(504).problem(), "upstream-timeout");
    for _ in 0..4 {
        get(&client, "/y").await.expect(200);
    }
    assert_eq!((hangs.seen(), up.seen().len()), (vec!["GET /x".to_owned()], 4), "it may be at work on it");
    assert_eq!(told(&gate, &hangs)["why"], "no answer in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_reaches_the_client_as_one_and_is_not_tried_again() {
    let (half, other) = (Node::start("half", Way::Half).await, Node::start("other", Way::Half).await);
    let gate = gate(&[&half, &other], "");
    let client = gate.client();
    client.get("/x").try_send().await.expect_err("the body is not whole");
    assert_eq!([half.seen(), other.seen()].concat(), ["GET /x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_group_is_asked_little_more_often_than_it_is_given_requests() {
    let nodes = [Node::start("a", Way::Break).await, Node::start("b", Way::Break).await];
    let lines = "max_fails = 0\nretry_floor = 0\nretry_percent = 20\nretries = 5";
    let gate = gate(&[&nodes[0], &nodes[1]], lines);
    let client = gate.client();
    for _ in 0..50 {
        get(&client, "/x").await.expect(502);
    }
    let asked = nodes[0].seen().len() + nodes[1].seen().len();
    assert!((55..=60).contains(&asked), "{asked} for 50");
    assert!(metric(&gate, "keepgate_upstream_retries_denied_total").await >= 40);
}

/// A connection that is half closed looks alive to whoever writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_half_closes_under_load_costs_no_get_and_has_no_post_done_twice() {
    let nodes = [Node::start("a", Way::Mute).await, Node::start("b", Way::Answer).await];
    let gate = gate(&[&nodes[0], &nodes[1]], "retry_floor = 1000");
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let client = gate.client();
        load.spawn(async move {
            let mut link = client.open().await.expect("the gate accepts");
            let mut posts = Vec::new();
            for number in 0..40 {
                let path = format!("/{worker}/{number}");
                link.send(client.get(&path)).await.expect("answered").expect(200);
                let answer = link.send(client.post(&path, json!({}))).await.expect("answered");
                posts.push((format!("POST {path}"), answer.status.as_u16()));
            }
            posts
        });
    }
    let posts: Vec<_> = load.join_all().await.concat();
    let seen = [nodes[0].seen(), nodes[1].seen()].concat();
    for (post, status) in &posts {
        let times = seen.iter().filter(|request| *request == post).count();
        assert!(times == 1 || (times == 0 && *status == 502), "{post}: {status}, seen {times} times");
    }
    assert_eq!(posts.len(), 160);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_passed_over_while_it_is_busy_where_the_fewest_requests_count() {
    let mut slow = Node::start("slow", Way::Wait).await;
    let fast = Node::start("fast", Way::Answer).await;
    let gate = gate(&[&slow, &fast], "balance = \"least_connections\"");
    let client = gate.client();
    // By lot: the first that meets the slow one stays there.
    let mut held = tokio::task::JoinSet::new();
    while slow.seen().is_empty() {
        let client = gate.client();
        held.spawn(async move { get(&client, "/x").await });
        tokio::select! {
            _ = slow.next() => break,
            Some(answer) = held.join_next() => drop(answer.expect("no panic").expect(200)),
        }
    }
    for _ in 0..10 {
        assert_eq!(get(&client, "/y").await.expect(200).text(), "fast");
    }
    slow.release();
    held.join_all().await;
    assert_eq!(slow.seen(), ["GET /x"]);
}

/// One of three servers is killed in the middle of it, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_no_get_fails_and_no_post_is_done_twice() {
    let nodes = [Node::start("a", Way::Answer).await, Node::start("b", Way::Answer).await];
    let dies = Node::start("c", Way::Answer).await;
    let lines = "retry_floor = 1000\nfail_timeout = \"100ms\"";
    let gate = Arc::new(gate(&[&nodes[0], &nodes[1], &dies], lines));
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let (client, over, done) = (gate.client(), Arc::clone(&over), Arc::clone(&done));
        load.spawn(async move {
            let mut link = client.open().await.expect("the gate accepts");
            let mut posts = Vec::new();
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let path = format!("/{worker}/{number}");
                link.send(client.get(&path)).await.expect("answered").expect(200);
                let answer = link.send(client.post(&path, json!({}))).await.expect("answered");
                posts.push((format!("POST {path}"), answer.status.as_u16()));
                done.fetch_add(1, Ordering::SeqCst);
            }
            posts
        });
    }
    let until = |count| {
        let done = Arc::clone(&done);
        async move {
            while done.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        }
    };
    until(60).await;
    let address = dies.address;
    let mut seen = dies.kill().await;
    until(done.load(Ordering::SeqCst) + 100).await;
    let back = Node::at(address, "c", Way::Answer).await;
    while back.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    let posts: Vec<_> = load.join_all().await.concat();
    seen.extend([nodes[0].seen(), nodes[1].seen(), back.seen()].concat());
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for request in seen.iter().filter(|request| request.starts_with("POST")) {
        *times.entry(request).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for (post, status) in &posts {
        assert!(*status == 502 || (*status == 200 && times.contains_key(post.as_str())), "{post}: {status}");
    }
    let failed = posts.iter().filter(|(_, status)| *status == 502).count();
    assert!(failed <= 6, "at most what was under way: {failed} of {}", posts.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_take_a_server_out_without_a_request_and_in_again() {
    let (up, unwell) = (Node::start("up", Way::Answer).await, Node::start("unwell", Way::Unwell).await);
    let health = "health_path = \"/health\"\nhealth_interval = \"100ms\"\nhealth_down = 2\nhealth_up = 2";
    let gate = gate(&[&unwell, &up], health);
    let client = gate.client();
    gate.until_it_says("its checks fail");
    let down = told(&gate, &unwell);
    assert_eq!((&down["health"], &down["why"]), (&json!("down"), &json!("/health answered 503")));
    for _ in 0..4 {
        assert_eq!(get(&client, "/x").await.expect(200).text(), "up");
    }
    assert_eq!(unwell.seen(), Vec::<String>::new());
    assert_eq!(metric(&gate, "keepgate_upstream_server_up").await, 1);
    unwell.turn(Way::Answer);
    gate.until_it_says("is in service again");
    assert_eq!(told(&gate, &unwell)["health"], "up");
    for _ in 0..2 {
        get(&client, "/x").await.expect(200);
    }
    assert_eq!(unwell.seen(), ["GET /x"]);
    // Without checks, what they said is over.
    unwell.turn(Way::Unwell);
    gate.rewrite(&file(&[&unwell, &up], ""));
    assert_eq!(gate.cli_json(&["reload"])["changed"], json!(["upstreams.app"]));
    assert_eq!(told(&gate, &unwell)["health"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_connections_requests_wait_in_line_and_past_the_line_they_are_sent_away() {
    let mut node = Node::start("slow", Way::Wait).await;
    let gate = gate(&[&node], "max_connections = 1\nqueue = 1\nqueue_timeout = \"1m\"");
    let client = gate.client();
    let ask = |path: &'static str| {
        let client = gate.client();
        tokio::spawn(async move { get(&client, path).await })
    };
    let first = ask("/first");
    assert_eq!(node.next().await, "GET /first");
    let second = ask("/second");
    while metric(&gate, "keepgate_upstream_waiting").await == 0 {
        tokio::task::yield_now().await;
    }
    let refused = get(&client, "/third").await.expect(503);
    assert_eq!((refused.problem().as_str(), refused.header("retry-after")), ("upstream-busy", Some("1")));
    assert_eq!(told(&gate, &node)["in_flight"], 1);
    node.release();
    first.await.expect("no panic").expect(200);
    assert_eq!(node.next().await, "GET /second");
    node.release();
    second.await.expect("no panic").expect(200);
    assert_eq!(node.seen(), ["GET /first", "GET /second"]);
    assert_eq!(metric(&gate, "keepgate_upstream_turned_away_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_server_ends_what_it_has_and_gets_nothing_new_until_it_is_let_in() {
    let mut node = Node::start("old", Way::Wait).await;
    let other = Node::start("new", Way::Answer).await;
    let mut gate = gate(&[&node, &other], "");
    let client = gate.client();
    let under_way = {
        let client = gate.client();
        tokio::spawn(async move { get(&client, "/long").await })
    };
    assert_eq!(node.next().await, "GET /long");
    let address = node.address.to_string();
    gate.cli(&["upstream", "drain", "app", &address]).expect(0);
    let listed = told(&gate, &node);
    assert_eq!((&listed["health"], &listed["in_flight"]), (&json!("drained"), &json!(1)));
    gate.rewrite(&file(&[&node, &other], "retries = 1"));
    gate.cli_json(&["reload"]);
    for _ in 0..4 {
        assert_eq!(get(&client, "/x").await.expect(200).text(), "new");
    }
    node.release();
    assert_eq!(under_way.await.expect("no panic").expect(200).text(), "old");
    assert_eq!((told(&gate, &node)["in_flight"].clone(), node.seen().len()), (json!(0), 1));

    // Not even the last one is asked against an operator's word.
    gate.cli(&["upstream", "drain", "app", &other.address.to_string()]).expect(0);
    assert_eq!(get(&client, "/x").await.expect(503).problem(), "upstream-drained");
    node.turn(Way::Answer);
    gate.cli(&["upstream", "undrain", "app", &address]).expect(0);
    assert_eq!(get(&client, "/x").await.expect(200).text(), "old");
    assert_eq!(gate.cli_fails(&["upstream", "drain", "app", "127.0.0.1:1"], 4), "not_found");
    assert_eq!(gate.cli_fails(&["upstream", "drain", "web", &address], 4), "not_found");

    gate.stop();
    assert_eq!(gate.cli_fails(&["upstream", "list"], 1), "unavailable");
    gate.restart();
    assert_eq!(told(&gate, &other)["health"], "up", "a restart forgets it");
    let events = gate.audit();
    let intents =
        events.iter().filter(|event| event["intent"].as_str().is_some_and(|i| i.starts_with("upstream")));
    let intents: Vec<_> = intents.map(|event| (event["intent"].clone(), event["target"].clone())).collect();
    assert_eq!(intents.len(), 3);
    assert_eq!(intents[0], (json!("upstream_drain"), json!(format!("app {address}"))));
    assert_eq!(intents[2], (json!("upstream_undrain"), json!(format!("app {address}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_header_goes_to_the_same_server_and_moves_only_if_that_goes() {
    let nodes = [Node::start("a", Way::Answer).await, Node::start("b", Way::Answer).await];
    let dies = Node::start("c", Way::Answer).await;
    let gate = gate(&[&nodes[0], &nodes[1], &dies], "balance = \"hash\"\nhash_by = \"header:x-tenant\"");
    let client = gate.client();
    let ask = async |tenant: u32| {
        let answer = client.get("/x").header("x-tenant", &tenant.to_string()).send().await;
        answer.expect(200).text()
    };
    let mut before = Vec::new();
    for tenant in 0..30 {
        before.push(ask(tenant).await);
        assert_eq!(ask(tenant).await, before[tenant as usize]);
    }
    let names: std::collections::BTreeSet<_> = before.iter().cloned().collect();
    assert_eq!(names.len(), 3, "{before:?}");
    dies.kill().await;
    for (tenant, name) in (0..).zip(&before) {
        let now = ask(tenant).await;
        assert!(now == *name || (name == "c" && now != "c"), "{tenant} was with {name}, is with {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_gets_whoever_asks_for_it_and_nobody_while_it_is_out() {
    let (old, new) = (Node::start("old", Way::Answer).await, Node::start("new", Way::Answer).await);
    let canary = "canary = \"new\"\ncanary_header = \"x-canary: yes\"\ncanary_cookie = \"canary=yes\"";
    let address = new.address.to_string();
    let text = format!("{}{canary}\n[upstreams.new]\nservers = [{address:?}]\n", file(&[&old], ""));
    let gate = Gate::start_from_file(&text);
    let client = gate.client();
    let ask =
        async |name: &str, value: &str| client.get("/x").header(name, value).send().await.expect(200).text();
    assert_eq!(ask("x-canary", "yes").await, "new");
    assert_eq!(ask("cookie", "a=b; canary=yes").await, "new");
    assert_eq!(ask("x-canary", "no").await, "old");
    gate.cli(&["upstream", "drain", "new", &address]).expect(0);
    assert_eq!(ask("x-canary", "yes").await, "old");
    gate.rewrite(&text.replace(canary, "canary = \"new\"\ncanary_percent = 100"));
    gate.cli_json(&["reload"]);
    gate.cli(&["upstream", "undrain", "new", &address]).expect(0);
    assert_eq!(ask("x-canary", "no").await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_written_by_its_name() {
    let node = Node::start("named", Way::Answer).await;
    let by_name = file(&[&node], "").replace("127.0.0.1:", "localhost:");
    let gate = Gate::start_from_file(&by_name);
    assert_eq!(get(&gate.client(), "/x").await.expect(200).text(), "named");
    assert_eq!(told(&gate, &node)["upstream"], "app");
}
