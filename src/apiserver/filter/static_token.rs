//! Tokens that are known from the start: kube-apiserver's `--token-auth-file`.
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::request::User;
use ring::hmac;
use std::collections::BTreeMap;
use std::fmt;

/// Tokens and the users they stand for.
///
/// ```
/// use homeostat::apiserver::StaticTokens;
/// let tokens = StaticTokens::from_csv("secret,alice,uid-1,\"dev,ops\"\n")?;
/// assert_eq!(format!("{tokens:?}"), "StaticTokens(1)");
/// # Ok::<(), homeostat::apiserver::TokenFileError>(())
/// ```
#[derive(Clone)]
pub struct StaticTokens {
    /// Known to nobody who does not know all tokens.
    key: hmac::Key,
    /// By the digests of their tokens under the key: the time that a look-up takes says nothing of tokens.
    users: BTreeMap<Box<[u8]>, User>,
}

/// What is wrong with a file of tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// A line has fewer than three columns.
    #[error(
        "line {line}: token file must have at least 3 columns (token, user name, user uid), found {columns}"
    )]
    Columns {
        /// The line, from 1.
        line: usize,
        /// How many it has.
        columns: usize,
    },
    /// A quote is not closed, or stands where none may stand.
    #[error("line {line}: {what}")]
    Quote {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Debug for StaticTokens {
    /// How many there are: the tokens are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({})", self.users.len())
    }
}

impl Default for StaticTokens {
    /// None.
    fn default() -> Self {
        Self::under("")
    }
}

impl StaticTokens {
    fn under(key: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
            users: BTreeMap::new(),
        }
    }

    /// Reads lines of `token,user,uid,"group,group"`; the groups may be left out. Lines whose token is empty are passed
    /// over; of a token given twice the last line counts.
    ///
    /// # Errors
    /// When a line has fewer than three columns or its quotes are wrong.
    pub fn from_csv(text: &str) -> Result<Self, TokenFileError> {
        let mut tokens = Self::under(text);
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            let line_number = index + 1;
            let columns = columns(line).map_err(|what| TokenFileError::Quote {
                line: line_number,
                what,
            })?;
            let [token, name, uid, rest @ ..] = &columns[..] else {
                return Err(TokenFileError::Columns {
                    line: line_number,
                    columns: columns.len(),
                });
            };
            if token.is_empty() {
                tracing::warn!(line = line_number, "empty token passed over");
                continue;
            }
            let groups = rest.first().map_or("", String::as_str).split(',');
            let user = User {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups
                    .map(str::trim)
                    .filter(|group| !group.is_empty())
                    .map(str::to_owned)
                    .collect(),
                ..User::default()
            };
            let digest = Shown::new(token).digest(&tokens.key);
            tokens.users.insert(digest, user);
        }
        Ok(tokens)
    }

    /// Whom a token stands for.
    pub(crate) fn user(&self, token: Shown<'_>) -> Option<User> {
        self.users.get(&token.digest(&self.key)).cloned()
    }
}

/// The columns of a CSV line, as Go's reader splits it: leading blanks kept, quotes doubled within quotes.
fn columns(line: &str) -> Result<Vec<String>, &'static str> {
    let mut columns = Vec::new();
    let mut rest = line.trim_end_matches('\r');
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (column, after) = unquote(quoted)?;
            columns.push(column);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(columns),
                None => return Err("extraneous or missing \" in quoted-field"),
            }
        } else {
            let (column, next) = match rest.split_once(',') {
                Some((column, next)) => (column, Some(next)),
                None => (rest, None),
            };
            if column.contains('"') {
                return Err("bare \" in non-quoted-field");
            }
            columns.push(column.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(columns),
            }
        }
    }
}

fn unquote(text: &str) -> Result<(String, &str), &'static str> {
    let mut column = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest
            .split_once('"')
            .ok_or("extraneous or missing \" in quoted-field")?;
        column.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                column.push('"');
                rest = next;
            }
            None => return Ok((column, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: &str, groups: &[&str]) -> User {
        User {
            name: name.into(),
            uid: uid.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..User::default()
        }
    }

    #[test]
    fn files_are_read() {
        let text = "t1,alice,1\n\nt2,bob,2,\"dev, ops\"\r\nt3,carol,3,one\n,empty,4\n\"t\"\"4\",dave,5,\"\"\nt1,alice2,6\n";
        let tokens = StaticTokens::from_csv(text).unwrap();
        for (token, expected) in [
            ("t1", Some(user("alice2", "6", &[]))),
            ("t2", Some(user("bob", "2", &["dev", "ops"]))),
            ("t3", Some(user("carol", "3", &["one"]))),
            ("t\"4", Some(user("dave", "5", &[]))),
            ("t", None),
            ("t11", None),
            ("", None),
        ] {
            assert_eq!(tokens.user(Shown::new(token)), expected, "{token}");
        }
        assert!(!format!("{tokens:?}").contains("t2"));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, expected) in [
            (
                "a,b,c\nt,u\n",
                "line 2: token file must have at least 3 columns (token, user name, user uid), found 2",
            ),
            (
                "t,u,1,\"a\n",
                "line 1: extraneous or missing \" in quoted-field",
            ),
            (
                "\"t\"x,u,1\n",
                "line 1: extraneous or missing \" in quoted-field",
            ),
            ("t\"x,u,1\n", "line 1: bare \" in non-quoted-field"),
        ] {
            let error = StaticTokens::from_csv(text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
