//! Requests step by step, with the clock in hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cluster::{
    Action, AdditionRefused, Answer, Cluster, Config, DrainRefused, Failure, Health, Instant, MAX_WAITING,
    Policy, ProofOutcome, RequestId, UnitNumber, Verdict,
};
use std::time::Duration;
use unit_api::{
    Condition, NewRegister, Pace, Repetition, UnitId, UnitStatus, VariantKeys, VerificationPattern,
};

const PATTERN: VerificationPattern = VerificationPattern::from_bytes([7; 32]);
const HEDGED: Policy = Policy { pace: Pace::Fast, repetition: Repetition::Hedge };
const PLAIN: Policy = Policy { pace: Pace::Fast, repetition: Repetition::Retry };

fn ms(ms: u64) -> Instant {
    Instant::after_start(Duration::from_millis(ms))
}

fn unit(n: u16) -> UnitNumber {
    UnitNumber(n)
}

fn status(n: u16) -> UnitStatus {
    UnitStatus {
        unit: UnitId([u8::try_from(n).unwrap(); 16]),
        domain_index: 0,
        domain_instance: 1,
        boot_nonce: [0; 16],
        condition: Condition::Operational,
        current: Some(PATTERN),
        new: NewRegister::Empty,
        transaction_counter: 1,
        administrators: 0,
        signature_threshold: 0,
        revocation_threshold: 0,
        audit_records: 0,
        audit_head: [0; 32],
    }
}

/// Everything to do now.
fn actions(cluster: &mut Cluster) -> Vec<Action> {
    std::iter::from_fn(|| cluster.poll_action()).collect()
}

/// The copies to send now: number of the unit, of the request, of the copy.
fn sends(cluster: &mut Cluster) -> Vec<(u16, u64, u8)> {
    actions(cluster)
        .into_iter()
        .filter_map(|action| match action {
            Action::Send { unit, request, attempt, .. } => Some((unit.0, request.0, attempt)),
            _ => None,
        })
        .collect()
}

fn failures(cluster: &mut Cluster) -> Vec<(u64, Failure)> {
    actions(cluster)
        .into_iter()
        .filter_map(|action| match action {
            Action::Fail { request, failure } => Some((request.0, failure)),
            _ => None,
        })
        .collect()
}

fn admit(cluster: &mut Cluster, now: Instant, n: u16) {
    cluster.handle_connected(now, unit(n));
    cluster.handle_status(now, unit(n), &status(n));
    cluster.handle_proof(now, unit(n), ProofOutcome::Passed);
}

/// `count` units, all in use for long.
fn ready(count: u16) -> Cluster {
    let units = (1..=count).map(|n| (unit(n), n.to_string()));
    let mut cluster = Cluster::new(Config::new(PATTERN, "1", units), 1);
    cluster.handle_timeout(ms(0));
    for n in 1..=count {
        admit(&mut cluster, ms(0), n);
    }
    actions(&mut cluster);
    assert!(cluster.units().iter().all(|unit| unit.health.is_in_use()));
    cluster
}

#[test]
fn without_a_unit_a_request_waits_for_one_and_fails_at_its_deadline() {
    let mut cluster = ready(1);
    cluster.handle_disconnected(ms(10), unit(1), &[]);
    cluster.submit(ms(20), RequestId(1), PLAIN, VariantKeys::ANY, ms(120));
    cluster.submit(ms(20), RequestId(2), PLAIN, VariantKeys::ANY, ms(5000));
    assert!(sends(&mut cluster).is_empty());
    cluster.handle_timeout(ms(119));
    assert!(failures(&mut cluster).is_empty());
    cluster.handle_timeout(ms(120));
    assert_eq!(failures(&mut cluster), [(1, Failure::NoEligibleUnit)]);
    cluster.handle_timeout(ms(400));
    assert!(actions(&mut cluster).contains(&Action::Connect { unit: unit(1) }));
    admit(&mut cluster, ms(410), 1);
    assert_eq!(sends(&mut cluster), [(1, 2, 0)]);
    assert_eq!(cluster.handle_reply(ms(411), unit(1), RequestId(2), 0, Answer::Final), Verdict::Deliver);
}

#[test]
fn what_a_lost_unit_had_goes_to_others_at_once_three_times_at_most() {
    let mut cluster = ready(4);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    let mut met = Vec::new();
    for _ in 0..3 {
        let sent = sends(&mut cluster);
        let [(n, 1, _)] = sent.as_slice() else { unreachable!("{sent:?}") };
        assert!(!met.contains(n));
        met.push(*n);
        cluster.handle_disconnected(ms(11), unit(*n), &[]);
    }
    assert_eq!(failures(&mut cluster), [(1, Failure::UnitLost)]);
}

