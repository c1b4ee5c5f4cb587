//! Names that people type: e-mail addresses, roles, ids, rates, master keys. Each has one spelling, which is
//! read as itself, from text and from JSON.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::config::rates::{MOST, Rate};
use crate::model::email::Email;
use crate::model::id::AccountId;
use crate::model::master_key::MasterKey;
use crate::model::role::Role;

/// `model/{email,role,id,master_key}.rs` over any text.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(email) = text.parse::<Email>() {
        let normal = email.as_str();
        assert_eq!(normal.parse().as_ref(), Ok(&email), "{normal:?} is spelt in two ways");
        assert!(normal.len() <= 254, "{normal:?}");
        let odd = |c: char| {
            c.is_whitespace() || c.is_control() || c.is_ascii_uppercase() || "<>()\"\\,;".contains(c)
        };
        assert!(!normal.contains(odd), "{normal:?}");
        assert_eq!(normal.matches('@').count(), 1, "{normal:?}");
        in_json(&email);
        in_postcard(&email);
    }
    if let Ok(role) = text.parse::<Role>() {
        assert_eq!(role.as_str(), text, "a role has one spelling");
        assert!(text.len() <= 32 && !text.contains([',', ' ', '\n']), "{text:?}");
        in_json(&role);
        in_postcard(&role);
    }
    if let Ok(id) = text.parse::<AccountId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(Uuid::try_parse(text).ok(), Some(id.0));
        in_json(&id);
    }
    if let Ok(rate) = text.parse::<Rate>() {
        let (count, unit) = text.split_once('/').unwrap_or_default();
        assert_eq!(count.parse(), Ok(rate.count.get()), "{text:?}");
        assert!(
            rate.count.get() <= MOST && rate.burst == rate.count && !rate.interval().is_zero(),
            "{rate:?}"
        );
        assert_eq!(
            rate.per.as_secs(),
            [("s", 1), ("m", 60), ("h", 3600)]
                .iter()
                .find(|(name, _)| *name == unit)
                .map_or(0, |(_, seconds)| *seconds)
        );
    }
    if let Ok(key) = MasterKey::from_base64(text) {
        let spelt = key.to_base64();
        assert_eq!(spelt.trim_end_matches('='), text.trim_end_matches('='), "two texts are one master key");
    }
}

fn in_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let back = serde_json::to_vec(value).ok().and_then(|text| serde_json::from_slice(&text).ok());
    assert_eq!(back.as_ref(), Some(value), "it is another one after JSON");
}

/// What is journalled must be read back as itself.
fn in_postcard<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let back = postcard::to_stdvec(value).ok().and_then(|bytes| postcard::from_bytes(&bytes).ok());
    assert_eq!(back.as_ref(), Some(value), "it is another one after the journal");
}
