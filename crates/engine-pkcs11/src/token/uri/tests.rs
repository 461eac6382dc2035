use super::{TokenAttributes, TokenUri, UriError};
use crate::token::PinSource;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

const MODULE: &str = "?module-path=/m.so";

fn parse(path: &str) -> Result<TokenUri, UriError> {
    format!("pkcs11:{path}{MODULE}").parse()
}

#[test]
fn a_uri_with_every_attribute_is_parsed() {
    let uri: TokenUri =
        "PKCS11:token=My%20token%3b1;serial=00ff;manufacturer=A&B;model=m;slot-id=18446744073709551615;\
         slot-description=USB?pin-source=file:/run/my%20pin&module-path=/usr/lib/a=b/c.so"
            .parse()
            .unwrap();
    assert_eq!(
        (uri.token(), uri.serial(), uri.slot_id()),
        (Some("My token;1"), Some("00ff"), Some(u64::MAX))
    );
    assert_eq!(uri.module_path(), Path::new("/usr/lib/a=b/c.so"));
    assert_eq!(uri.pin_source(), Some(&PinSource::File(PathBuf::from("/run/my pin"))));
    assert_eq!(
        uri.to_string(),
        "pkcs11:token=My%20token%3B1;manufacturer=A&B;model=m;serial=00ff;slot-description=USB;\
         slot-id=18446744073709551615?module-path=/usr/lib/a=b/c.so&pin-source=file:/run/my%20pin"
    );
}

#[test]
fn pin_sources_are_parsed() {
    let source = |text: &str| {
        format!("pkcs11:token=t{MODULE}&pin-source={text}").parse::<TokenUri>().map(|uri| uri.pin_source)
    };
    assert_eq!(source("file:/p"), Ok(Some(PinSource::File("/p".into()))));
    assert_eq!(source("file:///p"), Ok(Some(PinSource::File("/p".into()))));
    assert_eq!(source("env:HSM_PIN"), Ok(Some(PinSource::Env("HSM_PIN".to_owned()))));
    assert_eq!(source("prompt"), Ok(Some(PinSource::Prompt)));
    for refused in
        ["file:p", "file://host/p", "env:", "env:A=B", "|/bin/pin", "1234", "/p", "file:", "prompt:x"]
    {
        let error = source(refused).unwrap_err();
        assert!(matches!(error, UriError::PinSource(_)), "{refused}: {error}");
        // The value may be the PIN itself.
        assert!(!error.to_string().contains("1234"), "{error}");
    }
}

#[test]
fn an_invalid_uri_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "begins with `pkcs11:`"),
        ("token=t", "begins with `pkcs11:`"),
        ("pkcs12:token=t", "begins with `pkcs11:`"),
        ("pkcs11:", "does not name a token"),
        ("pkcs11:?module-path=/m.so", "does not name a token"),
        ("pkcs11:model=m;manufacturer=x?module-path=/m.so", "does not name a token"),
        ("pkcs11:token=t", "add ?module-path="),
        ("pkcs11:token=t?", "add ?module-path="),
        ("pkcs11:token=t?pin-source=prompt", "add ?module-path="),
        ("pkcs11:softhsm2?module-path=/m.so", "`softhsm2` is not an attribute"),
        ("pkcs11:token=t;?module-path=/m.so", "`` is not an attribute"),
        ("pkcs11:token=t?module-path=/m.so&", "`` is not an attribute"),
        ("pkcs11:token=t?module-path=/m.so&pin-value=1234", "pin-source=file:/path"),
        ("pkcs11:token=t;pin-value=1234?module-path=/m.so", "pin-source=file:/path"),
        ("pkcs11:token=t?module-path=/m.so&pin-value", "pin-source=file:/path"),
        ("pkcs11:token=t;object=k?module-path=/m.so", "unsupported token attribute `object`"),
        ("pkcs11:token=t;x-vendor=k?module-path=/m.so", "unsupported token attribute `x-vendor`"),
        ("pkcs11:Token=t?module-path=/m.so", "unsupported token attribute `Token`"),
        ("pkcs11:token=t?module-name=softhsm", "unsupported token attribute `module-name`"),
        ("pkcs11:token=t;module-path=/m.so", "`module-path` must be after the `?`"),
        ("pkcs11:token=t?module-path=/m.so&serial=1", "`serial` must be before the `?`"),
        ("pkcs11:token=t;token=t?module-path=/m.so", "`token` is given twice"),
        ("pkcs11:slot-id=1;slot-id=2?module-path=/m.so", "`slot-id` is given twice"),
        ("pkcs11:token=t?module-path=/m.so&module-path=/m.so", "`module-path` is given twice"),
        ("pkcs11:token=?module-path=/m.so", "`token` has no value"),
        ("pkcs11:token=%20%20?module-path=/m.so", "`token` has no value"),
        ("pkcs11:token=t?module-path=", "`module-path` has no value"),
        ("pkcs11:serial=12345678901234567?module-path=/m.so", "longer than 16 bytes"),
        ("pkcs11:token=a b?module-path=/m.so", "from ` b` on"),
        ("pkcs11:token=a/b?module-path=/m.so", "from `/b` on"),
        ("pkcs11:token=a%2?module-path=/m.so", "from `%2` on"),
        ("pkcs11:token=a%+1?module-path=/m.so", "from `%+1` on"),
        ("pkcs11:token=\u{fc}?module-path=/m.so", "correctly percent-encoded"),
        ("pkcs11:token=a%00b?module-path=/m.so", "from `%00` on"),
        ("pkcs11:token=%FF?module-path=/m.so", "not UTF-8"),
        ("pkcs11:slot-id=?module-path=/m.so", "slot-id must be a decimal number"),
        ("pkcs11:slot-id=+1?module-path=/m.so", "slot-id must be a decimal number"),
        ("pkcs11:slot-id=0x1?module-path=/m.so", "slot-id must be a decimal number"),
        ("pkcs11:slot-id=18446744073709551616?module-path=/m.so", "slot-id must be a decimal number"),
        ("pkcs11:token=t?module-path=m.so", "must be absolute"),
    ] {
        let message = text.parse::<TokenUri>().unwrap_err().to_string();
        assert!(message.contains(reason), "{text}: {message}");
        assert!(!message.contains("1234") || text.contains("serial"), "{text}: {message}");
    }
}

