use std::sync::mpsc;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn workers(threads: usize) -> Workers {
    Workers::of(crate::provider::waits::played::name(), threads, Limits::default())
}

/// A job that says that it began and goes on when it is told to.
fn gated(began: &mpsc::Sender<usize>, number: usize) -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
    let (go, gate) = mpsc::channel();
    let began = began.clone();
    let job = move || {
        let _ = began.send(number);
        let _ = gate.recv();
    };
    (go, job)
}

/// Until the threads are in so many jobs.
fn until_busy(workers: &Workers, busy: usize) {
    let end = Instant::now() + SOON;
    while workers.figures(Instant::now()).busy != busy {
        assert!(Instant::now() < end, "{:?}", workers.figures(Instant::now()));
        std::thread::yield_now();
    }
}

#[test]
fn threads_that_hang_are_counted_and_no_more_are_started_than_there_may_be() {
    let workers = Workers::on(3, crate::provider::waits::played::name(), 3, Limits::default());
    assert_eq!(workers.figures(Instant::now()), Figures { threads: 3, ..Figures::default() }, "none before it is needed");
    let (began, begins) = mpsc::channel();
    let jobs: Vec<_> = (0..10).map(|number| gated(&began, number)).map(|(go, job)| (go, workers.submit(job))).collect();
    let mut first: Vec<usize> = (0..3).map(|_| begins.recv_timeout(SOON).expect("begins")).collect();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2], "in the order of asking");
    let now = Instant::now();
    assert_eq!(workers.figures(now), Figures { threads: 3, busy: 3, stuck: 0, queued: 7 });
    assert_eq!(workers.figures(now + STUCK + Duration::from_millis(1)), Figures { threads: 3, busy: 3, stuck: 3, queued: 7 });
    let minute = Duration::from_secs(60);
    assert!(!workers.all_inside_for(minute, now + minute - SOON) && workers.all_inside_for(minute, now + minute + SOON));
    assert_eq!(begins.try_recv().ok(), None, "a fourth thread");
    assert_eq!(workers.0.lock().started, 3);
    // One returns, and its thread takes the next.
    let (go, _) = &jobs[1];
    go.send(()).expect("waits");
    assert_eq!(begins.recv_timeout(SOON), Ok(3));
    assert!(!workers.all_inside_for(minute, now + minute - Duration::from_secs(1)), "one began later");
    for (go, _) in &jobs {
        let _ = go.send(());
    }
    assert_eq!(begins.iter().take(6).collect::<Vec<_>>().len(), 6, "all have run");
    until_busy(&workers, 0);
    assert_eq!(workers.0.lock().started, 3);
}

#[test]
fn a_thread_that_is_free_is_used_before_another_is_started() {
    let workers = workers(8);
    for number in 0..50 {
        let (began, begins) = mpsc::channel();
        let (go, job) = gated(&began, number);
        let _interest = workers.submit(job);
        go.send(()).expect("waits");
        assert_eq!(begins.recv_timeout(SOON), Ok(number));
        let end = Instant::now() + SOON;
        while workers.0.lock().asleep.is_empty() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
    }
    assert_eq!(workers.0.lock().started, 1);
}

#[test]
fn a_job_that_nobody_waits_for_leaves_the_queue_and_never_runs() {
    let workers = workers(1);
    let (began, begins) = mpsc::channel();
    let (go, job) = gated(&began, 0);
    let _running = workers.submit(job);
    assert_eq!(begins.recv_timeout(SOON), Ok(0));
    let (go_1, job_1) = gated(&began, 1);
    let (go_2, job_2) = gated(&began, 2);
    let (first, _second) = (workers.submit(job_1), workers.submit(job_2));
    drop(first);
    assert_eq!(workers.figures(Instant::now()).queued, 1);
    assert!(go_1.send(()).is_err(), "what the job held is dropped at once");
    for go in [go, go_2] {
        go.send(()).expect("waits");
    }
    assert_eq!(begins.recv_timeout(SOON), Ok(2));
}

#[test]
fn a_panic_costs_one_job_and_the_thread_lives_on() {
    let workers = workers(1);
    let (said, says) = mpsc::channel::<u32>();
    let lost = said.clone();
    let _first = workers.submit(move || {
        let _lost = lost;
        panic!("as the test wants it");
    });
    let _second = workers.submit(move || said.send(7).expect("is waited for"));
    assert_eq!(says.recv_timeout(SOON), Ok(7));
    assert_eq!(says.recv_timeout(SOON).ok(), None, "the channel of the one that panicked is closed");
    until_busy(&workers, 0);
    assert_eq!(workers.0.lock().started, 1);
}

#[test]
fn threads_end_with_their_workers_but_for_one_that_is_stuck() {
    let workers = workers(2);
    let (began, begins) = mpsc::channel();
    let ((go, stuck), (end, ends)) = (gated(&began, 0), gated(&began, 1));
    let _interests = [workers.submit(stuck), workers.submit(ends)];
    for _ in 0..2 {
        begins.recv_timeout(SOON).expect("begins");
    }
    let (queued, dropped) = mpsc::channel::<()>();
    let _queued = workers.submit(move || drop(queued));
    let shared = Arc::downgrade(&workers.0);
    let left = _interests.len() + 1;
    // Does not wait for anybody.
    drop(workers);
    assert_eq!(dropped.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected), "what was queued is dropped");
    end.send(()).expect("waits");
    let until = |threads: usize| {
        let end = Instant::now() + SOON;
        while shared.strong_count() != left + threads {
            assert!(Instant::now() < end, "{} hold it", shared.strong_count());
            std::thread::yield_now();
        }
    };
    until(1);
    go.send(()).expect("waits");
    until(0);
}

#[test]
fn a_job_behind_short_ones_that_hang_gets_a_thread_when_somebody_asks_or_looks() {
    let workers = Workers::on(1, crate::provider::waits::played::name(), 4, Limits::default());
    let (said, says) = mpsc::channel();
    let end = Instant::now() + SOON;
    while !workers.0.lock().computes() {
        assert!(Instant::now() < end);
        let said = said.clone();
        let _interest = workers.submit(move || said.send(()).expect("is waited for"));
        says.recv_timeout(SOON).expect("runs");
    }
    let (began, begins) = mpsc::channel();
    let mut earliest = Instant::now();
    let jobs: Vec<_> = (0..3).map(|number| gated(&began, number)).map(|(go, job)| (go, workers.submit(job))).collect();
    assert_eq!(begins.recv_timeout(SOON), Ok(0));
    assert_eq!(workers.figures(Instant::now()), Figures { threads: 4, busy: 1, stuck: 0, queued: 2 }, "one processor");
    for number in [1, 2] {
        let asked = Instant::now();
        while workers.figures(Instant::now()).queued > 2 - number {
            workers.look(Instant::now());
            assert!(asked.elapsed() < SOON);
            std::thread::yield_now();
        }
        assert_eq!(begins.recv_timeout(SOON), Ok(number));
        assert!(earliest.elapsed() > state::OVERDUE, "not before the one before it was held up for long");
        earliest = asked;
    }
    drop(jobs);
}
