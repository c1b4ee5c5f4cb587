//! Application servers in two places: the node's own is preferred, and what it cannot take goes to the other.

use serde_json::{Value, json};

use crate::harness::client::plain;
use crate::harness::gate::Gate;
use crate::harness::node::{Node, Way};

fn file(zone: &str, near: &[&Node], far: &Node, lines: &str) -> String {
    let server = |node: &Node, zone: &str| format!("{{ address = \"{}\", zone = {zone:?} }}", node.address);
    let servers: Vec<_> = near.iter().map(|node| server(node, "fsn1")).chain([server(far, "nbg1")]).collect();
    format!(
        "zone = {zone:?}\n[listen]\nworkers = 1\n[upstreams.app]\nservers = [{}]\nslow_start = \"0s\"\n{lines}\n\
         [[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n",
        servers.join(", ")
    )
}

async fn ask(gate: &Gate) -> String {
    gate.client().get("/x").send().await.expect(200).text()
}

async fn scraped(gate: &Gate) -> String {
    plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_stay_in_the_zone_until_nobody_there_is_well_and_an_operator_sees_who_is_where() {
    let near = [Node::start("one", Way::Answer).await, Node::start("two", Way::Answer).await];
    let far = Node::start("far", Way::Answer).await;
    let [one, two] = near;
    let gate =
        Gate::start_from_file(&file("fsn1", &[&one, &two], &far, "fail_timeout = \"1h\"\nmax_fails = 1"));
    for _ in 0..6 {
        assert_ne!(ask(&gate).await, "far");
    }
    let listed = gate.cli_json(&["upstream", "list"]);
    let zones: Vec<_> =
        listed.as_array().expect("a list").iter().map(|server| server["zone"].clone()).collect();
    assert_eq!(zones, [json!("fsn1"), json!("fsn1"), json!("nbg1")]);
    let shown = gate.cli(&["upstream", "list"]).expect(0).stdout;
    assert!(shown.contains("ZONE") && shown.contains("nbg1"), "{shown}");
    let spilled = "keepgate_upstream_spilled_total{upstream=\"app\"}";
    let text = scraped(&gate).await;
    assert!(text.contains(&format!("{spilled} 0\n")), "{text}");
    let up =
        format!("keepgate_upstream_server_up{{upstream=\"app\",server=\"{}\",zone=\"nbg1\"}} 1", far.address);
    assert!(text.contains(&up), "{text}");
    // Half of the zone keeps seven tenths.
    one.kill().await;
    let mut answered = Vec::new();
    for _ in 0..40 {
        answered.push(ask(&gate).await);
    }
    let stayed = answered.iter().filter(|name| *name == "two").count();
    assert!((24..=32).contains(&stayed), "{stayed} of 40: {answered:?}");
    two.kill().await;
    for _ in 0..5 {
        assert_eq!(ask(&gate).await, "far");
    }
    let text = scraped(&gate).await;
    let count = text.lines().find_map(|line| line.strip_prefix(spilled)).expect("it is told");
    assert!(count.trim().parse::<usize>().expect("a number") >= 45 - stayed, "{count}");
    // Moved by a reload: what was far is near now.
    let text =
        file("nbg1", &[], &far, "").replace("zone = \"nbg1\" }]", "zone = \"nbg1\" }, \"127.0.0.1:1\"]");
    gate.rewrite(&text);
    let reloaded = gate.cli_json(&["reload"]);
    let changed = reloaded["changed"].as_array().expect("a list");
    assert!(
        changed.contains(&Value::from("zone")) && changed.contains(&Value::from("upstreams.app")),
        "{reloaded}"
    );
    for _ in 0..4 {
        assert_eq!(ask(&gate).await, "far");
    }
    assert_eq!(gate.cli_json(&["upstream", "list"])[1]["zone"], Value::Null);
}
