//! Sends a case through the gate and holds what came of it against what had to.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::http2::Outcome;
use super::recorder::{Arrived, Record};
use super::strict::{self, Message, latin1};
use super::table::{Case, Group, Want};
use crate::harness::client::Client;

/// How long a case may take before something hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What follows every case: it is answered where the connection goes on, and nothing is after it.
pub const END: &str = "GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const END_TOLD: &str = "GET /end";

/// How the bytes of a case are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In one piece.
    Whole,
    /// In pieces of one to three bytes.
    Pieces,
}

/// Every case of the groups, with its group's name.
pub fn all(groups: &[Group]) -> impl Iterator<Item = (&str, &Case)> {
    groups.iter().flat_map(|group| group.cases.iter().map(|case| (group.name.as_str(), case)))
}

/// Sends bytes over a connection of their own and reads until it closes.
pub async fn say(client: &Client, bytes: &[u8], way: Way) -> Result<Vec<u8>, String> {
    let stream = client.stream().await.map_err(|error| format!("{error:?}"))?;
    tokio::time::timeout(PATIENCE, talk(stream, bytes, way))
        .await
        .map_err(|_| "the connection stays open".into())
}

async fn talk(stream: TlsStream<TcpStream>, bytes: &[u8], way: Way) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let writing = async {
        let mut sizes = [1, 2, 1, 3].iter().cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if way == Way::Whole { rest.len() } else { *sizes.next().unwrap_or(&1) };
            let (piece, later) = rest.split_at(size.min(rest.len()));
            // Refused in the middle, the rest finds nobody.
            if write.write_all(piece).await.is_err() || write.flush().await.is_err() {
                break;
            }
            rest = later;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        // An end without TLS's goodbye is an end too: whether an answer is whole, its framing tells.
        while let Ok(size @ 1..) = read.read(&mut buffer).await {
            answer.extend_from_slice(buffer.get(..size).unwrap_or_default());
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    answer
}

/// The bytes of a case, and what shows where the connection stands after it.
pub fn bytes(case: &Case) -> Vec<u8> {
    [case.bytes(), END.into()].concat()
}

/// Holds an answer, read to the connection's end, and what arrived against the verdicts. Returns what has
/// arrived, for those who look closer.
pub fn judge(wants: &[Want], mut answer: &[u8], record: Record, way: Way) -> Result<Vec<Arrived>, String> {
    let shown = latin1(answer);
    let mut forwarded = Vec::new();
    let mut open = true;
    for want in wants {
        let want = &want.settle(answer);
        let message = next(&mut answer, want).map_err(|error| format!("{want:?}: {error} in {shown:?}"))?;
        open = open && accords(want, &message, &mut forwarded, way)?;
    }
    let perhaps = matches!(wants.last(), Some(Want::Either(_)));
    if open && !(perhaps && answer.is_empty()) {
        let end = Want::Forwarded(END_TOLD.into());
        let message = next(&mut answer, &end).map_err(|error| format!("after it: {error} in {shown:?}"))?;
        accords(&end, &message, &mut forwarded, way)?;
    }
    if !answer.is_empty() {
        return Err(format!("more answers than requests: {shown:?}"));
    }
    let arrived: Vec<String> = record.requests.iter().map(|one| one.message.told()).collect();
    if arrived != forwarded || !record.faults.is_empty() {
        return Err(format!("arrived as {arrived:?}, not {forwarded:?}; {:?}", record.faults));
    }
    record.requests.iter().try_for_each(|one| is_ours(&one.message))?;
    Ok(record.requests)
}

/// The next final answer.
fn next(answer: &mut &[u8], want: &Want) -> Result<Message, String> {
    let method = match want {
        Want::Forwarded(told) | Want::Last(told) => told.split(' ').next().unwrap_or_default(),
        _ => "GET",
    };
    loop {
        let (message, used) = strict::response(answer, method)?;
        *answer = answer.get(used..).unwrap_or_default();
        if message.status() >= 200 {
            return Ok(message);
        }
    }
}

/// Whether an answer is what was wanted, and the connection goes on after it.
fn accords(want: &Want, message: &Message, forwarded: &mut Vec<String>, way: Way) -> Result<bool, String> {
    let options = message.all("connection").into_iter().flat_map(|value| value.split(',').map(str::trim));
    let closes = options.into_iter().any(|option| option.eq_ignore_ascii_case("close"));
    // In pieces the oddest garbage may be refused in fewer words.
    let bare = way == Way::Pieces && message.body.is_empty();
    let ours = bare || latin1(&message.body).contains("urn:keepgate:problem:");
    let (good, open) = match want {
        Want::Refused(status) | Want::BrokenOff(status) => {
            (message.status() == *status && ours && closes, false)
        }
        Want::Answered(status) => (message.status() == *status && ours && !closes, true),
        Want::Either(status) => (message.status() == *status && ours, !closes),
        Want::Reset | Want::Perhaps(..) => (false, false),
        Want::Forwarded(told) | Want::Last(told) => {
            forwarded.push(told.clone());
            let head = told.starts_with("HEAD ") && message.body.is_empty();
            let echoed = latin1(&message.body).trim_end() == told;
            (message.status() == 200 && (head || echoed), matches!(want, Want::Forwarded(_)))
        }
    };
    let shown = || format!("wanted {want:?}, answered {:?} {:?}", message.start, latin1(&message.body));
    if good { Ok(open) } else { Err(shown()) }
}

/// What the gate sends on has no header that ends at a hop, none with an underscore, and none of the
/// client's that only the gate may give.
fn is_ours(message: &Message) -> Result<(), String> {
    const ENDS_HERE: [&str; 5] = ["trailer", "keep-alive", "proxy-connection", "expect", "http2-settings"];
    // What is said anew of trailers.
    let anew = |name: &str, value: &str| matches!((name, value), ("te", "trailers") | ("connection", "te"));
    for (name, value) in message.headers.iter().chain(&message.trailers) {
        if anew(name, value) && message.trailers.is_empty() {
            continue;
        }
        let switches = matches!(name.as_str(), "connection" | "upgrade" | "te");
        let switching = value.eq_ignore_ascii_case("upgrade") || value == "websocket";
        if ENDS_HERE.contains(&name.as_str()) || name.contains('_') || (switches && !switching) {
            return Err(format!("{name}: {value} went on"));
        }
        if name.starts_with("x-auth-") || value.contains("6.6.6.6") {
            return Err(format!("{name}: {value} was believed"));
        }
    }
    Ok(())
}

/// Fails the test with every case that went wrong.
pub fn report(wrong: &[String], tried: usize) {
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

/// As [`judge`], for a stream and the one after it.
pub fn judge_http2(want: &Want, outcomes: &[Outcome], record: &Record) -> Result<(), String> {
    let [outcome, end] = outcomes else { return Err("not two streams".into()) };
    let (good, told) = match (want, outcome) {
        (Want::Forwarded(told), Outcome::Answered(200, body)) => {
            (body.trim_end() == told, Some(told.as_str()))
        }
        (Want::Answered(status), Outcome::Answered(got, body)) => {
            (got == status && body.contains("urn:keepgate:problem:"), None)
        }
        (want, Outcome::Reset) => (*want == Want::Reset, None),
        _ => (false, None),
    };
    // The next stream goes on, unless the whole connection was ended.
    let after = *end == Outcome::Answered(200, END_TOLD.into());
    if !good || !(after || *outcome == Outcome::Reset) {
        return Err(format!("wanted {want:?}, got {outcomes:?}"));
    }
    let mut arrived: Vec<String> = record.requests.iter().map(|one| one.message.told()).collect();
    let mut forwarded: Vec<&str> = told.into_iter().chain(after.then_some(END_TOLD)).collect();
    // Streams run beside each other.
    arrived.sort();
    forwarded.sort_unstable();
    if arrived != forwarded || !record.faults.is_empty() {
        return Err(format!("arrived as {arrived:?}, not {forwarded:?}; {:?}", record.faults));
    }
    record.requests.iter().try_for_each(|one| is_ours(&one.message))
}

/// What must have reached a real server, if the answers are as many as the requests and refused as they must
/// be; what the server answers to the others is its own business.
pub fn answered(wants: &[Want], mut answer: &[u8]) -> Result<Vec<String>, String> {
    let shown = latin1(answer);
    let (mut forwarded, mut open) = (Vec::new(), true);
    let end = Want::Forwarded(END_TOLD.into());
    for want in wants.iter().chain([&end]) {
        let want = &want.settle(answer);
        if !open || answer.is_empty() {
            break;
        }
        let message = next(&mut answer, want).map_err(|error| format!("{want:?}: {error} in {shown:?}"))?;
        match want {
            Want::Forwarded(told) | Want::Last(told) => {
                forwarded.push(told.clone());
                if latin1(&message.body).contains("urn:keepgate:problem:") || message.status() == 500 {
                    return Err(format!("{want:?}: {shown:?}"));
                }
            }
            want => open = accords(want, &message, &mut forwarded, Way::Whole)?,
        }
    }
    if answer.is_empty() { Ok(forwarded) } else { Err(format!("more answers than requests: {shown:?}")) }
}
