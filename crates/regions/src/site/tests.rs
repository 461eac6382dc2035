//! One fact about a site each.

use super::{Action, Cause, Copy, Event, Facts, Means, Site, TakeOver, TakeOverRefused, WritesRefused};
use crate::{
    Epoch, Failback, Fence, FreezeId, HandoverId, HandoverRefusal, Instant, LeaseReply, LeaseRequest, Now,
    PairConfig, PeerMessage, Side, SiteRecord, StoreMark, WallTime, WriteEnable,
};
use core::time::Duration;

const SECOND: u64 = 1000;
const HOUR: u64 = 60 * 60 * SECOND;
const READY: Facts = Facts { units_ready: true, copy: Copy::Complete };
const MARK: StoreMark = StoreMark { revision: 7, digest: [7; 32] };
const HANDOVER: HandoverId = HandoverId { boot: 9, number: 1 };

fn at(millis: u64) -> Now {
    Now { instant: Instant::from_millis(millis), wall: WallTime::from_millis(i64::try_from(millis).unwrap()) }
}

fn epoch(number: u64) -> Epoch {
    Epoch::from_number(number)
}

fn record(epoch_number: u64, highest: u64) -> SiteRecord {
    SiteRecord { epoch: epoch(epoch_number), highest: epoch(highest), lost_since: None }
}

fn config(fence: Fence) -> PairConfig {
    PairConfig { fence, ..PairConfig::default() }
}

fn with_timer() -> PairConfig {
    PairConfig { write_enable: WriteEnable::Timer, ..config(Fence::Witness) }
}

/// A site that starts at 0, ready to be used, in its first life.
fn site(config: PairConfig, side: Side, record: SiteRecord) -> Site {
    let mut site = Site::new(config, side, record, 1, at(0));
    site.handle_facts(at(0), READY);
    site
}

fn actions(site: &mut Site) -> Vec<Action> {
    std::iter::from_fn(|| site.poll_action()).collect()
}

fn events(site: &mut Site) -> Vec<Event> {
    std::iter::from_fn(|| site.poll_event()).collect()
}

fn sent(site: &mut Site) -> Vec<PeerMessage> {
    actions(site)
        .into_iter()
        .filter_map(|it| if let Action::Send(message) = it { Some(message) } else { None })
        .collect()
}

fn asked(site: &mut Site) -> Vec<LeaseRequest> {
    actions(site)
        .into_iter()
        .filter_map(|it| if let Action::Ask(request) = it { Some(request) } else { None })
        .collect()
}

fn saved(site: &mut Site) -> Option<SiteRecord> {
    actions(site)
        .into_iter()
        .rev()
        .find_map(|it| if let Action::Save(record) = it { Some(record) } else { None })
}

fn poll(number: u64) -> PeerMessage {
    PeerMessage::Poll { epoch: epoch(number), ping: 1, boot: 5 }
}

/// A home that an operator's fence protects, and that writes under epoch 1 at 1 second.
fn writing_home() -> Site {
    let mut home = site(config(Fence::Operator), Side::Home, SiteRecord::NEW);
    home.handle_message(
        at(SECOND),
        PeerMessage::Heard { epoch: epoch(1), ping: 1, boot: 1, promised: false },
    );
    home.handle_taken_over(epoch(1));
    assert_eq!(home.may_write(at(SECOND).instant), Ok(epoch(1)));
    actions(&mut home);
    events(&mut home);
    home
}

/// A standby that has not heard its home for the 20 seconds after which it counts as lost, and a front neither.
fn standby_without_home(config: PairConfig) -> Site {
    let mut standby = site(config, Side::Standby, SiteRecord::NEW);
    standby.handle_front_report(at(20 * SECOND), 0, Duration::from_secs(20), epoch(1));
    standby.handle_timeout(at(20 * SECOND));
    assert_eq!(events(&mut standby), [Event::Lost]);
    standby
}

