//! The flags that say who may do what, as both serving examples take them.

use anyhow::{Context, Result, anyhow};
use homeostat::apiserver::{ApiServerBuilder, AuthorizationMode, StaticTokens};

use super::flags::Flags;

/// Sets up `server` as the flags say; `default`: the authorization when they do not.
pub(crate) fn set_up(
    mut server: ApiServerBuilder,
    flags: &Flags,
    default: &str,
) -> Result<ApiServerBuilder> {
    if let Some(path) = flags.get("token-auth-file") {
        server = server.tokens(tokens(path)?);
    }
    for plugin in flags.list("disable-admission-plugins") {
        server = server.without_admission(plugin);
    }
    Ok(server.authorization(modes(flags.get("authorization-mode").unwrap_or(default))?))
}

fn modes(names: &str) -> Result<Vec<AuthorizationMode>> {
    let modes = names.split(',').map(str::parse);
    modes
        .collect::<Result<_, String>>()
        .map_err(|error| anyhow!("--authorization-mode: {error}"))
}

fn tokens(path: &str) -> Result<StaticTokens> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    StaticTokens::from_csv(&text).with_context(|| path.to_owned())
}
