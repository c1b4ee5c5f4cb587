//! The lines of an import: each a JSON object, bounded, hostile until read. All that is wrong is
//! gathered, line by line and field by field; no message shows a password's hash.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::output;
use crate::app::control::command::NewUser;
use crate::model::account::{AccountStatus, PasswordHash};
use crate::model::role::Role;
use crate::model::time::Timestamp;

/// Longest line, bytes.
const LONGEST: usize = 8 * 1024;
/// Longest thing that is said of a fault, characters.
const DETAIL: usize = 240;
/// Most faults that are told; a file of another kind has one in every line.
const TOLD: usize = 100;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Each with the number of its line, from 1.
    pub(super) users: Vec<(usize, NewUser)>,
    pub(super) bad: Vec<BadLine>,
}

/// One field of one line is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BadLine {
    pub(super) line: usize,
    /// Empty if it is the line as a whole.
    pub(super) field: String,
    pub(super) detail: String,
}

/// A file that cannot be imported as it is.
#[derive(Debug, thiserror::Error)]
pub(super) struct BadLines {
    pub(super) file: String,
    /// In order.
    pub(super) bad: Vec<BadLine>,
    /// Accounts created before this was found: more than none only if somebody else made accounts
    /// meanwhile.
    pub(super) created: usize,
}

impl BadLines {
    pub(super) const REMEDY: &str = "mend the lines and run it again; with --skip-existing, accounts that are \
                                     there already are left out";

    /// The faults that are told.
    pub(super) fn told(&self) -> &[BadLine] {
        self.bad.get(..TOLD).unwrap_or(&self.bad)
    }

    /// The first line of the report.
    pub(super) fn summary(&self) -> String {
        let lines: BTreeSet<_> = self.bad.iter().map(|bad| bad.line).collect();
        let done = match self.created {
            0 => "nothing was changed".to_owned(),
            n => format!("{} created before that", output::count(n, "account")),
        };
        format!("{}: {} cannot be imported; {done}", self.file, output::count(lines.len(), "line"))
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "keepgate: {}", self.summary())?;
        for BadLine { line, field, detail } in self.told() {
            let field = if field.is_empty() { String::new() } else { format!(", {field}") };
            writeln!(f, "  line {line}{field}: {}", output::plain(detail))?;
        }
        let more = self.bad.len() - self.told().len();
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        writeln!(f, "    {}", Self::REMEDY)
    }
}

/// Reads to the end, or to the first line past `most`.
pub(super) fn read(mut from: impl BufRead, most: usize) -> io::Result<Lines> {
    let mut found = Lines::default();
    let (mut emails, mut ids) = (HashMap::new(), HashMap::new());
    // The whole capacity at once, so that growing leaves no hash behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    for number in 1.. {
        line.clear();
        let whole = bounded(&mut from, &mut line)?;
        if whole == Some(false) && line.is_empty() {
            break;
        }
        if number > most {
            found.bad.push(bad(
                number,
                "",
                format!("is past the {most} lines of one import: split the file"),
            ));
            break;
        }
        let read = match whole {
            None => Err(vec![bad(number, "", format!("is longer than {LONGEST} bytes"))]),
            Some(_) if line.trim_ascii().is_empty() => continue,
            Some(_) => user(number, &line),
        };
        match read {
            Ok(user) => {
                let mut repeated = |field, first: Option<usize>| {
                    let detail = |first| format!("line {first} has the same: leave one of them out");
                    found.bad.extend(first.map(|first| bad(number, field, detail(first))));
                };
                repeated("email", emails.insert(user.email.clone(), number));
                repeated("id", user.id.and_then(|id| ids.insert(id, number)));
                found.users.push((number, user));
            }
            Err(faults) => found.bad.extend(faults),
        }
    }
    Ok(found)
}

