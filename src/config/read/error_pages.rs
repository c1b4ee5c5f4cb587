//! `[[error_pages]]`, which only the file can hold.

use super::kind::{self, list, path, text, wrong};
use super::section::Section;
use super::tree::Node;
use crate::config::error_pages::{ErrorPage, MOST, Statuses};

pub(super) fn error_pages(sections: Vec<Section<'_>>) -> Vec<ErrorPage> {
    let mut pages: Vec<ErrorPage> = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let remedy = "write a list such as [\"404\"] or [\"4xx\", \"5xx\"]";
        let statuses = section.required("status", remedy, list(status));
        let file = section.required("file", "write the path of a page in HTML", path);
        if index == MOST {
            section.problem("", None, &format!("is one more than {MOST} pages"), "remove some");
        }
        let taken = |status: &Statuses| pages.iter().any(|page| page.statuses.contains(status));
        if statuses.as_ref().is_some_and(|statuses| statuses.iter().any(taken)) {
            section.problem("status", None, "has a page already", "name each status in one entry only");
        }
        if statuses.as_ref().is_some_and(Vec::is_empty) {
            section.problem("status", None, "is empty: the page is for nothing", remedy);
        }
        section.finish();
        if let (Some(statuses), Some(file)) = (statuses, file) {
            pages.push(ErrorPage { statuses, file });
        }
    }
    pages
}

fn status(node: &Node) -> kind::Read<Statuses> {
    let word = text(node)?;
    match (word.as_str(), word.parse()) {
        ("4xx", _) => Ok(Statuses::Class(4)),
        ("5xx", _) => Ok(Statuses::Class(5)),
        (_, Ok(status)) if (400..600).contains(&status) => Ok(Statuses::One(status)),
        _ => wrong(node, "is not an error's status", "write one from \"400\" to \"599\", \"4xx\" or \"5xx\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEAST, config, report};
    use super::*;

    #[test]
    fn a_page_is_for_statuses_or_classes_of_them() {
        let page = |lines: &str| format!("{LEAST}[[error_pages]]\n{lines}\n");
        let read = config(&page("status = [\"404\", \"5xx\"]\nfile = \"/p.html\""), &[]).error_pages;
        let statuses = vec![Statuses::One(404), Statuses::Class(5)];
        assert_eq!(read, [ErrorPage { statuses, file: "/p.html".into() }]);
        for (lines, words) in [
            ("file = \"/p.html\"", "error_pages[0].status"),
            ("status = [\"404\"]", "error_pages[0].file"),
            ("status = [\"200\"]\nfile = \"/p\"", "is not an error's status"),
            ("status = [\"3xx\"]\nfile = \"/p\"", "is not an error's status"),
            ("status = [\"600\"]\nfile = \"/p\"", "is not an error's status"),
            ("status = []\nfile = \"/p\"", "is for nothing"),
            ("status = [\"404\"]\nfile = \"p.html\"", "is not an absolute path"),
            (
                "status = [\"404\"]\nfile = \"/p\"\n[[error_pages]]\nstatus = [\"404\"]\nfile = \"/q\"",
                "has a page already",
            ),
        ] {
            let said = report(&page(lines), &[]);
            assert!(said.contains(words), "{lines}: {said}");
        }
    }
}