#[test]
fn a_copy_that_was_never_sent_does_not_count() {
    let mut cluster = ready(4);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    for _ in 0..3 {
        let sent = sends(&mut cluster);
        let [(n, 1, attempt)] = sent.as_slice() else { unreachable!("{sent:?}") };
        cluster.handle_disconnected(ms(11), unit(*n), &[(RequestId(1), *attempt)]);
    }
    assert_eq!(sends(&mut cluster).len(), 1);
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let mut cluster = ready(2);
    let once = Policy { pace: Pace::Slow, repetition: Repetition::Never };
    cluster.submit(ms(10), RequestId(1), once, VariantKeys::ANY, ms(5000));
    let (n, ..) = sends(&mut cluster)[0];
    cluster.handle_disconnected(ms(11), unit(n), &[]);
    assert_eq!(failures(&mut cluster), [(1, Failure::UnitLost)]);
}

#[test]
fn an_overdue_try_is_hedged_and_the_first_answer_wins() {
    let mut cluster = ready(3);
    cluster.submit(ms(10), RequestId(1), HEDGED, VariantKeys::ANY, ms(5000));
    let first = sends(&mut cluster);
    cluster.handle_timeout(ms(59));
    assert!(sends(&mut cluster).is_empty());
    cluster.handle_timeout(ms(60));
    let second = sends(&mut cluster);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].0, second[0].0);
    let reply = |cluster: &mut Cluster, (n, id, attempt): (u16, u64, u8)| {
        cluster.handle_reply(ms(61), unit(n), RequestId(id), attempt, Answer::Final)
    };
    assert_eq!(reply(&mut cluster, second[0]), Verdict::Deliver);
    assert_eq!(cluster.outstanding(unit(first[0].0)), 1);
    assert_eq!(reply(&mut cluster, first[0]), Verdict::Drop);
    assert_eq!(reply(&mut cluster, first[0]), Verdict::Drop);
    assert_eq!(cluster.outstanding(unit(first[0].0)), 0);
}

#[test]
fn what_must_not_be_hedged_is_retried_only_when_late() {
    let mut cluster = ready(3);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    let first = sends(&mut cluster);
    cluster.handle_timeout(ms(259));
    assert!(sends(&mut cluster).is_empty());
    cluster.handle_timeout(ms(260));
    let second = sends(&mut cluster);
    assert_ne!(first[0].0, second[0].0);
    // The late answer is as good as any.
    let verdict = cluster.handle_reply(ms(261), unit(first[0].0), RequestId(1), first[0].2, Answer::Final);
    assert_eq!(verdict, Verdict::Deliver);
}

#[test]
fn trouble_is_retried_elsewhere_and_handed_out_when_the_budget_is_spent() {
    let mut cluster = ready(3);
    let mut refused = 0;
    (0..1000).for_each(|id| cluster.submit(ms(10), RequestId(id), PLAIN, VariantKeys::ANY, ms(5000)));
    for now in 10..200 {
        cluster.handle_timeout(ms(now));
        while let sent @ [_, ..] = sends(&mut cluster).as_slice() {
            for (n, id, attempt) in sent {
                let answer =
                    cluster.handle_reply(ms(now), unit(*n), RequestId(*id), *attempt, Answer::Trouble);
                refused += u32::from(answer == Verdict::Deliver);
            }
        }
    }
    // A full budget is spent, none of the requests is left hanging.
    assert_eq!(refused, 1000);
    let answers: u64 = cluster.units().iter().map(|unit| unit.failed).sum();
    assert_eq!(answers, 1100);
}

#[test]
fn the_only_unit_is_tried_again_after_a_pause() {
    let mut cluster = ready(1);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    assert_eq!(sends(&mut cluster), [(1, 1, 0)]);
    assert_eq!(cluster.handle_reply(ms(11), unit(1), RequestId(1), 0, Answer::Trouble), Verdict::Drop);
    assert!(sends(&mut cluster).is_empty());
    cluster.handle_timeout(ms(15));
    assert!(sends(&mut cluster).is_empty());
    cluster.handle_timeout(ms(61));
    assert_eq!(sends(&mut cluster), [(1, 1, 1)]);
}

#[test]
fn too_many_requests_that_wait_are_refused() {
    let mut cluster = ready(1);
    cluster.handle_disconnected(ms(10), unit(1), &[]);
    let most = u64::try_from(MAX_WAITING).unwrap();
    for id in 0..=most {
        cluster.submit(ms(20), RequestId(id), PLAIN, VariantKeys::ANY, ms(5000));
    }
    assert_eq!(failures(&mut cluster), [(most, Failure::Overloaded)]);
    cluster.cancel(RequestId(0));
    cluster.submit(ms(20), RequestId(most + 1), PLAIN, VariantKeys::ANY, ms(5000));
    assert!(failures(&mut cluster).is_empty());
}