/// One line without its end; `Some(false)` if the input ended with it, `None` if it is too long, and
/// then its rest is skipped.
fn bounded(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut fits = true;
    loop {
        let (used, ended) = {
            let available = from.fill_buf()?;
            if available.is_empty() {
                return Ok(fits.then_some(false));
            }
            let end = memchr::memchr(b'\n', available);
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            fits &= line.len() + part.len() <= LONGEST;
            if fits {
                line.extend_from_slice(part);
            }
            (part.len() + usize::from(end.is_some()), end.is_some())
        };
        from.consume(used);
        if ended {
            return Ok(fits.then_some(true));
        }
    }
}

fn bad(line: usize, field: &str, detail: impl Into<String>) -> BadLine {
    let mut detail = detail.into();
    // A field's name or a role may be as long as a line, and there may be one in every line.
    if let Some((cut, _)) = detail.char_indices().nth(DETAIL) {
        detail.truncate(cut);
        detail.push('…');
    }
    BadLine { line, field: field.to_owned(), detail }
}

/// A line before any field is looked at. Unknown and repeated fields are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Option<Value>,
    email: Option<Value>,
    name: Option<Value>,
    roles: Option<Value>,
    status: Option<Value>,
    created_at: Option<Value>,
    password_hash: Option<Value>,
    password_set_at: Option<Value>,
}

fn user(number: usize, line: &[u8]) -> Result<NewUser, Vec<BadLine>> {
    if line.starts_with(b"\xef\xbb\xbf") {
        let detail =
            "begins with a byte order mark (BOM), which JSON has not: save the file as UTF-8 without one";
        return Err(vec![bad(number, "", detail)]);
    }
    // A list would be read as the fields in order.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(vec![bad(number, "", "is not a JSON object like {\"email\":\"ada@example.com\"}")]);
    }
    let raw: Raw = serde_json::from_slice(line).map_err(|error| {
        // serde's own words name fields and places, never values: every value here is of any kind.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let detail = match error.is_data() {
            true => text.to_owned(),
            false => format!("is not valid JSON: {text} at byte {}", error.column()),
        };
        vec![bad(number, "", detail)]
    })?;
    let mut faults = Vec::new();
    let mut take = Take { number, faults: &mut faults };
    let email = take
        .text("email", raw.email, "write an e-mail address like name@example.com", |text| text.parse().ok());
    let name = take.text("name", raw.name, "write a text", |text| Some(text.to_owned()));
    let id = take.text("id", raw.id, "write a UUID, or leave it out", |text| text.parse().ok());
    let status = take.text("status", raw.status, "write \"active\" or \"disabled\"", status);
    let time = "write a time like 2026-11-22T10:53:05Z";
    let created_at = take.text("created_at", raw.created_at, time, Timestamp::from_rfc3339);
    let password_set_at = take.text("password_set_at", raw.password_set_at, time, Timestamp::from_rfc3339);
    let hash = "write an argon2id hash like $argon2id$v=19$…, or leave it out";
    let password_hash =
        take.text("password_hash", raw.password_hash, hash, |text| Some(PasswordHash(text.to_owned())));
    let roles = take.roles(raw.roles);
    if email.is_none() && !faults.iter().any(|fault| fault.field == "email") {
        faults.push(bad(number, "email", "is missing"));
    }
    match email {
        Some(email) if faults.is_empty() => Ok(NewUser {
            id,
            email,
            name: name.unwrap_or_default(),
            roles,
            status: status.unwrap_or(AccountStatus::Active),
            created_at,
            password_hash,
            password_set_at,
        }),
        _ => Err(faults),
    }
}

fn status(word: &str) -> Option<AccountStatus> {
    match word {
        "active" => Some(AccountStatus::Active),
        "disabled" => Some(AccountStatus::Disabled),
        _ => None,
    }
}

/// Takes fields of one line and gathers their faults.
struct Take<'f> {
    number: usize,
    faults: &'f mut Vec<BadLine>,
}