#[test]
fn time_enables_writing_after_six_hours_and_no_second_before() {
    let mut standby = standby_without_home(with_timer());
    let due = 20 * SECOND + 6 * HOUR;
    assert_eq!(standby.status(at(due).instant).write_enable_at, Some(at(due).wall));
    standby.handle_timeout(at(due - SECOND));
    assert!(!standby.status(at(due - SECOND).instant).taking_over);
    standby.handle_timeout(at(due));
    assert!(standby.status(at(due).instant).taking_over);
}

#[test]
fn the_six_hours_go_on_while_the_standby_is_down() {
    let mut standby = standby_without_home(with_timer());
    let record = saved(&mut standby).unwrap();
    assert_eq!(record.lost_since, Some(at(20 * SECOND).wall));
    let restarted = 3 * HOUR;
    // Its own clock begins at 0 again; the calendar has gone on.
    let later = |wall: u64| Now { instant: Instant::from_millis(wall - restarted), ..at(wall) };
    let mut standby = Site::new(with_timer(), Side::Standby, record, 2, later(restarted));
    standby.handle_facts(later(restarted), READY);
    let due = 20 * SECOND + 6 * HOUR;
    standby.handle_timeout(later(due - SECOND));
    assert!(!standby.status(later(due - SECOND).instant).taking_over);
    standby.handle_timeout(later(due));
    assert!(standby.status(later(due).instant).taking_over);
}

#[test]
fn time_enables_nothing_if_an_operator_decides() {
    let mut standby = standby_without_home(config(Fence::Witness));
    standby.handle_timeout(at(7 * HOUR));
    let status = standby.status(at(7 * HOUR).instant);
    assert!(!status.taking_over && status.write_enable_at.is_none());
}

#[test]
fn a_home_that_answers_again_stops_the_timer() {
    let mut standby = standby_without_home(with_timer());
    standby.handle_message(at(HOUR), poll(1));
    assert_eq!(events(&mut standby), [Event::Found]);
    assert_eq!(saved(&mut standby).unwrap().lost_since, None);
    standby.handle_timeout(at(HOUR + 1));
    assert_eq!(standby.status(at(HOUR + 1).instant).write_enable_at, None);
}

#[test]
fn a_home_is_lost_only_if_neither_the_standby_nor_a_front_reaches_it() {
    let reports = |unreachable_for: Option<u64>, confirm: bool| {
        let config = PairConfig { fronts_confirm_loss: confirm, ..PairConfig::default() };
        let mut standby = site(config, Side::Standby, SiteRecord::NEW);
        if let Some(seconds) = unreachable_for {
            standby.handle_front_report(at(20 * SECOND), 0, Duration::from_secs(seconds), epoch(1));
        }
        standby.handle_timeout(at(20 * SECOND));
        events(&mut standby) == [Event::Lost]
    };
    assert!(!reports(None, true), "no front has said anything");
    assert!(!reports(Some(19), true), "the front has reached it");
    assert!(reports(Some(20), true));
    assert!(reports(None, false), "configured to go by the standby alone");

    let mut standby = site(PairConfig::default(), Side::Standby, SiteRecord::NEW);
    standby.handle_message(at(SECOND), poll(1));
    standby.handle_front_report(at(20 * SECOND), 0, Duration::from_secs(20), epoch(1));
    standby.handle_timeout(at(20 * SECOND));
    assert!(events(&mut standby).is_empty(), "the standby heard it 19 seconds ago");
}

#[test]
fn a_report_of_a_front_is_soon_out_of_date() {
    let mut standby = site(PairConfig::default(), Side::Standby, SiteRecord::NEW);
    standby.handle_front_report(at(0), 0, Duration::from_secs(20), epoch(1));
    standby.handle_timeout(at(20 * SECOND));
    assert!(events(&mut standby).is_empty());
}

