//! Between the state machines' types and those on the wire.

use keystore::{Revision, StoreIdentity};
use kms::replica::{ReplicaState, SourcePosition};
use regions::{
    Epoch, FreezeId, HandoverId, HandoverRefusal, LeaseReply, LeaseRequest, PeerMessage, Side, SiteAnswer,
    StoreMark,
};
use wire::region as wire_region;
use wire::region::{Attempt, Refusal};
use wire::text::{decode_hex, encode_hex};

pub(super) fn message_to_wire(message: PeerMessage) -> wire_region::PeerMessage {
    use wire_region::PeerMessage as Wire;
    let attempt = |HandoverId { boot, number }| Attempt { boot, number };
    let freezing = |FreezeId { boot, number }| Attempt { boot, number };
    match message {
        PeerMessage::Poll { epoch, ping, boot } => Wire::Poll { epoch: epoch.number(), ping, boot },
        PeerMessage::Heard { epoch, ping, boot, promised } => {
            Wire::Heard { epoch: epoch.number(), ping, boot, promised }
        }
        PeerMessage::Freeze { handover } => Wire::Freeze { handover: attempt(handover) },
        PeerMessage::Frozen { handover, freeze, mark } => Wire::Frozen {
            handover: attempt(handover),
            freeze: freezing(freeze),
            revision: mark.revision,
            digest: encode_hex(&mark.digest),
        },
        PeerMessage::Refused { handover, why } => {
            let reason = match why {
                HandoverRefusal::NotReady => Refusal::NotReady,
                HandoverRefusal::TakingOver => Refusal::TakingOver,
                HandoverRefusal::Late => Refusal::Late,
            };
            Wire::Refused { handover: attempt(handover), reason }
        }
        PeerMessage::Commit { handover, freeze } => {
            Wire::Commit { handover: attempt(handover), freeze: freezing(freeze) }
        }
        PeerMessage::Committed { handover, epoch } => {
            Wire::Committed { handover: attempt(handover), epoch: epoch.number() }
        }
        PeerMessage::Cancel { handover } => Wire::Cancel { handover: attempt(handover) },
    }
}

/// `None` for a digest that is none.
pub(super) fn message_from_wire(message: &wire_region::PeerMessage) -> Option<PeerMessage> {
    use wire_region::PeerMessage as Wire;
    let attempt = |id: &Attempt| HandoverId { boot: id.boot, number: id.number };
    let freezing = |id: &Attempt| FreezeId { boot: id.boot, number: id.number };
    Some(match message {
        Wire::Poll { epoch, ping, boot } => {
            PeerMessage::Poll { epoch: Epoch::from_number(*epoch), ping: *ping, boot: *boot }
        }
        Wire::Heard { epoch, ping, boot, promised } => PeerMessage::Heard {
            epoch: Epoch::from_number(*epoch),
            ping: *ping,
            boot: *boot,
            promised: *promised,
        },
        Wire::Freeze { handover } => PeerMessage::Freeze { handover: attempt(handover) },
        Wire::Frozen { handover, freeze, revision, digest } => PeerMessage::Frozen {
            handover: attempt(handover),
            freeze: freezing(freeze),
            mark: StoreMark { revision: *revision, digest: *decode_hex::<32>(digest)? },
        },
        Wire::Refused { handover, reason } => PeerMessage::Refused {
            handover: attempt(handover),
            why: match reason {
                Refusal::NotReady => HandoverRefusal::NotReady,
                Refusal::TakingOver => HandoverRefusal::TakingOver,
                Refusal::Late => HandoverRefusal::Late,
            },
        },
        Wire::Commit { handover, freeze } => {
            PeerMessage::Commit { handover: attempt(handover), freeze: freezing(freeze) }
        }
        Wire::Committed { handover, epoch } => {
            PeerMessage::Committed { handover: attempt(handover), epoch: Epoch::from_number(*epoch) }
        }
        Wire::Cancel { handover } => PeerMessage::Cancel { handover: attempt(handover) },
    })
}

