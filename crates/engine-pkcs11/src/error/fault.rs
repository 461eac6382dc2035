//! What a token's `CKR_*` mean to an engine.

use cryptoki::error::{Error, RvError};
use engine::EngineError;

/// What went wrong, by what helps against it.
///
/// | `CKR_*` | fault |
/// |---|---|
/// | `WRAPPED_KEY_INVALID`, `WRAPPED_KEY_LEN_RANGE`, `ENCRYPTED_DATA_*`, `SIGNATURE_*` | [`Fault::Integrity`] |
/// | `GENERAL_ERROR`, `DEVICE_ERROR`, `FUNCTION_FAILED` | [`Fault::Vague`] |
/// | `KEY_HANDLE_INVALID`, `OBJECT_HANDLE_INVALID`, `WRAPPING_KEY_…`, `UNWRAPPING_KEY_HANDLE_INVALID`, `SESSION_HANDLE_INVALID`, `SESSION_CLOSED`, `OPERATION_*` | [`Fault::Session`] |
/// | `USER_NOT_LOGGED_IN` | [`Fault::LoggedOut`] |
/// | `PIN_*` | [`Fault::Pin`] |
/// | `TOKEN_NOT_*`, `SLOT_ID_INVALID`, `DEVICE_REMOVED`, `CRYPTOKI_NOT_INITIALIZED` | [`Fault::Gone`] |
/// | `DEVICE_MEMORY`, `HOST_MEMORY`, `SESSION_COUNT` | [`Fault::Exhausted`] |
/// | `KEY_UNEXTRACTABLE`, `KEY_NOT_WRAPPABLE`, `ATTRIBUTE_SENSITIVE` | [`Fault::Policy`] |
/// | everything else, vendors' codes among it | [`Fault::Unsupported`] |
///
/// Source: PKCS #11 3.1 §5.1; which tokens answer what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The input does not authenticate.
    Integrity,
    /// Trouble with the token; from unwrapping and decrypting it may as well mean that the input does not authenticate.
    Vague,
    /// The session, or an object in it, is no longer there.
    Session,
    /// Somebody logged the application out.
    LoggedOut,
    /// The PIN is wrong, locked or expired: not tried again, because tokens lock.
    Pin,
    /// The token, or the module under it.
    Gone,
    /// No room for another session or object.
    Exhausted,
    /// The token's policy keeps a key.
    Policy,
    /// The token lacks a mechanism or an attribute, or has it in another way than was probed.
    Unsupported,
}

impl Fault {
    /// What `error` means.
    pub(crate) const fn of(error: &Error) -> Self {
        use RvError as Rv;
        let Error::Pkcs11(code, _) = error else { return Self::Unsupported };
        match code {
            Rv::WrappedKeyInvalid
            | Rv::WrappedKeyLenRange
            | Rv::EncryptedDataInvalid
            | Rv::EncryptedDataLenRange
            | Rv::SignatureInvalid
            | Rv::SignatureLenRange => Self::Integrity,
            Rv::GeneralError | Rv::DeviceError | Rv::FunctionFailed => Self::Vague,
            Rv::KeyHandleInvalid
            | Rv::ObjectHandleInvalid
            | Rv::WrappingKeyHandleInvalid
            | Rv::UnwrappingKeyHandleInvalid
            | Rv::SessionHandleInvalid
            | Rv::SessionClosed
            | Rv::OperationActive
            | Rv::OperationNotInitialized => Self::Session,
            Rv::UserNotLoggedIn => Self::LoggedOut,
            Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange | Rv::PinExpired | Rv::PinLocked => Self::Pin,
            Rv::TokenNotPresent
            | Rv::TokenNotRecognized
            | Rv::SlotIdInvalid
            | Rv::DeviceRemoved
            | Rv::CryptokiNotInitialized => Self::Gone,
            Rv::DeviceMemory | Rv::HostMemory | Rv::SessionCount => Self::Exhausted,
            Rv::KeyUnextractable | Rv::KeyNotWrappable | Rv::AttributeSensitive => Self::Policy,
            _ => Self::Unsupported,
        }
    }

    /// The engine's error for a fault that nothing was done about.
    pub(crate) const fn into_engine_error(self) -> EngineError {
        match self {
            Self::Integrity | Self::Pin => EngineError::DeviceError,
            Self::Unsupported => EngineError::MechanismInvalid,
            Self::Policy => EngineError::KeyUnextractable,
            Self::Exhausted => EngineError::DeviceMemory,
            Self::Vague | Self::Session | Self::LoggedOut | Self::Gone => EngineError::DeviceRemoved,
        }
    }
}

/// An error by function and code, without the standard's prose about it.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, words};
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};
    use engine::EngineError;

    #[test]
    fn words_name_function_and_code() {
        let error = Error::Pkcs11(RvError::GeneralError, Function::GetTokenInfo);
        assert_eq!(words(&error), "C_GetTokenInfo answered GeneralError");
    }

    /// A refused PIN, a lost token and bad input must never be taken for one another.
    #[test]
    fn codes_mean_what_the_table_says() {
        let of = |code| Fault::of(&Error::Pkcs11(code, Function::Login));
        for (codes, fault) in [
            (
                vec![RvError::WrappedKeyInvalid, RvError::EncryptedDataLenRange, RvError::SignatureInvalid],
                Fault::Integrity,
            ),
            (vec![RvError::GeneralError, RvError::DeviceError, RvError::FunctionFailed], Fault::Vague),
            (
                vec![RvError::ObjectHandleInvalid, RvError::SessionClosed, RvError::OperationActive],
                Fault::Session,
            ),
            (vec![RvError::UserNotLoggedIn], Fault::LoggedOut),
            (
                vec![RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::PinLenRange],
                Fault::Pin,
            ),
            (
                vec![RvError::TokenNotPresent, RvError::DeviceRemoved, RvError::CryptokiNotInitialized],
                Fault::Gone,
            ),
            (vec![RvError::DeviceMemory, RvError::HostMemory, RvError::SessionCount], Fault::Exhausted),
            (vec![RvError::KeyUnextractable, RvError::AttributeSensitive], Fault::Policy),
            (
                vec![RvError::MechanismInvalid, RvError::ArgumentsBad, RvError::VendorDefined(0x8000_0001)],
                Fault::Unsupported,
            ),
        ] {
            for code in codes {
                assert_eq!(of(code), fault, "{code:?}");
            }
        }
    }

    /// What another try, or another unit, may help against is said to be so; the rest is not.
    #[test]
    fn faults_are_retryable_or_not() {
        for (fault, retryable) in [
            (Fault::Vague, true),
            (Fault::Session, true),
            (Fault::LoggedOut, true),
            (Fault::Gone, true),
            (Fault::Exhausted, true),
            (Fault::Policy, false),
            (Fault::Unsupported, false),
        ] {
            assert_eq!(fault.into_engine_error().is_retryable(), retryable, "{fault:?}");
        }
        assert_eq!(Fault::Gone.into_engine_error(), EngineError::DeviceRemoved);
    }
}
