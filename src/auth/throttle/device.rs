//! The cookie by which a device is known (OWASP, "Slow Down Online Guessing Attacks with Device
//! Cookies"): whoever logged in with the right password once is not held up by what strangers do to
//! the account. It proves nothing else, and opens nothing.
//!
//! ```text
//! base64url( device 16 ‖ issued at, milliseconds 8 ‖ tag 16 )     without padding
//! ```
//!
//! The tag is a MAC over account, device and time under a subkey of the master key: a cookie speaks
//! for one account only, and nobody can make one without that account's password.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::id::AccountId;
use crate::model::master_key::Subkey;
use crate::model::time::Timestamp;

const TAG: usize = 16;
const LENGTH: usize = 16 + 8 + TAG;

/// A device that an account logged in from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Random, its own for good.
    pub id: [u8; 16],
    /// When the cookie was made: at the device's last login.
    pub issued_at: Timestamp,
}

/// Makes and reads device cookies. `Debug` hides the key.
pub struct DeviceKeys(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKeys(…)")
    }
}

impl DeviceKeys {
    /// From the master key's subkey for known devices.
    pub fn new(subkey: &Subkey) -> Self {
        Self(Zeroizing::new(*subkey.expose()))
    }

    /// The cookie's value.
    pub fn write(&self, account: AccountId, device: &Device) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.extend_from_slice(&device.id);
        bytes.extend_from_slice(&device.issued_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.tag(account, &device.id, device.issued_at));
        SecretString::from(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    /// The device, if the cookie is ours and that account's. Takes alike for both.
    pub fn read(&self, account: AccountId, text: &str) -> Option<Device> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes[..]).ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (issued_at, tag) = rest.split_first_chunk::<8>()?;
        let issued_at = Timestamp::from_millis(i64::from_be_bytes(*issued_at));
        let genuine: bool = self.tag(account, id, issued_at)[..].ct_eq(tag).into();
        (length == LENGTH && genuine).then_some(Device { id: *id, issued_at })
    }

    fn tag(&self, account: AccountId, id: &[u8; 16], issued_at: Timestamp) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(account.0.as_bytes()).update(id).update(&issued_at.as_millis().to_be_bytes());
        let mut tag = [0; TAG];
        hasher.finalize_xof().fill(&mut tag);
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use uuid::Uuid;

    use super::*;
    use crate::model::master_key::{MasterKey, Purpose};
    use crate::model::random::SeededRng;

    fn keys(seed: u64) -> DeviceKeys {
        DeviceKeys::new(&MasterKey::generate(&SeededRng::new(seed)).derive(Purpose::KnownDevices))
    }

    const ADA: AccountId = AccountId(Uuid::from_bytes([1; 16]));
    const BOB: AccountId = AccountId(Uuid::from_bytes([2; 16]));
    const DEVICE: Device = Device { id: [7; 16], issued_at: Timestamp::from_millis(1_790_000_000_123) };

    #[test]
    fn a_cookie_speaks_for_its_account_under_its_master_key_and_for_nothing_else() {
        let cookie = keys(1).write(ADA, &DEVICE);
        let text = cookie.expose_secret();
        assert_eq!(text.len(), 54);
        assert_eq!(keys(1).read(ADA, text), Some(DEVICE));
        assert_eq!(keys(1).read(BOB, text), None);
        assert_eq!(keys(2).read(ADA, text), None);
        assert_eq!(format!("{:?}", keys(1)), "DeviceKeys(…)");
    }

    proptest! {
        #[test]
        fn any_other_text_is_no_cookie(text in "[A-Za-z0-9_=-]{0,80}|\\PC*") {
            prop_assert_eq!(keys(1).read(ADA, &text), None);
        }

        #[test]
        fn there_is_one_spelling(at in 0_usize..54, with in "[A-Za-z0-9_-]") {
            let cookie = keys(1).write(ADA, &DEVICE);
            let mut text = cookie.expose_secret().to_owned();
            prop_assume!(text[at..=at] != *with);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(keys(1).read(ADA, &text), None);
        }
    }
}