#[test]
fn only_a_follower_with_a_complete_copy_and_units_could_take_over() {
    let mut standby = site(config(Fence::Operator), Side::Standby, SiteRecord::NEW);
    assert!(standby.could_take_over());
    for facts in [
        Facts { units_ready: false, ..READY },
        Facts { copy: Copy::Incomplete, ..READY },
        Facts { copy: Copy::Behind, ..READY },
        Facts { copy: Copy::Diverged, ..READY },
    ] {
        standby.handle_facts(at(0), facts);
        assert!(!standby.could_take_over(), "{facts:?}");
    }
    assert!(!writing_home().could_take_over());
}

#[test]
fn a_region_that_starts_hears_its_partner_before_it_writes() {
    let mut home = site(config(Fence::Operator), Side::Home, SiteRecord::NEW);
    let now = at(SECOND);
    assert_eq!(home.may_write(now.instant), Err(WritesRefused::Unconfirmed));
    assert!(!home.may_use());
    // An answer to an earlier life, from before the partner took over.
    home.handle_message(now, PeerMessage::Heard { epoch: epoch(1), ping: 1, boot: 0, promised: true });
    assert_eq!(home.may_write(now.instant), Err(WritesRefused::Unconfirmed));
    home.handle_message(now, PeerMessage::Heard { epoch: epoch(1), ping: 1, boot: 1, promised: false });
    assert_eq!(home.may_write(now.instant), Err(WritesRefused::TakingOver));
    home.handle_taken_over(epoch(1));
    assert_eq!(home.may_write(now.instant), Ok(epoch(1)));
    assert!(home.may_use());
}

#[test]
fn a_higher_epoch_ends_writing_at_once() {
    let mut home = writing_home();
    home.handle_message(at(2 * SECOND), poll(2));
    assert_eq!(home.may_write(at(2 * SECOND).instant), Err(WritesRefused::Follows { lost: false }));
    assert_eq!(events(&mut home), [Event::SteppedDown { epoch: epoch(2) }]);
    assert_eq!(saved(&mut home), Some(record(2, 2)));
}

#[test]
fn attack_an_epoch_far_beyond_does_not_end_writing() {
    let mut home = writing_home();
    for number in [u64::MAX - 1, u64::MAX] {
        let poll = PeerMessage::Poll { epoch: epoch(number), ping: 1, boot: 1 };
        home.handle_message(at(1000), poll);
    }
    assert!(home.may_write(at(1000).instant).is_ok());
    assert_eq!((saved(&mut home), home.epoch()), (None, epoch(1)));
}

#[test]
fn a_freeze_ends_after_its_limit() {
    let mut home = writing_home();
    let (begin, end) = (2 * SECOND, 32 * SECOND);
    home.handle_message(at(begin), PeerMessage::Freeze { handover: HANDOVER });
    home.handle_frozen(HANDOVER, MARK);
    assert_eq!(home.poll_timeout().millis(), 0, "its next poll is due before");
    home.handle_timeout(at(end - 1));
    assert_eq!(
        home.may_write(at(end - 1).instant),
        Err(WritesRefused::Frozen { remaining: Duration::from_millis(1) })
    );
    assert_eq!(home.poll_timeout().millis(), end);
    home.handle_timeout(at(end));
    assert_eq!(home.may_write(at(end).instant), Ok(epoch(1)));
    assert_eq!(events(&mut home), [Event::Froze, Event::Thawed]);
    sent(&mut home);
    let freeze = FreezeId { boot: 1, number: 1 };
    home.handle_message(at(end), PeerMessage::Commit { handover: HANDOVER, freeze });
    assert_eq!(sent(&mut home), [PeerMessage::Refused { handover: HANDOVER, why: HandoverRefusal::Late }]);
}

#[test]
fn the_right_is_given_for_the_freeze_that_stands_and_no_other() {
    let mut home = writing_home();
    home.handle_message(at(2 * SECOND), PeerMessage::Freeze { handover: HANDOVER });
    home.handle_frozen(HANDOVER, MARK);
    let commit = |number| PeerMessage::Commit { handover: HANDOVER, freeze: FreezeId { boot: 1, number } };
    home.handle_message(at(3 * SECOND), commit(2));
    assert_eq!(home.epoch(), epoch(1));
    home.handle_message(at(3 * SECOND), commit(1));
    assert_eq!(home.epoch(), epoch(2));
    assert_eq!(events(&mut home), [Event::Froze, Event::GaveAway { epoch: epoch(2) }]);
}

