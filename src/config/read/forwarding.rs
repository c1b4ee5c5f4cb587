//! `[forwarding]`.

use super::kind::{self, list, one_of, text, wrong};
use super::section::Section;
use super::tree::Node;
use crate::config::forwarding::{Forwarding, Told};

pub(super) fn forwarding(mut section: Section<'_>) -> Forwarding {
    let mut forwarding = Forwarding::default();
    let families =
        one_of(&[("x-forwarded", Told::XForwarded), ("forwarded", Told::Forwarded), ("via", Told::Via)]);
    section.set("headers", list(families), &mut forwarding.headers);
    section.set("via_name", pseudonym, &mut forwarding.via_name);
    section.finish();
    forwarding
}

/// A token (RFC 9110 §7.6.3).
fn pseudonym(node: &Node) -> kind::Read<String> {
    let name = text(node)?;
    let mark = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(mark) {
        return Ok(name);
    }
    wrong(
        node,
        "is not a name for Via",
        "write 1 to 64 letters, digits and marks, such as \"gate-1.example.com\"",
    )
}

#[cfg(test)]
mod tests {
    use crate::config::forwarding::Told;
    use crate::config::read::tests::{LEAST, config, report};

    #[test]
    fn families_and_a_name_are_read() {
        let text =
            format!("{LEAST}[forwarding]\nheaders = [\"forwarded\", \"via\"]\nvia_name = \"gate-1\"\n");
        let forwarding = config(&text, &[]).forwarding;
        assert_eq!(
            (forwarding.headers, forwarding.via_name.as_str()),
            (vec![Told::Forwarded, Told::Via], "gate-1")
        );
    }

    #[test]
    fn what_is_no_family_or_name_is_refused_in_words() {
        let text = format!("{LEAST}[forwarding]\nheaders = [\"x-real-ip\"]\nvia_name = \"a b\"\n");
        insta::assert_snapshot!(report(&text, &[]));
    }

    #[test]
    fn proxies_that_say_whose_a_connection_is_are_named_and_have_a_listener() {
        let text = format!("[listen]\nproxy_protocol = [\"0.0.0.0:8443\"]\n{LEAST}");
        let other = format!("[listen]\nproxy_protocol_from = [\"10.0.0.0/8\"]\n{LEAST}");
        insta::assert_snapshot!([report(&text, &[]), report(&other, &[])].join("\n"));
        let good = "[listen]\nproxy_protocol = [\"0.0.0.0:443\"]\nproxy_protocol_from = [\"10.0.0.7\"]\n";
        assert_eq!(report(&format!("{good}{LEAST}"), &[]), "no problem");
    }
}