impl Take<'_> {
    /// A text that `parse` understands; none if it is missing or null.
    fn text<T>(
        &mut self,
        field: &str,
        value: Option<Value>,
        remedy: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = value?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.faults.push(bad(self.number, field, remedy));
        }
        parsed
    }

    fn roles(&mut self, value: Option<Value>) -> BTreeSet<Role> {
        let list = match value {
            None => return BTreeSet::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.faults.push(bad(self.number, "roles", "write a list such as [\"member\"]"));
                return BTreeSet::new();
            }
        };
        let mut roles = BTreeSet::new();
        for item in list {
            match item.as_str().map(str::parse::<Role>) {
                Some(Ok(role)) => {
                    roles.insert(role);
                }
                Some(Err(error)) => self.faults.push(bad(self.number, "roles", error.to_string())),
                None => self.faults.push(bad(self.number, "roles", "write each role as a text")),
            }
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        read(text.as_bytes(), 100).unwrap()
    }

    #[test]
    fn only_an_address_is_needed_and_the_last_line_needs_no_end() {
        let found = lines("{\"email\":\"Ada@Example.com\"}\n\n{\"email\":\"bob@example.com\",\"name\":null}");
        assert_eq!(found.bad, []);
        let seen: Vec<_> = found.users.iter().map(|(line, user)| (*line, user.email.as_str())).collect();
        assert_eq!(seen, [(1, "ada@example.com"), (3, "bob@example.com")]);
    }

    #[test]
    fn every_line_and_field_at_fault_is_named() {
        let text = r#"{"email":"ada@example.com","emial":"x"}
not json
{"email":"ada","roles":["Admin",7],"status":"asleep","created_at":"yesterday","id":"7"}
{"name":"nobody"}
{"email":"eve@example.com","email":"eve@example.com"}
[1,2]
{"email":"a@example.com"}
{"email":"A@example.com","roles":"admin","password_hash":12}
{"email":"A@example.com"}
{"email":"b@example.com","id":"01890a5d-ac96-774b-bcce-b302099a8057"}
{"email":"c@example.com","id":"01890a5d-ac96-774b-bcce-b302099a8057"}
{"email":"\u001b[2J@example.com"}
"#;
        let bad = lines(text).bad;
        let report = BadLines { file: "people.jsonl".into(), bad, created: 0 }.to_string();
        insta::assert_snapshot!(report);
    }

    #[test]
    fn what_is_too_long_or_too_much_is_refused_without_being_kept() {
        let long = format!(
            "{{\"email\":\"{}@example.com\"}}\n{{\"email\":\"a@example.com\"}}\n",
            "x".repeat(100_000)
        );
        let found = lines(&long);
        assert_eq!(found.users.len(), 1);
        assert_eq!(found.bad, [bad(1, "", format!("is longer than {LONGEST} bytes"))]);
        let exactly = format!("{{\"email\":\"a@example.com\"{}}}", " ".repeat(LONGEST - 25));
        assert_eq!((exactly.len(), lines(&exactly).users.len()), (LONGEST, 1));
        let many: String = (0..101).map(|n| format!("{{\"email\":\"a{n}@example.com\"}}\n")).collect();
        let found = lines(&many);
        assert_eq!((found.users.len(), found.bad[0].line), (100, 101));
        let report =
            BadLines { file: "x".into(), bad: vec![found.bad[0].clone(); 150], created: 7 }.to_string();
        assert!(report.contains("and 50 more") && report.contains("7 accounts created before"), "{report}");
    }

    /// Found by the fuzz target `import`.
    #[test]
    fn a_name_as_long_as_a_line_is_shown_cut() {
        let bad = lines(&format!("{{\"{}\":1}}\n", "n".repeat(8000))).bad;
        assert!(bad[0].detail.starts_with("unknown field `nnn") && bad[0].detail.len() < 250, "{bad:?}");
    }

    #[test]
    fn no_report_shows_a_hash() {
        let text = "{\"password_hash\":\"$argon2id$hunter2\",\"email\":1}\n{\"email\":\"a@b.cc\",\"password_hash\":\"$hunter2";
        let found = lines(text);
        assert_eq!(found.bad.len(), 2);
        assert!(!format!("{:?}", found).contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = read(bytes.as_slice(), 3);
        }
    }
}
