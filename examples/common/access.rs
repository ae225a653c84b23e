//! The flags that say who may do what, as both serving examples take them.

use anyhow::{Context, Result, anyhow};
use homeostat::apiserver::{
    ApiServerBuilder, AuthorizationMode, ServiceAccountTokens, StaticTokens,
};

use super::flags::Flags;

/// Sets up `server` as the flags say; `default`: the authorization when they do not.
pub(crate) fn set_up(
    mut server: ApiServerBuilder,
    flags: &Flags,
    default: &str,
) -> Result<ApiServerBuilder> {
    server = server.flags(flags.given());
    if let Some(path) = flags.get("token-auth-file") {
        server = server.tokens(tokens(path)?);
    }
    if flags.is_on("enable-bootstrap-token-auth", false)? {
        server = server.bootstrap_tokens();
    }
    for plugin in flags.list("enable-admission-plugins") {
        server = server.with_admission(plugin);
    }
    for plugin in flags.list("disable-admission-plugins") {
        server = server.without_admission(plugin);
    }
    server = server.service_account_tokens(service_account_tokens(flags)?);
    Ok(server.authorization(modes(flags.get("authorization-mode").unwrap_or(default))?))
}

fn service_account_tokens(flags: &Flags) -> Result<ServiceAccountTokens> {
    let issuers = flags.list("service-account-issuer");
    let mut issuers = issuers.into_iter();
    let mut tokens = match issuers.next() {
        Some(issuer) => ServiceAccountTokens::new(issuer),
        None => ServiceAccountTokens::default(),
    };
    for issuer in issuers {
        tokens = tokens.also_issuer(issuer);
    }
    let audiences = flags.list("api-audiences");
    if !audiences.is_empty() {
        tokens = tokens.audiences(audiences);
    }
    if let Some(uri) = flags.get("service-account-jwks-uri") {
        tokens = tokens.jwks_uri(uri);
    }
    let read = |path: &str| std::fs::read(path).with_context(|| format!("cannot read {path}"));
    if let Some(path) = flags.get("service-account-signing-key-file") {
        let key = read(path)?;
        tokens = tokens.signing_key_pem(&key).context(path.to_owned())?;
    }
    for path in flags.list("service-account-key-file") {
        let keys = read(path)?;
        tokens = tokens.verifying_keys_pem(&keys).context(path.to_owned())?;
    }
    Ok(tokens)
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
