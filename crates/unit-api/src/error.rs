//! Why a unit refused.

use core::fmt;
use engine::EngineError;
use serde::{Deserialize, Serialize};

/// EP11's code for a blob under a master key that the unit does not have.
const CKR_IBM_WKID_MISMATCH: u32 = 0x8001_0001;
/// EP11's code for a master key that changed while the command was carried out.
const CKR_IBM_BLOBKEY_CONFLICT: u32 = 0x8001_0005;

macro_rules! unit_errors {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $ep11:expr, $reason:literal, $text:literal;)+) => {
        /// Why a unit refused or failed. Block `0x02xx` of the project's error numbers; never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum UnitError { $($(#[$doc])* $name = $number,)+ }

        impl UnitError {
            /// Every error, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The return code that EP11 firmware gives in this case; 0 where it names none.
            #[must_use]
            pub const fn ep11_code(self) -> u32 {
                match self { $(Self::$name => $ep11,)+ }
            }

            /// The reason code that EP11 firmware gives to administrators; 0 where it names none.
            #[must_use]
            pub const fn reason(self) -> u16 {
                match self { $(Self::$name => $reason,)+ }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

unit_errors! {
    /// No valid Current master key (`CKR_IBM_WK_NOT_INITIALIZED`).
    WkNotInitialized = 0x0201, 0x8001_0009, 0, "the unit has no valid current master key: load, commit and activate it";
    /// The blob is under a master key this unit does not have (`CKR_IBM_WKID_MISMATCH`).
    WkidMismatch = 0x0202, CKR_IBM_WKID_MISMATCH, 0, "the key blob is under another master key";
    /// The blob is damaged or forged (`CKR_IBM_BLOB_ERROR`).
    BlobError = 0x0203, 0x8001_0004, 0, "the key blob is not valid";
    /// The key's attributes do not permit this use (`CKR_KEY_FUNCTION_NOT_PERMITTED`).
    KeyFunctionNotPermitted = 0x0204, 0x68, 0, "the key's attributes do not permit this use";
    /// The key may not be extracted (`CKR_KEY_UNEXTRACTABLE`).
    KeyUnextractable = 0x0205, 0x6a, 0, "the key may not be extracted";
    /// The key's length does not fit (`CKR_KEY_SIZE_RANGE`).
    KeySizeRange = 0x0206, 0x62, 0, "the key's length does not fit its algorithm or its value";
    /// The mechanism does not go with this key (`CKR_MECHANISM_INVALID`).
    MechanismInvalid = 0x0207, 0x70, 0, "the unit does not offer this mechanism for this key";
    /// Too much or too little data (`CKR_DATA_LEN_RANGE`).
    DataLenRange = 0x0208, 0x21, 0, "the data is longer or shorter than the command takes";
    /// A ciphertext that this key did not make (`CKR_ENCRYPTED_DATA_INVALID`).
    EncryptedDataInvalid = 0x0209, 0x40, 0, "the ciphertext is not valid under this key";
    /// A wrapped key that this key did not wrap (`CKR_WRAPPED_KEY_INVALID`).
    WrappedKeyInvalid = 0x020a, 0x110, 0, "the wrapped key is not valid under this key";
    /// A MAC that this key did not make (`CKR_SIGNATURE_INVALID`).
    SignatureInvalid = 0x020b, 0xc0, 0, "the MAC is not valid under this key";
    /// The uses of a new key do not go together, or not with its algorithm (`CKR_TEMPLATE_INCONSISTENT`).
    KeyUsesInconsistent = 0x020c, 0xd1, 0, "a key has at least one use, and uses of one kind: to encrypt and decrypt, to sign and verify, to wrap and unwrap, or to derive; generic secrets sign, verify and derive only";
    /// The command names another domain of the module.
    DomainIndexMismatch = 0x0210, 0x200, 12, "the command is for another domain";
    /// The signer is not an administrator of this crypto unit.
    SignerUnknown = 0x0211, 257, 0, "a signer is not an administrator of this crypto unit";
    /// The transaction counter is not the unit's plus one.
    TransactionCounter = 0x0212, 163, 19, "the transaction counter is not the unit's plus one: read it again and sign again";
    /// The command was signed for another life of the domain.
    DomainInstanceMismatch = 0x0213, 0x200, 14, "the command was signed for an earlier life of this crypto unit";
    /// The command names another instance of the module.
    ModuleInstanceMismatch = 0x0214, 0x200, 16, "the command is for another instance of this module";
    /// The command names another module.
    ModuleSerialMismatch = 0x0215, 0x200, 17, "the command is for another module";
    /// A signature is wrong.
    SignatureWrong = 0x0216, 192, 22, "a signature is wrong";
    /// A signature is malformed.
    SignatureMalformed = 0x0217, 193, 22, "a signature is malformed";
    /// Fewer administrators have signed than the command needs.
    NotEnoughSignatures = 0x0218, 208, 21, "fewer administrators have signed than the command needs";
    /// More signatures than a unit has administrators.
    TooManySignatures = 0x0219, 0x200, 87, "more signatures than a crypto unit may have administrators";
    /// Master keys and control points are out of reach in imprint mode.
    ImprintMode = 0x021a, 179, 34, "the crypto unit is in imprint mode: add administrators and set the thresholds first";
    /// The administrative request is not understood.
    RequestMalformed = 0x021b, 0x7, 0, "the administrative request or its input is malformed";
    /// No such administrative command.
    CommandUnknown = 0x021c, 0x54, 0, "the crypto unit has no such administrative command";
    /// No importer key.
    ImporterMissing = 0x0250, 0x200, 1, "the crypto unit has no importer key: generate one first";
    /// The type of importer key is not offered.
    ImporterTypeInvalid = 0x0251, 0x200, 55, "the crypto unit makes importer keys of type 3 (P-521) only";
    /// An import without parts.
    KeyPartsMissing = 0x0252, 0x200, 2, "an import needs at least one key part";
    /// More than 3 parts.
    KeyPartsTooMany = 0x0253, 0x200, 75, "a master key has at most 3 key parts: 2 or 3, or a single one where permitted";
    /// A part's request is for another domain or counter than the request round it.
    KeyPartTargetMismatch = 0x0254, 0x200, 7, "a key part is for another crypto unit than the import round it";
    /// A part's request is for another command or counter than the request round it.
    KeyPartCommandMismatch = 0x0255, 0x200, 20, "a key part was signed for another command or counter than the import round it";
    /// A sealed part is malformed.
    KeyPartMalformed = 0x0256, 0x200, 23, "a sealed key part is malformed";
    /// A part is sealed for another importer key.
    KeyPartRecipientMismatch = 0x0257, 0x200, 24, "a key part is sealed for another importer key than the crypto unit's";
    /// A sealed part does not open.
    KeyPartUnwrapFailed = 0x0258, 0x200, 28, "a sealed key part does not open";
    /// Import is not permitted.
    ImportForbidden = 0x0259, 80, 80, "this crypto unit's permissions forbid importing a master key";
    /// A single part is not permitted.
    SinglePartForbidden = 0x025a, 80, 81, "this crypto unit's permissions forbid a master key in a custodian's single part";
    /// Random generation is not permitted.
    GenerateForbidden = 0x025b, 80, 52, "this crypto unit's permissions forbid generating a master key: only recovery units do";
    /// Export is not permitted.
    ExportForbidden = 0x025c, 80, 131, "this crypto unit's permissions forbid exporting its master key: only recovery units do";
    /// The export's target is not what a genuine module signed.
    ExportTargetInvalid = 0x025d, 0x200, 97, "the export's target is not an importer key that a genuine module has signed";
    /// The export's target belongs to another instance.
    ExportTargetForeign = 0x025e, 80, 0, "the export's target belongs to another service instance, which this crypto unit's permissions forbid";
    /// The parts of an import are more or fewer than an administrator has signed for one of them.
    KeyPartsCountMismatch = 0x025f, 0x200, 0, "the import has another number of key parts than the administrators signed: some were left out or added";
    /// A part was signed without the number of parts.
    KeyPartUncounted = 0x0278, 0x200, 0, "a key part was signed without the number of parts: sign it with a tool of the crypto unit's version";
    /// A master key that no genuine unit has exported.
    KeyPartSourceInvalid = 0x0279, 0x200, 0, "the master key does not come from a genuine module's answer to an export";
    /// The subject key identifier is malformed.
    SkiMalformed = 0x0260, 0x200, 32, "the subject key identifier is not 32 bytes";
    /// No such administrator.
    AdministratorNotInstalled = 0x0261, 0x200, 33, "no administrator with this subject key identifier is installed";
    /// The administrator is installed already.
    AdministratorInstalled = 0x0262, 256, 38, "an administrator with this key is installed already";
    /// Eight administrators are installed.
    AdministratorsFull = 0x0263, 261, 39, "the crypto unit has 8 administrators already";
    /// The certificate is not valid.
    CertificateInvalid = 0x0264, 0x200, 40, "the administrator's certificate is not valid";
    /// Removing the administrator would leave fewer than a threshold.
    RemovalBreaksThreshold = 0x0265, 209, 66, "removing the administrator would leave fewer than a threshold asks for: lower it first";
    /// The second-last administrator stays unless thresholds of 1 are permitted.
    RemovalOfSecondLast = 0x0266, 209, 67, "the second-last administrator can only be removed where thresholds of 1 are permitted";
    /// The last administrator stays.
    RemovalOfLast = 0x0267, 209, 68, "the last administrator of a secured crypto unit cannot be removed";
    /// The attribute list is malformed.
    AttributesMalformed = 0x0268, 0x200, 41, "the attribute list is not IDs 1 to 4 in order, or sets what does not exist";
    /// Imprint mode is left with a revocation threshold of at least 1.
    RevocationThresholdMissing = 0x0269, 209, 36, "imprint mode cannot be left with a revocation threshold of 0";
    /// The signature threshold is above the number of administrators.
    SignatureThresholdTooHigh = 0x026a, 209, 57, "the signature threshold is above the number of administrators";
    /// The revocation threshold is above the number of administrators.
    RevocationThresholdTooHigh = 0x026b, 209, 58, "the revocation threshold is above the number of administrators";
    /// A change-control bit does not come back.
    ChangeControlReset = 0x026c, 209, 69, "a change-control bit that was cleared comes back by zeroize only";
    /// The permission is protected from change.
    PermissionProtected = 0x026d, 209, 70, "the permission is protected from change until the crypto unit is zeroized";
    /// The threshold is protected from change.
    ThresholdProtected = 0x026e, 209, 71, "the threshold is protected from change, as by an early client: zeroize the crypto unit and set it up again";
    /// The mode is read-only.
    ModeReadOnly = 0x026f, 209, 72, "the operating mode follows from the thresholds and cannot be set";
    /// Thresholds of 1 are in force.
    OneSignNeeded = 0x0270, 209, 74, "thresholds of 1 are in force: raise them before forbidding them";
    /// The signature threshold cannot be set to 0.
    SignatureThresholdZero = 0x0271, 209, 76, "the signature threshold cannot be set to 0";
    /// The revocation threshold cannot be set to 0.
    RevocationThresholdZero = 0x0272, 209, 77, "the revocation threshold cannot be set to 0";
    /// A signature threshold of 1 is not permitted.
    SignatureThresholdOne = 0x0273, 209, 78, "a signature threshold of 1 is not permitted here";
    /// A revocation threshold of 1 is not permitted.
    RevocationThresholdOne = 0x0274, 209, 79, "a revocation threshold of 1 is not permitted here";
    /// The control points are malformed.
    ControlPointsMalformed = 0x0275, 0x200, 44, "the control points are not 16 bytes, or name one that does not exist";
    /// Control points may not be switched on.
    ControlPointsAddForbidden = 0x0276, 80, 46, "the control point ADD_CPBS is off: no control point can be switched on until zeroize";
    /// Control points may not be switched off.
    ControlPointsDeleteForbidden = 0x0277, 80, 47, "the control point DELETE_CPBS is off: no control point can be switched off until zeroize";
    /// One of the parts, or their sum, is zero, or two are equal; or they are more than 3, or none.
    KeyPartsInvalid = 0x0220, 0x200, 27, "key parts must differ, and neither one of them nor their sum may be zero; 2 or 3 make a master key, a single one where permitted";
    /// New is full already.
    NewNotEmpty = 0x0221, 0x200, 53, "the new master-key register is full: clear it first";
    /// What would be loaded is what Current holds.
    SameAsCurrent = 0x0222, 0x200, 0, "the parts combine to the current master key: change at least one";
    /// There is no key in New.
    NewMissing = 0x0223, 0x200, 50, "the new master-key register is empty: load it first";
    /// There is no key in Current.
    CurrentMissing = 0x0224, 0x200, 49, "the current master-key register is empty";
    /// New is not committed.
    NewNotCommitted = 0x0225, 0x200, 64, "the new master key is not committed";
    /// The pattern is not the register's.
    PatternMismatch = 0x0226, 101, 48, "the verification pattern is not that of the new master key: the parts were others";
    /// The caller has stopped waiting.
    DeadlineExceeded = 0x0230, 0, 0, "the deadline passed before the unit came to the command";
    /// A frame that does not decode.
    FrameMalformed = 0x0231, 0, 0, "the frame is not a request";
    /// A frame longer than the limit.
    FrameTooLong = 0x0232, 0, 0, "the frame is longer than the unit accepts";
    /// The answer would not fit a frame.
    ResponseTooLong = 0x0233, 0, 0, "the answer does not fit a frame";
    /// State could not be saved; nothing has changed.
    StorageFailed = 0x0240, 0x30, 0, "the unit could not save its state: nothing was changed";
    /// The unit is in its error state.
    ErrorState = 0x0241, 0x30, 0, "the unit is in its error state: it answers only status, zeroize, and queries of its domain, its device certificate and its audit log";
    /// Stored state is damaged, or another unit's.
    StateInvalid = 0x0242, 0x30, 0, "the unit's stored state is damaged or belongs to another unit";
    /// The engine's self-test failed.
    SelfTestFailed = 0x0243, 0x30, 0, "the engine failed its self-test";
}

impl UnitError {
    /// The error's number, as it stands on the wire and in audit records.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The error with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.code() == code)
    }

    /// Whether the unit reports that a blob is not, or no longer, under its master key.
    #[must_use]
    pub const fn is_key_mismatch(self) -> bool {
        matches!(self.ep11_code(), CKR_IBM_WKID_MISMATCH | CKR_IBM_BLOBKEY_CONFLICT)
    }

    /// Whether the same command may succeed on another unit.
    ///
    /// A foreign blob is the caller's fault, a wrong master key the unit's: the unit cannot tell which, so that
    /// [`UnitError::WkidMismatch`] is not retryable by itself. The host knows the instance's pattern and decides.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::WkNotInitialized
                | Self::StorageFailed
                | Self::ErrorState
                | Self::StateInvalid
                | Self::SelfTestFailed
        )
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for UnitError {}

/// A refusal as it travels: the number of a [`UnitError`] or of an [`EngineError`].
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal(u16);

impl Refusal {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The unit's error of this number; none for an engine's, or for one that a newer unit knows.
    #[must_use]
    pub fn unit_error(self) -> Option<UnitError> {
        UnitError::from_code(self.0)
    }

    /// The engine's error of this number, if it is one.
    #[must_use]
    pub fn engine_error(self) -> Option<EngineError> {
        EngineError::ALL.into_iter().find(|e| e.code() == self.0)
    }

    /// Whether the unit reports that a blob is not, or no longer, under its master key.
    #[must_use]
    pub fn is_key_mismatch(self) -> bool {
        self.unit_error().is_some_and(UnitError::is_key_mismatch)
    }

    /// Whether the same command may succeed on another unit.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match (self.unit_error(), self.engine_error()) {
            (Some(e), _) => e.is_retryable(),
            (None, Some(e)) => e.is_retryable(),
            (None, None) => false,
        }
    }
}

