//! Request smuggling, tried: every case of the tables goes over TLS through the real binary, and what
//! arrives at an upstream that reads as strictly as can be, and at real ones, is exactly what was meant to.

mod answers;
mod http2;
mod recorder;
mod runner;
mod strict;
mod table;

use self::recorder::Recorder;
use self::runner::Way;
use crate::harness::gate::Gate;

/// A gate before an upstream: `/private` wants a token, the rest does not. One thread, so that connections
/// to the upstream are shared by all cases and one that was poisoned would show.
fn gate_before(address: &str) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [listen]
        workers = 1
        [upstreams.app]
        servers = ["{address}"]
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        [[routes]]
        path = "/private"
        upstream = "app"
        "#
    ))
}

async fn run_requests(way: Way) {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream.address.to_string());
    let client = gate.client();
    let groups = table::requests();
    let (mut wrong, mut unfinished, mut tried) = (Vec::new(), Vec::new(), 0);
    for (group, case) in runner::all(&groups) {
        tried += 1;
        let answer = runner::say(&client, &runner::bytes(case), way).await;
        let mut record = upstream.take();
        unfinished.append(&mut record.unfinished);
        let judged = answer.and_then(|answer| runner::judge(&case.want(), &answer, record));
        if let Err(why) = judged {
            wrong.push(format!("{group} / {} ({}): {why}", case.name, case.source));
        }
    }
    // What broke off in its chunks had perhaps begun to arrive; nothing else did.
    wrong.extend(unfinished.into_iter().filter(|bytes| !bytes.starts_with("POST /chunked HTTP/1.1\r\n")));
    runner::report(&wrong, tried);
    assert!(tried >= 300, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ambiguous_arrives() {
    run_requests(Way::Whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ambiguous_arrives_in_pieces() {
    run_requests(Way::Pieces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ambiguous_arrives_from_http2() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream.address.to_string());
    let client = gate.client();
    let end = [(":method", "GET"), (":scheme", "https"), (":path", "/end"), (":authority", "h")];
    let end = end.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let groups = table::http2();
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (group, case) in runner::all(&groups) {
        tried += 1;
        let stream = client.stream_http2().await.expect("the gate speaks HTTP/2");
        let ask = http2::Ask { fields: &case.fields, body: &case.body(), trailers: &case.trailers };
        let asks = [ask, http2::Ask { fields: &end, body: &[], trailers: &[] }];
        let outcomes = tokio::time::timeout(runner::PATIENCE, http2::converse(stream, &asks)).await.expect("nothing hangs");
        let judged = runner::judge_http2(&case.want()[0], &outcomes, &upstream.take());
        if let Err(why) = judged {
            wrong.push(format!("{group} / {} ({}): {why}", case.name, case.source));
        }
    }
    wrong.extend(upstream.take().unfinished);
    runner::report(&wrong, tried);
    assert!(tried >= 75, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_whole_or_refused_and_poisons_no_connection() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream.address.to_string());
    let client = gate.client();
    let groups = table::answers();
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (group, case) in runner::all(&groups) {
        tried += 1;
        if let Err(why) = answers::run(&client, &upstream, case).await {
            wrong.push(format!("{group} / {} ({}): {why}", case.name, case.source));
        }
    }
    runner::report(&wrong, tried);
    assert!(tried >= 55, "{tried}");
}