#[test]
fn a_unit_that_loses_copies_is_connected_again() {
    let mut cluster = ready(2);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(100));
    let (n, ..) = sends(&mut cluster)[0];
    let mut now = 10;
    // It answers every probe and every status, but not this.
    while now < 40_000 && cluster.outstanding(unit(n)) > 0 {
        now = cluster.poll_timeout().unwrap().nanos() / 1_000_000 + 1;
        cluster.handle_timeout(ms(now));
        for action in actions(&mut cluster) {
            match action {
                Action::Probe { unit, .. } => cluster.handle_probe(ms(now), unit, true),
                Action::AskStatus { unit } => cluster.handle_status(ms(now), unit, &status(unit.0)),
                Action::Disconnect { unit } => assert_eq!(unit.0, n),
                _ => {}
            }
        }
    }
    assert!((30_000..31_000).contains(&now), "{now}");
    assert!(matches!(cluster.units()[usize::from(n) - 1].health, Health::Ejected { .. }));
}

#[test]
fn a_unit_that_was_just_fenced_or_lost_is_not_sent_what_was_still_on_its_way_out() {
    let fenced = |cluster: &mut Cluster| {
        assert_eq!(
            cluster.handle_reply(ms(11), unit(1), RequestId(1), 0, Answer::NoMasterKey),
            Verdict::Drop
        );
    };
    let lost = |cluster: &mut Cluster| cluster.handle_disconnected(ms(11), unit(1), &[]);
    for gone in [fenced as fn(&mut Cluster), lost] {
        let mut cluster = ready(2);
        cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
        assert_eq!(sends(&mut cluster), [(1, 1, 0)]);
        // Two events before the driver carries anything out, as with two replies that came in one read.
        cluster.submit(ms(11), RequestId(2), PLAIN, VariantKeys::ANY, ms(5000));
        gone(&mut cluster);
        let sent = sends(&mut cluster);
        assert!(sent.iter().all(|(n, ..)| *n == 2), "{sent:?}");
        assert_eq!(sent.len(), 2);
        assert_eq!(cluster.outstanding(unit(1)), 0);
    }
}

#[test]
fn a_copy_withdrawn_before_it_was_sent_does_not_count() {
    let mut cluster = ready(4);
    let once = Policy { pace: Pace::Slow, repetition: Repetition::Never };
    cluster.submit(ms(10), RequestId(1), once, VariantKeys::ANY, ms(5000));
    // The local unit is lost before a byte of the request was written: the request is as good as new.
    cluster.handle_disconnected(ms(10), unit(1), &[]);
    let sent = sends(&mut cluster);
    assert!(matches!(sent.as_slice(), [(2..=4, 1, _)]), "{sent:?}");
}

#[test]
fn an_established_identity_keeps_serving_and_the_newcomer_is_fenced() {
    let mut cluster = ready(1);
    let units = vec![(unit(1), String::new()), (unit(2), String::new())];
    let mut both = Cluster::new(Config::new(PATTERN, "", units), 1);
    both.handle_timeout(ms(0));
    admit(&mut both, ms(0), 1);
    both.handle_connected(ms(1), unit(2));
    both.handle_status(ms(1), unit(2), &status(1));
    let views = both.units();
    assert!(views[0].health.is_in_use());
    assert!(matches!(views[1].health, Health::Fenced(_)), "{}", views[1].health);
    // Whatever it claims now, it has not been asked.
    both.handle_proof(ms(1), unit(2), ProofOutcome::Passed);
    assert!(matches!(both.units()[1].health, Health::Fenced(_)));
    // The same single unit with a counter that went back.
    cluster.handle_disconnected(ms(10), unit(1), &[]);
    cluster.handle_timeout(ms(1000));
    cluster.handle_connected(ms(1000), unit(1));
    cluster.handle_status(ms(1000), unit(1), &UnitStatus { transaction_counter: 0, ..status(1) });
    assert!(matches!(cluster.units()[0].health, Health::Fenced(_)));
}

/// A unit that is zeroized is out of service at once. What was before that must not come back as if nothing had happened.
#[test]
fn attack_a_zeroized_unit_does_not_come_back_from_before() {
    let mut cluster = ready(2);
    let zeroized = UnitStatus { domain_instance: 2, current: None, audit_records: 9, ..status(1) };
    for (at, shown, expected) in
        [(10, zeroized, "no valid current master key"), (20_000, status(1), "it is in life 1 after life 2")]
    {
        cluster.handle_disconnected(ms(at), unit(1), &[]);
        cluster.handle_timeout(ms(at + 5_000));
        cluster.handle_connected(ms(at + 5_000), unit(1));
        cluster.handle_status(ms(at + 5_000), unit(1), &shown);
        let health = cluster.units()[0].health.to_string();
        assert!(health.contains(expected), "{health}");
    }
    let marks: Vec<_> = std::iter::from_fn(|| cluster.poll_mark()).collect();
    assert_eq!(marks.last().map(|(_, mark)| mark.life), Some(2));
}