#[test]
fn a_lease_runs_from_the_request_and_is_relied_on_for_a_tenth_less() {
    let mut home = site(config(Fence::Witness), Side::Home, SiteRecord::NEW);
    home.handle_timeout(at(SECOND));
    let [request] = asked(&mut home)[..] else { panic!("no request") };
    let granted = LeaseReply { ping: request.ping, boot: request.boot, granted: true, epoch: epoch(1) };
    home.handle_lease_reply(at(11 * SECOND), granted);
    home.handle_taken_over(epoch(1));
    assert_eq!(home.may_write(at(28 * SECOND - 1).instant), Ok(epoch(1)));
    assert_eq!(home.may_write(at(28 * SECOND).instant), Err(WritesRefused::NoLease));
    // The same answer again, and answers of another life.
    home.handle_lease_reply(at(20 * SECOND), granted);
    home.handle_lease_reply(at(20 * SECOND), LeaseReply { boot: 7, ..granted });
    assert_eq!(home.may_write(at(28 * SECOND).instant), Err(WritesRefused::NoLease));
}

#[test]
fn a_promise_of_the_partner_is_as_good_as_the_witness() {
    let mut home = site(config(Fence::Witness), Side::Home, SiteRecord::NEW);
    home.handle_timeout(at(SECOND));
    let Some(PeerMessage::Poll { ping, boot, .. }) = sent(&mut home).first().copied() else {
        panic!("no poll")
    };
    let heard = |promised| PeerMessage::Heard { epoch: epoch(1), ping, boot, promised };
    home.handle_message(at(2 * SECOND), heard(false));
    assert_eq!(home.may_write(at(2 * SECOND).instant), Err(WritesRefused::Unconfirmed));
    home.handle_message(at(2 * SECOND), heard(true));
    home.handle_taken_over(epoch(1));
    assert_eq!(home.may_write(at(28 * SECOND - 1).instant), Ok(epoch(1)));
    assert_eq!(home.may_write(at(28 * SECOND).instant), Err(WritesRefused::NoLease));
}

#[test]
fn a_standby_asks_for_the_lease_only_after_its_promise_has_run_out() {
    let mut standby = site(config(Fence::Witness), Side::Standby, SiteRecord::NEW);
    standby.handle_message(at(40 * SECOND), poll(1));
    let answer = sent(&mut standby).pop();
    assert!(matches!(answer, Some(PeerMessage::Heard { promised: true, .. })), "{answer:?}");
    assert_eq!(standby.take_over(at(50 * SECOND), TakeOver::default()), Ok(()));
    standby.handle_timeout(at(70 * SECOND - 1));
    assert!(asked(&mut standby).is_empty());
    standby.handle_timeout(at(71 * SECOND));
    let [request] = asked(&mut standby)[..] else { panic!("no request") };
    assert_eq!((request.epoch, request.release), (epoch(2), false));
}

#[test]
fn a_standby_that_starts_may_have_promised_before() {
    let mut standby = site(config(Fence::Witness), Side::Standby, SiteRecord::NEW);
    assert_eq!(standby.take_over(at(SECOND), TakeOver::default()), Ok(()));
    standby.handle_timeout(at(30 * SECOND - 1));
    assert!(asked(&mut standby).is_empty());
    standby.handle_timeout(at(31 * SECOND));
    assert_eq!(asked(&mut standby).len(), 1);
}

#[test]
fn a_standby_that_wants_the_lease_promises_nothing() {
    let mut standby = site(config(Fence::Witness), Side::Standby, SiteRecord::NEW);
    assert_eq!(standby.take_over(at(SECOND), TakeOver::default()), Ok(()));
    assert!(!standby.promise(at(SECOND).instant, epoch(1)));
}

