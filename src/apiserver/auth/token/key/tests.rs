//! Keys in every form in which kube-apiserver takes them, made with openssl for these tests and used nowhere else.
use super::*;

const KEYS: &str = include_str!("test-keys.pem");

fn text(name: &str) -> &'static [u8] {
    let (_, found) = KEYS.split_once(&format!("# {name}\n")).unwrap();
    found
        .split_once("\n# ")
        .map_or(found, |(text, _)| text)
        .as_bytes()
}

#[test]
fn keys_sign_and_verify() {
    for (private, public, algorithm) in [
        ("rsa1", "rsapub", "RS256"),
        ("rsa8", "rsapub", "RS256"),
        ("rsa8", "rsa1", "RS256"),
        ("ec1", "ecpub", "ES256"),
        ("ec8", "ecpub", "ES256"),
        ("ec8", "eccert", "ES256"),
        ("ec384", "ec384", "ES384"),
    ] {
        let key = SigningKey::from_pem(text(private)).unwrap();
        let verifying = VerifyingKey::all_from_pem(text(public)).unwrap();
        assert_eq!(verifying[0], key.public, "{private}");
        let token = key.sign(&json!({ "a": 1 })).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(verifying[0].verifies(algorithm, signed.as_bytes(), &signature));
        assert!(!verifying[0].verifies("none", signed.as_bytes(), &signature));
        assert!(!verifying[0].verifies(algorithm, b"other", &signature));
        let other = SigningKey::generate().unwrap();
        assert!(
            !other
                .public
                .verifies(algorithm, signed.as_bytes(), &signature)
        );
        let header = URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({ "alg": algorithm, "kid": key.public.id }));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let unusable = |found: Result<SigningKey, KeyError>| found.unwrap_err().to_string();
    assert_eq!(
        unusable(SigningKey::from_pem(b"")),
        "the text does not contain a private key in PEM form"
    );
    assert_eq!(
        unusable(SigningKey::from_pem(text("rsapub"))),
        "the text does not contain a private key in PEM form"
    );
    assert_eq!(
        unusable(SigningKey::from_pem(text("ec521"))),
        "the key cannot be used: the curve must be P-256 or P-384"
    );
    let broken = String::from_utf8_lossy(text("ec8")).replace("MIG", "MIF");
    assert!(SigningKey::from_pem(broken.as_bytes()).is_err());
    assert_eq!(
        VerifyingKey::all_from_pem(b"x"),
        Err(KeyError::Missing("public or private key"))
    );
    assert_eq!(
        VerifyingKey::all_from_pem(KEYS.split_once("# ec521").unwrap().0.as_bytes())
            .unwrap()
            .len(),
        8
    );
}

#[test]
fn keys_are_shown_without_their_secrets() {
    let key = SigningKey::from_pem(text("ec1")).unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public.id));
    let jwk = key.public.to_jwk();
    assert_eq!(
        (&jwk["kty"], &jwk["crv"], &jwk["alg"], &jwk["use"]),
        (
            &json!("EC"),
            &json!("P-256"),
            &json!("ES256"),
            &json!("sig")
        )
    );
    assert_eq!(jwk["x"].as_str().unwrap().len(), 43);
    let jwk = SigningKey::from_pem(text("rsa1")).unwrap().public.to_jwk();
    assert_eq!(
        (&jwk["kty"], &jwk["e"], jwk["n"].as_str().unwrap().len()),
        (&json!("RSA"), &json!("AQAB"), 342)
    );
}
