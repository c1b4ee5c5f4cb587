//! The pool: its bounds, its lines, and whose work is skipped.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use rustix::process::getpriority_process;

use super::class::NICENESS;
use super::threads::next_job;
use super::*;

#[test]
fn a_thread_that_waits_long_gives_back_its_arena_and_works_on() {
    let shared = Arc::new(Shared::new());
    let (tell, idle) = mpsc::channel();
    let worker = std::thread::spawn({
        let shared = Arc::clone(&shared);
        move || next_job(&shared, Duration::ZERO, || tell.send(()).unwrap()).is_some()
    });
    idle.recv().unwrap();
    shared.queue.lock().strangers.push_back(Job { claim: Claim::default(), work: Box::new(|_| ()) });
    shared.filled.notify_all();
    assert!(worker.join().unwrap(), "the job that came afterwards");
}

fn pool(queue: usize, queue_timeout: Duration) -> HashingPool {
    let config = Passwords { threads: 1, queue, queue_timeout, ..Passwords::default() };
    HashingPool::start(&config, 8, Arc::default()).unwrap()
}

fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}

const LONG: Duration = Duration::from_secs(600);

/// Work that has begun and lasts until the sender is dropped.
async fn occupy(pool: &HashingPool) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), PoolError>>) {
    let (release, held) = mpsc::channel::<()>();
    let (begun, beginning) = oneshot::channel();
    let pool = pool.clone();
    let job = tokio::spawn(async move {
        pool.run(move |_| {
            begun.send(()).unwrap();
            let _ = held.recv();
        })
        .await
    });
    beginning.await.unwrap();
    (release, job)
}

#[tokio::test]
async fn hashing_threads_stand_back_and_others_do_not() {
    let own = || getpriority_process(None).unwrap();
    let before = own();
    let hashing = pool(1, LONG).run(move |_| own()).await.unwrap();
    assert_eq!((hashing, own()), ((before + NICENESS).min(19), before));
}

/// The class of the calling thread (proc_pid_stat(5), field 41), or `None` if it is another.
fn own_class() -> Option<Class> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    match after_name.split_whitespace().nth(41 - 3).unwrap() {
        "0" => Some(Class::Other),
        "5" => Some(Class::Idle),
        _ => None,
    }
}

fn watched(patience: Patience) -> HashingPool {
    let config = Passwords { threads: 1, queue: 1, queue_timeout: LONG, ..Passwords::default() };
    HashingPool::start_with(&config, 8, Arc::default(), patience).unwrap()
}

#[tokio::test]
async fn hashing_threads_wait_for_who_is_not_idle_where_they_may_come_back() {
    let expected = if class::may_come_back() { Class::Idle } else { Class::Other };
    let hashing = watched(Patience { idle: LONG, raised: LONG }).run(|_| own_class()).await.unwrap();
    assert_eq!((hashing, own_class()), (Some(expected), Some(Class::Other)));
}

#[tokio::test]
async fn hashes_that_do_not_get_done_compete_and_stand_back_again_afterwards() {
    if !class::may_come_back() {
        return;
    }
    let wait_for = |class: Class| {
        move |_: &mut Arena| {
            while own_class() != Some(class) {
                std::thread::yield_now();
            }
        }
    };
    let (never, soon) = (LONG, Duration::from_millis(1));
    let pool = watched(Patience { idle: soon, raised: never });
    pool.run(wait_for(Class::Other)).await.unwrap();
    let pool = watched(Patience { idle: soon, raised: soon });
    pool.run(wait_for(Class::Other)).await.unwrap();
    pool.run(wait_for(Class::Idle)).await.unwrap();
}

#[tokio::test]
async fn work_past_the_queue_is_refused_and_the_rest_is_done() {
    let pool = pool(1, LONG);
    let (release, first) = occupy(&pool).await;
    let mut second = Box::pin(pool.run(|_| 2));
    assert!(is_pending(&mut second));
    assert_eq!(pool.run(|_| 3).await, Err(PoolError::Overloaded));
    drop(release);
    assert_eq!(second.await, Ok(2));
    assert_eq!(first.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn strangers_who_fill_their_line_keep_nobody_known_out_and_wait_no_longer_than_their_turn() {
    let pool = pool(2, LONG);
    let known = pool.in_line(Line::Known);
    let (release, _first) = occupy(&pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let job = |pool: &HashingPool, name: &'static str| {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        Box::pin(async move { pool.run(move |_| order.lock().push(name)).await })
    };
    let mut waiting: Vec<_> = ["s1", "s2"]
        .map(|name| job(&pool, name))
        .into_iter()
        .chain(["k1", "k2"].map(|name| job(&known, name)))
        .collect();
    assert!(waiting.iter_mut().all(is_pending));
    assert_eq!(pool.run(|_| ()).await, Err(PoolError::Overloaded));
    assert_eq!(known.run(|_| ()).await, Err(PoolError::Overloaded));
    drop(release);
    for job in waiting {
        job.await.unwrap();
    }
    assert_eq!(*order.lock(), ["k1", "s1", "k2", "s2"]);
}

#[tokio::test]
async fn a_wait_past_the_timeout_is_refused_and_never_begins() {
    let patient = pool(8, LONG);
    let (release, _first) = occupy(&patient).await;
    let hasty = HashingPool { timeout: Duration::from_millis(1), ..patient.clone() };
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let late = hasty.run(move |_| counted.fetch_add(1, Ordering::SeqCst)).await;
    assert_eq!(late, Err(PoolError::Overloaded));
    drop(release);
    // Whatever was queued before this has been passed over.
    patient.run(|_| ()).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[test]
fn work_that_has_begun_cannot_be_abandoned_nor_the_other_way_round() {
    for (first, second) in [(STARTED, ABANDONED), (ABANDONED, STARTED)] {
        let claim = Claim::default();
        assert!(claim.take(first) && !claim.take(second));
        assert_eq!(claim.is_abandoned(), first == ABANDONED);
    }
}

#[tokio::test]
async fn a_cancelled_request_is_skipped_and_frees_its_place() {
    let pool = pool(1, LONG);
    let (release, _first) = occupy(&pool).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut cancelled = Box::pin(pool.run(move |_| counted.fetch_add(1, Ordering::SeqCst)));
    assert!(is_pending(&mut cancelled));
    drop(cancelled);
    let mut next = Box::pin(pool.run(|_| "next"));
    assert!(is_pending(&mut next), "the place is free");
    drop(release);
    assert_eq!(next.await, Ok("next"));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_costs_its_own_request_and_not_the_thread() {
    let pool = pool(4, LONG);
    assert_eq!(pool.run::<()>(|_| panic!("on purpose")).await, Err(PoolError::Failed));
    assert_eq!(pool.run(|_| 1).await, Ok(1));
}
