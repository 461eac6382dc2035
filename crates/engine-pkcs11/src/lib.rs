//! An [`Engine`](engine::Engine) over any PKCS#11 token.