#[test]
fn an_added_unit_serves_once_it_has_proved_its_master_key() {
    let mut cluster = ready(1);
    assert_eq!(cluster.add_unit(ms(10), unit(1), "1".to_owned()), Err(AdditionRefused::NumberInUse));
    cluster.add_unit(ms(10), unit(2), "2".to_owned()).unwrap();
    assert_eq!(actions(&mut cluster), [Action::Connect { unit: unit(2) }]);
    cluster.handle_disconnected(ms(11), unit(1), &[]);
    cluster.submit(ms(12), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    assert!(sends(&mut cluster).is_empty());
    admit(&mut cluster, ms(13), 2);
    assert_eq!(sends(&mut cluster), [(2, 1, 0)]);
}

#[test]
fn a_unit_is_removed_after_its_last_answer() {
    let mut cluster = ready(3);
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    assert_eq!(sends(&mut cluster), [(1, 1, 0)]);
    assert_eq!(cluster.remove_unit(ms(11), unit(1), false), Err(DrainRefused::NotDrained));
    cluster.drain(ms(11), unit(1), false).unwrap();
    assert_eq!(cluster.remove_unit(ms(11), unit(1), false), Err(DrainRefused::NotDrained));
    assert_eq!(cluster.handle_reply(ms(12), unit(1), RequestId(1), 0, Answer::Final), Verdict::Deliver);
    cluster.remove_unit(ms(12), unit(1), false).unwrap();
    assert_eq!(actions(&mut cluster), [Action::Disconnect { unit: unit(1) }]);
    assert_eq!(cluster.remove_unit(ms(12), unit(1), false), Err(DrainRefused::UnknownUnit));
    assert_eq!(cluster.drain(ms(13), unit(1), true), Err(DrainRefused::UnknownUnit));
    assert_eq!(cluster.units().len(), 2);
}

#[test]
fn a_removal_leaves_the_requests_of_other_units_alone_and_moves_its_own() {
    let mut cluster = ready(3);
    for id in 1..=48 {
        cluster.submit(ms(10), RequestId(id), PLAIN, VariantKeys::ANY, ms(5000));
    }
    let sent = sends(&mut cluster);
    let on = |n: u16| sent.iter().filter(|(at, ..)| *at == n).map(|(_, id, _)| *id).collect::<Vec<_>>();
    let (first, second, third) = (on(1), on(2), on(3));
    assert!(!first.is_empty() && !second.is_empty() && !third.is_empty(), "{sent:?}");
    cluster.remove_unit(ms(11), unit(2), true).unwrap();
    let moved = sends(&mut cluster);
    assert_eq!(moved.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), second);
    for (n, id, attempt) in sent.iter().filter(|(at, ..)| *at != 2).chain(&moved) {
        let verdict = cluster.handle_reply(ms(12), unit(*n), RequestId(*id), *attempt, Answer::Final);
        assert_eq!(verdict, Verdict::Deliver, "request {id} on unit {n}");
    }
    assert!(cluster.units().iter().all(|unit| unit.outstanding == 0));
    // A late answer of the removed unit has no receiver.
    let late = cluster.handle_reply(ms(13), unit(2), RequestId(second[0]), 0, Answer::Final);
    assert_eq!(late, Verdict::Drop);
    // The last unit of the list has moved up: lost, it gives back what it has.
    cluster.submit(ms(14), RequestId(99), PLAIN, VariantKeys::ANY, ms(5000));
    let [(n, 99, 0)] = sends(&mut cluster)[..] else { unreachable!() };
    cluster.handle_disconnected(ms(15), unit(n), &[]);
    assert_eq!(sends(&mut cluster), [(4 - n, 99, 1)]);
}

#[test]
fn retries_hedges_and_changes_of_state_are_counted_and_reported() {
    let mut cluster = ready(2);
    while cluster.poll_transition().is_some() {}
    cluster.submit(ms(10), RequestId(1), PLAIN, VariantKeys::ANY, ms(5000));
    let [(n, 1, 0)] = sends(&mut cluster)[..] else { unreachable!() };
    cluster.handle_disconnected(ms(11), unit(n), &[]);
    let stats = cluster.retry_stats();
    assert_eq!((stats.requests, stats.retries, stats.hedges), (1, 1, 0));
    let lost = cluster.poll_transition().unwrap();
    assert_eq!((lost.unit, lost.from.name(), lost.to.name()), (unit(n), "eligible", "ejected"));
    assert!(cluster.poll_transition().is_none());
    let views = cluster.units();
    let view = views.iter().find(|view| view.number == unit(n)).unwrap();
    assert_eq!((view.ejections.map(|(_, count)| count), view.fences), ([1, 0, 0, 0, 0], 0));
}