#[test]
fn orders_to_take_over_are_refused_with_the_reason() {
    let refused = |side, facts: Facts, order: TakeOver, heard: bool| {
        let mut site = site(config(Fence::Operator), side, SiteRecord::NEW);
        site.handle_facts(at(0), facts);
        if heard {
            site.handle_message(at(10 * SECOND), poll(1));
        }
        let before = site.clone();
        let refused = site.take_over(at(10 * SECOND), order).unwrap_err();
        assert_eq!(site, before, "a refused order changes nothing");
        refused
    };
    let (home, standby, order) = (Side::Home, Side::Standby, TakeOver::default());
    let facts = |copy| Facts { copy, ..READY };
    assert_eq!(refused(home, READY, order, true), TakeOverRefused::WaitsForConfirmation);
    assert_eq!(refused(home, READY, order, false), TakeOverRefused::PartnerMayWrite);
    assert_eq!(refused(standby, READY, order, false), TakeOverRefused::PartnerMayWrite);
    assert_eq!(refused(standby, Facts { units_ready: false, ..READY }, order, true), TakeOverRefused::NoUnit);
    assert_eq!(refused(standby, facts(Copy::Incomplete), order, true), TakeOverRefused::NotCopied);
    assert_eq!(refused(standby, facts(Copy::Behind), order, true), TakeOverRefused::Behind);
    assert_eq!(refused(standby, facts(Copy::Diverged), order, true), TakeOverRefused::Diverged);
    assert_eq!(
        writing_home().take_over(at(10 * SECOND), TakeOver { partner_is_down: true, ..order }),
        Err(TakeOverRefused::Writes)
    );
    let mut twice = site(config(Fence::Witness), standby, SiteRecord::NEW);
    assert_eq!(twice.take_over(at(SECOND), order), Ok(()));
    assert_eq!(twice.take_over(at(SECOND), order), Err(TakeOverRefused::UnderWay));
}

#[test]
fn an_operator_who_states_that_the_partner_is_down_makes_a_writer_at_once() {
    let down = TakeOver { partner_is_down: true, ..TakeOver::default() };
    // Also from a copy that is behind: the rest cannot be had.
    for copy in [Copy::Complete, Copy::Behind] {
        let mut standby = site(config(Fence::Operator), Side::Standby, SiteRecord::NEW);
        standby.handle_facts(at(0), Facts { copy, ..READY });
        assert_eq!(standby.take_over(at(10 * SECOND), down), Ok(()));
        let took = Event::TookOver { epoch: epoch(2), cause: Cause::Operator, means: Means::Fence };
        assert_eq!(events(&mut standby), [took]);
    }
    // A home that starts while its partner is down takes a new epoch: the old one may have been given away.
    let mut home = site(config(Fence::Operator), Side::Home, SiteRecord::NEW);
    assert_eq!(home.take_over(at(10 * SECOND), down), Ok(()));
    assert_eq!(home.epoch(), epoch(3));
}

#[test]
fn an_operators_statement_is_no_substitute_for_a_witness() {
    let mut standby = site(config(Fence::Witness), Side::Standby, SiteRecord::NEW);
    let down = TakeOver { partner_is_down: true, ..TakeOver::default() };
    assert_eq!(standby.take_over(at(10 * SECOND), down), Ok(()));
    assert_eq!(standby.epoch(), epoch(1));
    let mut home = site(config(Fence::Witness), Side::Home, SiteRecord::NEW);
    assert_eq!(home.take_over(at(10 * SECOND), down), Err(TakeOverRefused::WaitsForConfirmation));
}