impl From<UnitError> for Refusal {
    fn from(error: UnitError) -> Self {
        Self(error.code())
    }
}

/// What is the caller's doing becomes the unit's error of the same meaning; what is the device's stays as it is.
impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let unit = match error {
            EngineError::MechanismInvalid => UnitError::MechanismInvalid,
            EngineError::KeySizeRange => UnitError::KeySizeRange,
            EngineError::KeyFunctionNotPermitted => UnitError::KeyFunctionNotPermitted,
            EngineError::KeyUnextractable => UnitError::KeyUnextractable,
            EngineError::DataLenRange => UnitError::DataLenRange,
            EngineError::KeyPartsInvalid => UnitError::KeyPartsInvalid,
            EngineError::WrappedKeyInvalid => UnitError::WrappedKeyInvalid,
            EngineError::EncryptedDataInvalid => UnitError::EncryptedDataInvalid,
            EngineError::SignatureInvalid => UnitError::SignatureInvalid,
            EngineError::BufferTooSmall => UnitError::ResponseTooLong,
            EngineError::StorageFailed => UnitError::StorageFailed,
            EngineError::KeyHandleInvalid
            | EngineError::ReferenceInvalid
            | EngineError::DeviceMemory
            | EngineError::RandomFailed
            | EngineError::DeviceRemoved
            | EngineError::DeviceError => return Self(error.code()),
        };
        Self(unit.code())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unit_error(), self.engine_error()) {
            (Some(e), _) => write!(f, "{e} (0x{:04x})", self.0),
            (None, Some(e)) => write!(f, "{e} (0x{:04x})", self.0),
            (None, None) => write!(f, "an error that only a newer unit knows (0x{:04x})", self.0),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({self})")
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::{Refusal, UnitError};
    use crate::admin::AdminRefusal;
    use engine::EngineError;
    use std::collections::BTreeSet;

    /// Every pair of return code and reason code stands for one error.
    #[test]
    fn administrators_can_tell_errors_apart() {
        for error in UnitError::ALL {
            assert_eq!(AdminRefusal::of(*error).unit_error(), Some(*error), "{error:?}");
        }
    }

    #[test]
    fn numbers_are_unique_and_in_their_block() {
        let numbers: BTreeSet<u16> = UnitError::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(numbers.len(), UnitError::ALL.len());
        assert!(numbers.iter().all(|n| n >> 8 == 0x02));
    }

    #[test]
    fn only_a_key_mismatch_reports_another_master_key() {
        assert!(Refusal::from(UnitError::WkidMismatch).is_key_mismatch());
        for error in UnitError::ALL.iter().filter(|e| !matches!(e.ep11_code(), 0x8001_0001 | 0x8001_0005)) {
            assert!(!Refusal::from(*error).is_key_mismatch(), "{error:?}");
        }
    }

    /// No caller of a unit names a handle: where one is wrong, it is the unit that is.
    #[test]
    fn a_fault_of_the_unit_s_own_is_worth_another_unit() {
        for fault in [EngineError::DeviceError, EngineError::DeviceRemoved, EngineError::KeyHandleInvalid] {
            assert!(Refusal::from(fault).is_retryable(), "{fault:?}");
        }
    }

    #[test]
    fn every_engine_error_has_a_meaning_on_the_wire() {
        for error in EngineError::ALL {
            let refusal = Refusal::from(error);
            assert!(refusal.unit_error().is_some() || refusal.engine_error().is_some(), "{error:?}");
            assert_eq!(refusal.is_retryable(), error.is_retryable(), "{error:?}");
        }
    }
}