pub(super) fn request_to_wire(request: LeaseRequest) -> wire_region::LeaseRequest {
    let side = match request.side {
        Side::Home => wire_region::Side::Home,
        Side::Standby => wire_region::Side::Standby,
    };
    let LeaseRequest { epoch, ping, boot, release, .. } = request;
    wire_region::LeaseRequest { side, epoch: epoch.number(), ping, boot, release }
}

pub(super) fn request_from_wire(request: &wire_region::LeaseRequest) -> LeaseRequest {
    let side = match request.side {
        wire_region::Side::Home => Side::Home,
        wire_region::Side::Standby => Side::Standby,
    };
    LeaseRequest {
        side,
        epoch: Epoch::from_number(request.epoch),
        ping: request.ping,
        boot: request.boot,
        release: request.release,
    }
}

pub(super) fn reply_to_wire(reply: LeaseReply) -> wire_region::LeaseReply {
    let LeaseReply { ping, boot, granted, epoch } = reply;
    wire_region::LeaseReply { ping, boot, granted, epoch: epoch.number() }
}

pub(super) fn reply_from_wire(reply: &wire_region::LeaseReply) -> LeaseReply {
    let wire_region::LeaseReply { ping, boot, granted, epoch } = *reply;
    LeaseReply { ping, boot, granted, epoch: Epoch::from_number(epoch) }
}

pub(super) fn answer_to_wire(answer: SiteAnswer) -> wire_region::ProbeAnswer {
    let SiteAnswer { epoch, serves, partner_lost } = answer;
    wire_region::ProbeAnswer { epoch: epoch.number(), serves, partner_lost }
}

pub(super) fn answer_from_wire(answer: &wire_region::ProbeAnswer) -> SiteAnswer {
    let wire_region::ProbeAnswer { epoch, serves, partner_lost } = *answer;
    SiteAnswer { epoch: Epoch::from_number(epoch), serves, partner_lost }
}

pub(super) fn position_to_wire(position: SourcePosition) -> wire_region::Position {
    wire_region::Position { store: position.source.to_string(), revision: position.revision.0 }
}

pub(super) fn holding_to_wire(state: ReplicaState) -> wire_region::Holding {
    match state {
        ReplicaState::Empty => wire_region::Holding::Nothing,
        ReplicaState::Copying => wire_region::Holding::Incomplete,
        ReplicaState::Following(at) => wire_region::Holding::Copy { of: position_to_wire(at) },
        ReplicaState::Own(at) => wire_region::Holding::Own { taken_over_at: at.map(position_to_wire) },
    }
}

/// `None` for an identity that is none.
pub(super) fn holding_from_wire(holding: &wire_region::Holding) -> Option<ReplicaState> {
    Some(match holding {
        wire_region::Holding::Nothing => ReplicaState::Empty,
        wire_region::Holding::Incomplete => ReplicaState::Copying,
        wire_region::Holding::Copy { of } => ReplicaState::Following(position_from_wire(of)?),
        wire_region::Holding::Own { taken_over_at: None } => ReplicaState::Own(None),
        wire_region::Holding::Own { taken_over_at: Some(at) } => {
            ReplicaState::Own(Some(position_from_wire(at)?))
        }
    })
}

/// `None` for an identity that is none.
pub(super) fn position_from_wire(position: &wire_region::Position) -> Option<SourcePosition> {
    let identity = *decode_hex::<16>(&position.store)?;
    Some(SourcePosition { source: StoreIdentity(identity), revision: Revision(position.revision) })
}

/// Panics if a message of the partner means something else after it was sent on.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_message(data: &[u8]) {
    let Ok(message) = wire_region::decode::<wire_region::PeerMessage>(data) else { return };
    let Some(message) = message_from_wire(&message) else { return };
    assert_eq!(message_from_wire(&message_to_wire(message)), Some(message));
}
