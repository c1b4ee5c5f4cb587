//! Conditions on what is there (RFC 9110 §13): "only if it is still the version I have seen", "only
//! if there is none yet". They are decided in the bundle that writes, so that of two writers who
//! both saw the same version one is told.

/// A version's name as a client gives it: an entity tag (RFC 9110 §8.8.3) without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whether it is a weak one (`W/`).
    pub weak: bool,
    /// What is between the quotes.
    pub opaque: String,
}

/// What a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version at all.
    Any,
    /// One of these.
    OneOf(Vec<Tag>),
}

/// The conditions of a request; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`
    pub only_if: Option<Tags>,
    /// `If-None-Match`
    pub unless: Option<Tags>,
}

/// Which condition did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// `If-Match` asks for a version, and there is nothing.
    #[error("'If-Match' asks for a version of it, and there is none")]
    Missing,
    /// `If-Match` names another version.
    #[error("'If-Match' names another version than the one that is there: read it again")]
    Match,
    /// `If-None-Match` names the version that is there, or is `*` and there is one.
    #[error("'If-None-Match' names a version that is there")]
    NoneMatch,
}

impl Condition {
    /// Whether the conditions hold of what is there, in the order of RFC 9110 §13.2.2.
    ///
    /// # Errors
    /// The first that does not.
    pub fn holds(&self, current: Option<&str>) -> Result<(), Unmet> {
        let met = match (&self.only_if, current) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Tags::Any), Some(_)) => true,
            // Compared strongly: a weak tag equals nothing (§8.8.3.2).
            (Some(Tags::OneOf(tags)), Some(current)) => {
                tags.iter().any(|tag| !tag.weak && tag.opaque == current)
            }
        };
        if !met {
            return Err(if current.is_some() { Unmet::Match } else { Unmet::Missing });
        }
        let met = match (&self.unless, current) {
            (None, _) | (_, None) => true,
            (Some(Tags::Any), Some(_)) => false,
            (Some(Tags::OneOf(tags)), Some(current)) => tags.iter().all(|tag| tag.opaque != current),
        };
        if met { Ok(()) } else { Err(Unmet::NoneMatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[(bool, &str)]) -> Option<Tags> {
        let tag = |(weak, opaque): &(bool, &str)| Tag { weak: *weak, opaque: (*opaque).to_owned() };
        Some(Tags::OneOf(list.iter().map(tag).collect()))
    }

    #[test]
    fn if_match_wants_one_of_its_tags_strongly() {
        let condition = |only_if| Condition { only_if, unless: None };
        let one = condition(tags(&[(false, "a"), (false, "b")]));
        assert_eq!(one.holds(Some("b")), Ok(()));
        assert_eq!(one.holds(Some("c")), Err(Unmet::Match));
        assert_eq!(one.holds(None), Err(Unmet::Missing));
        assert_eq!(condition(tags(&[(true, "a")])).holds(Some("a")), Err(Unmet::Match));
        assert_eq!(condition(Some(Tags::Any)).holds(Some("a")), Ok(()));
        assert_eq!(condition(Some(Tags::Any)).holds(None), Err(Unmet::Missing));
        assert_eq!(condition(tags(&[])).holds(Some("a")), Err(Unmet::Match));
    }

    #[test]
    fn if_none_match_wants_none_of_its_tags_weakly() {
        let condition = |unless| Condition { only_if: None, unless };
        let one = condition(tags(&[(true, "a"), (false, "b")]));
        assert_eq!(one.holds(Some("a")), Err(Unmet::NoneMatch));
        assert_eq!(one.holds(Some("c")), Ok(()));
        assert_eq!(one.holds(None), Ok(()));
        assert_eq!(condition(Some(Tags::Any)).holds(Some("a")), Err(Unmet::NoneMatch));
        assert_eq!(condition(Some(Tags::Any)).holds(None), Ok(()));
    }

    #[test]
    fn if_match_is_looked_at_first() {
        let both = Condition { only_if: tags(&[(false, "x")]), unless: Some(Tags::Any) };
        assert_eq!(both.holds(Some("a")), Err(Unmet::Match));
        assert_eq!(both.holds(Some("x")), Err(Unmet::NoneMatch));
    }
}
