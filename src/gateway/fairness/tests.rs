//! Tests of room, of its limits, and of draining.

use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::*;

fn project(number: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(number))
}

fn fairness(max_calls: usize, per_project: usize, queued: usize, queue_time: Duration) -> Fairness {
    Fairness::new(&GatewayConfig {
        max_calls,
        max_calls_per_project: per_project,
        max_queued_per_project: queued,
        max_queue_time: queue_time,
        ..GatewayConfig::default()
    })
}

const LONG: Duration = Duration::from_secs(600);

fn one(fairness: &Fairness, number: u128) -> (Ticket, Stop) {
    let stop = Stop::default();
    let ticket = fairness.admit(project(number), 1, &stop).ok().and_then(|mut tickets| tickets.pop());
    (ticket.expect("a ticket"), stop)
}

#[tokio::test]
async fn a_full_project_leaves_room_for_others() {
    let fairness = fairness(4, 2, 10, LONG);
    let (first, stop) = one(&fairness, 1);
    let (second, _) = one(&fairness, 1);
    let first_room = fairness.room(&first, &stop).await.expect("room");
    let _second_room = fairness.room(&second, &stop).await.expect("room");
    let (third, _) = one(&fairness, 1);
    let mut waiting = std::pin::pin!(fairness.room(&third, &stop));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    // Another project finds room while that one waits, and so does a second call of it.
    let (other, _) = one(&fairness, 2);
    let (another, _) = one(&fairness, 2);
    let _other_room = fairness.room(&other, &stop).await.expect("room");
    let _another_room = fairness.room(&another, &stop).await.expect("room");
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(first_room);
    waiting.await.expect("the room that was given back");
}

#[tokio::test]
async fn what_waits_too_long_is_told_what_for() {
    let fairness = fairness(2, 1, 10, Duration::from_millis(20));
    let (first, stop) = one(&fairness, 1);
    let _room = fairness.room(&first, &stop).await.expect("room");
    let (second, _) = one(&fairness, 1);
    let waited = Duration::from_millis(20);
    let refusal = fairness.room(&second, &stop).await.err();
    assert_eq!(refusal, Some(NoRoom::Waited { in_flight: 1, of_project: true, waited }));
    let (third, _) = one(&fairness, 2);
    let _other = fairness.room(&third, &stop).await.expect("room");
    let (fourth, _) = one(&fairness, 3);
    let refusal = fairness.room(&fourth, &stop).await.err();
    assert_eq!(refusal, Some(NoRoom::Waited { in_flight: 2, of_project: false, waited }));
}

#[tokio::test]
async fn past_its_queue_a_request_is_refused_whole() {
    let fairness = fairness(10, 2, 3, LONG);
    let stop = Stop::default();
    let first = fairness.admit(project(1), 4, &stop).expect("four of five");
    assert!(matches!(fairness.admit(project(1), 2, &stop), Err(GatewayError::TooBusy { .. })));
    let fifth = fairness.admit(project(1), 1, &stop).expect("the fifth");
    assert!(matches!(fairness.admit(project(1), 1, &stop), Err(GatewayError::TooBusy { .. })));
    let never = fairness.admit(project(2), 6, &stop);
    assert!(matches!(never, Err(GatewayError::Invalid { .. })), "waiting would never help");
    fairness.admit(project(2), 5, &stop).expect("another project");
    drop((first, fifth));
    fairness.admit(project(1), 5, &stop).expect("all of it again");
    assert!(fairness.shared.lock().projects.is_empty(), "nothing is kept of idle projects");
}

#[tokio::test]
async fn what_waits_can_be_stopped() {
    let fairness = fairness(1, 1, 10, LONG);
    let (first, stop) = one(&fairness, 1);
    let _room = fairness.room(&first, &stop).await.expect("room");
    let (second, stop) = one(&fairness, 1);
    stop.stop();
    assert_eq!(fairness.room(&second, &stop).await.err(), Some(NoRoom::Stopped));
    assert!(stop.cancellation.is_cancelled());
}

#[tokio::test]
async fn draining_waits_for_calls_and_takes_no_new_ones() {
    let fairness = Arc::new(fairness(10, 10, 10, LONG));
    let (ticket, stop) = one(&fairness, 1);
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    let drain = tokio::spawn({
        let fairness = Arc::clone(&fairness);
        async move {
            fairness.drain(LONG).await;
            assert!(ended.load(Ordering::SeqCst), "the call had not ended");
        }
    });
    while !fairness.shared.lock().is_draining {
        tokio::task::yield_now().await;
    }
    assert!(matches!(fairness.admit(project(1), 1, &stop), Err(GatewayError::Unavailable(_))));
    has_ended.store(true, Ordering::SeqCst);
    drop(ticket);
    drain.await.expect("drained");
    assert!(!stop.cancellation.is_cancelled());
}

#[tokio::test]
async fn draining_cancels_what_goes_on() {
    let fairness = fairness(10, 10, 10, LONG);
    let (ticket, stop) = one(&fairness, 1);
    let call = async {
        stop.token.cancelled().await;
        drop(ticket);
    };
    tokio::join!(fairness.drain(Duration::from_millis(10)), call);
    assert!(stop.cancellation.is_cancelled());
}
