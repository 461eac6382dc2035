//! Classification of `CKR_*` codes by the recovery they call for.

use cryptoki::error::{Error, RvError};
use engine::EngineError;

/// Class of a token's error, by the recovery it calls for.
///
/// | `CKR_*` | fault |
/// |---|---|
/// | `WRAPPED_KEY_INVALID`, `WRAPPED_KEY_LEN_RANGE`, `ENCRYPTED_DATA_*`, `SIGNATURE_*` | [`Fault::Integrity`] |
/// | `GENERAL_ERROR`, `DEVICE_ERROR`, `FUNCTION_FAILED` | [`Fault::Ambiguous`] |
/// | `KEY_HANDLE_INVALID`, `OBJECT_HANDLE_INVALID`, `WRAPPING_KEY_…`, `UNWRAPPING_KEY_HANDLE_INVALID`, `SESSION_HANDLE_INVALID`, `SESSION_CLOSED`, `OPERATION_*` | [`Fault::SessionLost`] |
/// | `USER_NOT_LOGGED_IN` | [`Fault::LoggedOut`] |
/// | `PIN_*` | [`Fault::PinRefused`] |
/// | `TOKEN_NOT_*`, `SLOT_ID_INVALID`, `DEVICE_REMOVED`, `CRYPTOKI_NOT_INITIALIZED` | [`Fault::TokenLost`] |
/// | `DEVICE_MEMORY`, `HOST_MEMORY`, `SESSION_COUNT` | [`Fault::Exhausted`] |
/// | `KEY_UNEXTRACTABLE`, `KEY_NOT_WRAPPABLE`, `ATTRIBUTE_SENSITIVE` | [`Fault::NotExtractable`] |
/// | every other code, including vendor-defined ones | [`Fault::Unsupported`] |
///
/// Source: PKCS #11 3.1 §5.1. The classes follow what the tokens in `TOKENS.md` were measured to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The input failed its integrity check.
    Integrity,
    /// The token failed in an unspecified way. Returned by unwrap or decrypt, it may also mean that the input failed its
    /// integrity check.
    Ambiguous,
    /// The session, or an object in it, no longer exists. A new session may succeed.
    SessionLost,
    /// The application was logged out. A new login may succeed.
    LoggedOut,
    /// The PIN is wrong, locked or expired. Never retried, because tokens lock after a few failures.
    PinRefused,
    /// The token, its slot or the initialised module is gone. The module has to be initialised again.
    TokenLost,
    /// The token has no room for another session or object.
    Exhausted,
    /// The token's policy forbids the key from leaving it.
    NotExtractable,
    /// The token lacks a mechanism or attribute, or behaves differently from the probe.
    Unsupported,
}

impl Fault {
    /// The class of `error`, as in the table above.
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
            Rv::GeneralError | Rv::DeviceError | Rv::FunctionFailed => Self::Ambiguous,
            Rv::KeyHandleInvalid
            | Rv::ObjectHandleInvalid
            | Rv::WrappingKeyHandleInvalid
            | Rv::UnwrappingKeyHandleInvalid
            | Rv::SessionHandleInvalid
            | Rv::SessionClosed
            | Rv::OperationActive
            | Rv::OperationNotInitialized => Self::SessionLost,
            Rv::UserNotLoggedIn => Self::LoggedOut,
            Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange | Rv::PinExpired | Rv::PinLocked => {
                Self::PinRefused
            }
            Rv::TokenNotPresent
            | Rv::TokenNotRecognized
            | Rv::SlotIdInvalid
            | Rv::DeviceRemoved
            | Rv::CryptokiNotInitialized => Self::TokenLost,
            Rv::DeviceMemory | Rv::HostMemory | Rv::SessionCount => Self::Exhausted,
            Rv::KeyUnextractable | Rv::KeyNotWrappable | Rv::AttributeSensitive => Self::NotExtractable,
            _ => Self::Unsupported,
        }
    }

    /// The engine error to return when recovery was not possible or did not help.
    pub(crate) const fn into_engine_error(self) -> EngineError {
        match self {
            Self::Integrity | Self::PinRefused => EngineError::DeviceError,
            Self::Unsupported => EngineError::MechanismInvalid,
            Self::NotExtractable => EngineError::KeyUnextractable,
            Self::Exhausted => EngineError::DeviceMemory,
            Self::Ambiguous | Self::SessionLost | Self::LoggedOut | Self::TokenLost => {
                EngineError::DeviceRemoved
            }
        }
    }
}

/// The failed function and its return code, without the long explanation that `cryptoki` adds.
pub(crate) fn short_text(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} returned {code:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, short_text};
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};
    use engine::EngineError;

    #[test]
    fn the_short_text_names_function_and_code() {
        let error = Error::Pkcs11(RvError::GeneralError, Function::GetTokenInfo);
        assert_eq!(short_text(&error), "C_GetTokenInfo returned GeneralError");
    }

    /// A refused PIN, a lost token and invalid input must never be confused.
    #[test]
    fn codes_are_classified_as_in_the_table() {
        let of = |code| Fault::of(&Error::Pkcs11(code, Function::Login));
        for (codes, fault) in [
            (
                vec![RvError::WrappedKeyInvalid, RvError::EncryptedDataLenRange, RvError::SignatureInvalid],
                Fault::Integrity,
            ),
            (vec![RvError::GeneralError, RvError::DeviceError, RvError::FunctionFailed], Fault::Ambiguous),
            (
                vec![RvError::ObjectHandleInvalid, RvError::SessionClosed, RvError::OperationActive],
                Fault::SessionLost,
            ),
            (vec![RvError::UserNotLoggedIn], Fault::LoggedOut),
            (
                vec![RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::PinLenRange],
                Fault::PinRefused,
            ),
            (
                vec![RvError::TokenNotPresent, RvError::DeviceRemoved, RvError::CryptokiNotInitialized],
                Fault::TokenLost,
            ),
            (vec![RvError::DeviceMemory, RvError::HostMemory, RvError::SessionCount], Fault::Exhausted),
            (vec![RvError::KeyUnextractable, RvError::AttributeSensitive], Fault::NotExtractable),
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

    /// Faults that a retry or another unit may resolve map to retryable engine errors.
    #[test]
    fn faults_are_retryable_or_not() {
        for (fault, retryable) in [
            (Fault::Ambiguous, true),
            (Fault::SessionLost, true),
            (Fault::LoggedOut, true),
            (Fault::TokenLost, true),
            (Fault::Exhausted, true),
            (Fault::NotExtractable, false),
            (Fault::Unsupported, false),
        ] {
            assert_eq!(fault.into_engine_error().is_retryable(), retryable, "{fault:?}");
        }
        assert_eq!(Fault::TokenLost.into_engine_error(), EngineError::DeviceRemoved);
    }
}