/// A standby whose handover has come so far that it has to apply the last changes.
fn catching_up(order: TakeOver, copy: Copy) -> Site {
    let mut standby = site(config(Fence::Operator), Side::Standby, SiteRecord::NEW);
    standby.handle_facts(at(0), Facts { copy, ..READY });
    standby.handle_message(at(SECOND), poll(1));
    assert_eq!(standby.take_over(at(SECOND), order), Ok(()));
    let (handover, freeze) = (HandoverId { boot: 1, number: 1 }, FreezeId { boot: 5, number: 1 });
    standby.handle_message(at(SECOND), PeerMessage::Frozen { handover, freeze, mark: MARK });
    assert_eq!(actions(&mut standby).pop(), Some(Action::CatchUp { handover, mark: MARK }));
    standby
}

#[test]
fn a_handover_to_a_region_that_lacks_a_change_is_given_up() {
    let mut standby = catching_up(TakeOver::default(), Copy::Complete);
    let handover = HandoverId { boot: 1, number: 1 };
    standby.handle_caught_up(at(SECOND), handover, false);
    assert_eq!(sent(&mut standby), [PeerMessage::Cancel { handover }]);
}

#[test]
fn an_operator_may_accept_that_the_data_differ() {
    let order = TakeOver { accept_divergence: true, ..TakeOver::default() };
    let handover = HandoverId { boot: 1, number: 1 };
    for (has_all, means) in [(false, Means::Fence), (true, Means::Handover)] {
        let mut standby = catching_up(order, Copy::Diverged);
        standby.handle_caught_up(at(SECOND), handover, has_all);
        standby.handle_message(at(SECOND), PeerMessage::Committed { handover, epoch: epoch(2) });
        let took = Event::TookOver { epoch: epoch(2), cause: Cause::Operator, means };
        assert_eq!(events(&mut standby), [took]);
    }
}

#[test]
fn the_home_returns_once_it_is_no_longer_behind() {
    let config =
        PairConfig { failback: Failback::AfterReady(Duration::from_secs(10)), ..config(Fence::Operator) };
    let mut home = site(config, Side::Home, record(2, 2));
    home.handle_facts(at(0), Facts { copy: Copy::Behind, ..READY });
    for second in 1..=20 {
        home.handle_message(at(second * SECOND), poll(2));
        home.handle_timeout(at(second * SECOND));
    }
    assert!(!home.status(at(20 * SECOND).instant).taking_over);
    home.handle_facts(at(20 * SECOND), READY);
    for second in 21..=30 {
        home.handle_message(at(second * SECOND), poll(2));
        home.handle_timeout(at(second * SECOND));
        assert_eq!(home.status(at(second * SECOND).instant).taking_over, second == 30, "{second}");
    }
}

/// Both may wait for each other after leases that neither used. Then the one that followed last may have the newer data.
#[test]
fn a_region_gives_up_nothing_for_a_partner_that_waits_for_it() {
    let mut home = site(config(Fence::Witness), Side::Home, record(2, 3));
    home.handle_message(at(SECOND), poll(3));
    assert!(actions(&mut home).contains(&Action::Follow { epoch: epoch(3), replace: false }));
}

#[test]
fn a_region_that_has_lost_its_record_gives_up_nothing_and_does_not_write() {
    let mut home = writing_home();
    home.handle_message(at(2 * SECOND), poll(3));
    assert!(home.may_write(at(2 * SECOND).instant).is_err());
    let done = actions(&mut home);
    assert!(done.contains(&Action::Save(record(1, 3))), "{done:?}");
    assert!(done.contains(&Action::Follow { epoch: epoch(3), replace: false }), "{done:?}");
    // It knows that after a restart, too, and is not misled by a message from before.
    let mut home = site(config(Fence::Operator), Side::Home, record(1, 3));
    home.handle_message(at(SECOND), poll(1));
    home.handle_message(at(SECOND), PeerMessage::Heard { epoch: epoch(1), ping: 1, boot: 1, promised: true });
    assert!(home.may_write(at(SECOND).instant).is_err());
    home.handle_message(at(SECOND), poll(3));
    let followed: Vec<_> =
        actions(&mut home).into_iter().filter(|action| matches!(action, Action::Follow { .. })).collect();
    assert_eq!(followed, [Action::Follow { epoch: epoch(3), replace: false }]);
}