#[test]
fn a_token_matches_if_every_given_attribute_does() {
    let attributes = TokenAttributes {
        label: "core                            ",
        manufacturer: "SoftHSM project                 ",
        model: "SoftHSM v2",
        serial: "8d3a",
        slot_id: 7,
        slot_description: "SoftHSM slot ID 0x7",
    };
    for (uri, matches) in [
        ("token=core", true),
        ("token=core%20%20", true),
        ("token=%20core", false),
        ("token=Core", false),
        ("token=core;serial=8d3a;model=SoftHSM%20v2;slot-id=7", true),
        ("token=core;serial=8d3b", false),
        ("token=core;manufacturer=SoftHSM%20project", true),
        ("token=core;manufacturer=SoftHSM", false),
        ("token=core;model=SoftHSM%20v3", false),
        ("slot-id=7;slot-description=SoftHSM%20slot%20ID%200x7", true),
        ("slot-id=8", false),
        ("slot-id=7;slot-description=other", false),
    ] {
        assert_eq!(parse(uri).unwrap().matches(&attributes), matches, "{uri}");
    }
}

#[test]
fn module_path_and_pin_source_do_not_change_the_token() {
    let uri = parse("token=core;serial=1").unwrap();
    let same: TokenUri = "pkcs11:serial=1;token=core?module-path=/n.so&pin-source=prompt".parse().unwrap();
    assert!(uri.is_same_token(&same) && same.is_same_token(&uri));
    for other in ["token=core", "token=core;serial=2", "token=core;serial=1;slot-id=1", "serial=1"] {
        assert!(!uri.is_same_token(&parse(other).unwrap()), "{other}");
    }
}

#[test]
fn a_uri_is_made_from_a_label() {
    let uri = TokenUri::with_label("SIM00001-0a0b", Path::new("/lib/a b.so"), PinSource::File("/p".into()))
        .unwrap();
    assert_eq!(uri.to_string(), "pkcs11:token=SIM00001-0a0b?module-path=/lib/a%20b.so&pin-source=file:/p");
    let long = "x".repeat(33);
    for (label, module) in [("", "/m"), (long.as_str(), "/m"), ("t", "m")] {
        assert!(
            TokenUri::with_label(label, Path::new(module), PinSource::Prompt).is_err(),
            "{label} {module}"
        );
    }
}

fn text(max: usize) -> impl Strategy<Value = Option<String>> {
    let fits = move |text: &String| text.len() <= max && !text.trim_end_matches(' ').is_empty();
    proptest::option::of("[^\u{0}]{1,16}".prop_filter("fits into the field of CK_TOKEN_INFO", fits))
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[^\u{0}]{0,40}".prop_map(PathBuf::from)
}

fn pin_source() -> impl Strategy<Value = PinSource> {
    prop_oneof![
        Just(PinSource::Prompt),
        // After `file://` a host name would be expected, so the path must not begin with two slashes.
        "/[^/\u{0}][^\u{0}]{0,20}".prop_map(|path| PinSource::File(path.into())),
        "[^=\u{0}]{1,12}".prop_map(PinSource::Env),
    ]
}

proptest! {
    #[test]
    fn prop_a_formatted_uri_parses_to_the_same_value(
        (token, manufacturer, model, serial) in (text(32), text(32), text(16), text(16)),
        (slot_description, slot_id) in (text(64), any::<u64>()),
        module_path in path(),
        pin_source in proptest::option::of(pin_source()),
    ) {
        let slot_id = Some(slot_id);
        let uri =
            TokenUri { token, manufacturer, model, serial, slot_description, slot_id, module_path, pin_source };
        let written = uri.to_string();
        prop_assert!(written.is_ascii() && !written.contains(' '), "{}", written);
        prop_assert_eq!(written.parse(), Ok(uri));
    }

    #[test]
    fn prop_parsing_never_panics(text in "(pkcs11:)?[a-z=;?&%:0-9/-]{0,60}|.{0,40}") {
        if let Ok(uri) = text.parse::<TokenUri>() {
            prop_assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }
}
