//! Secrets that callers show. This is the one place where they are told apart, in a time that says nothing of what is kept.
use ring::hmac;
use std::fmt;
use std::sync::LazyLock;

/// For comparisons of tags, which ring makes in constant time; that it is known to all takes nothing from them.
static COMPARING: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, b""));

/// A secret that somebody shows. It can be none of what could be compared, ordered, hashed or printed.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a str);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl<'a> Shown<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Whether it is the secret that is kept. The time taken depends on their lengths only.
    pub(crate) fn is(self, kept: &[u8]) -> bool {
        let tag = hmac::sign(&COMPARING, kept);
        hmac::verify(&COMPARING, self.0.as_bytes(), tag.as_ref()).is_ok()
    }

    /// What it can be looked up by, among others under the same key: who does not know the key learns nothing from the
    /// time that takes.
    pub(crate) fn digest(self, key: &hmac::Key) -> Box<[u8]> {
        hmac::sign(key, self.0.as_bytes()).as_ref().into()
    }

    /// Its text, for whoever takes it apart or verifies a signature over it; never to compare it with something kept.
    pub(crate) fn reveal(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hash;
    use std::ops::Deref;

    /// Compiles as long as there is one way only to see this in a secret, the one that all types share.
    const _: fn() = || {
        trait Seen<By> {
            fn seen() {}
        }
        impl<T: ?Sized> Seen<()> for T {}
        impl<T: ?Sized + PartialEq> Seen<[(); 1]> for T {}
        impl<T: ?Sized + Hash> Seen<[(); 2]> for T {}
        impl<T: ?Sized + Deref> Seen<[(); 3]> for T {}
        impl<T: ?Sized + ToString> Seen<[(); 4]> for T {}
        impl<T: ?Sized + AsRef<str>> Seen<[(); 5]> for T {}
        let _ = <Shown<'static> as Seen<_>>::seen;
    };

    #[test]
    fn secrets_are_compared() {
        for (shown, kept, expected) in [
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("ab", "ab\0", false),
            ("", "a", false),
            ("", "", true),
        ] {
            assert_eq!(
                Shown::new(shown).is(kept.as_bytes()),
                expected,
                "{shown} {kept:?}"
            );
        }
        assert_eq!(format!("{:?}", Shown::new("abc")), "Shown");
    }

    #[test]
    fn digests_are_of_their_key() {
        let key = |text: &str| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let digest = |secret: &str, text: &str| Shown::new(secret).digest(&key(text));
        assert_eq!(digest("a", "k"), digest("a", "k"));
        assert_ne!(digest("a", "k"), digest("b", "k"));
        assert_ne!(digest("a", "k"), digest("a", "l"));
    }
}
