//! Waiting for room.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Scene, members};
use crate::config::upstream::Upstream;
use crate::edge::proxy::pool::Connections;
use crate::edge::upstream::local::{Flight, Group, NoServer};
use crate::edge::upstream::queue;

fn bounded(most: u32, queue: usize) -> impl FnOnce(&mut Upstream) {
    move |config| {
        config.bounds.max_connections = most;
        config.bounds.queue = queue;
        config.bounds.queue_timeout = Duration::from_secs(3600);
    }
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn room_goes_to_whoever_has_waited_longest_and_the_line_is_bounded() {
    let scene = Rc::new(Scene::of(members(&[1, 1], 0), bounded(1, 2)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let (one, two) = (scene.group.begin(0).await.unwrap(), scene.group.begin(0).await.unwrap());
            assert_ne!(one.place(), two.place(), "a server that is full is passed over");
            let (tell, mut order) = tokio::sync::mpsc::unbounded_channel::<(usize, Flight)>();
            for number in 0..2 {
                let (scene, tell) = (Rc::clone(&scene), tell.clone());
                tokio::task::spawn_local(async move {
                    let flight = scene.group.begin(0).await.unwrap();
                    tell.send((number, flight)).map_err(drop).unwrap();
                });
                settle().await;
            }
            assert_eq!(scene.group.begin(0).await.unwrap_err(), NoServer::Busy);
            let at = two.place();
            drop(two);
            let (first, flight) = order.recv().await.unwrap();
            assert_eq!((first, flight.place()), (0, at));
            drop(one);
            assert_eq!(order.recv().await.unwrap().0, 1);
            assert_eq!((scene.shared.line().len(), scene.shared.line().counts()), (0, (2, 1)));
        })
        .await;
}

#[tokio::test]
async fn who_has_waited_long_enough_is_sent_away() {
    let scene = Scene::of(members(&[1], 0), |config| {
        bounded(1, 10)(config);
        config.bounds.queue_timeout = Duration::from_millis(10);
    });
    let _held = scene.group.begin(0).await.unwrap();
    assert_eq!(scene.group.begin(0).await.unwrap_err(), NoServer::Busy);
    assert!(scene.shared.line().is_empty());
}

#[tokio::test]
async fn whoever_leaves_the_line_leaves_no_room_behind_that_nobody_gets() {
    let scene = Rc::new(Scene::of(members(&[1], 0), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let held = scene.group.begin(0).await.unwrap();
            let waiter = |scene: &Rc<Scene>| {
                let scene = Rc::clone(scene);
                tokio::task::spawn_local(async move { drop(scene.group.begin(0).await.unwrap()) })
            };
            let (gone, stays) = (waiter(&scene), waiter(&scene));
            settle().await;
            assert_eq!(scene.shared.line().len(), 2);
            // The room is handed to the first, which is cut before it hears of it.
            drop(held);
            gone.abort();
            stays.await.unwrap();
            settle().await;
            assert_eq!((scene.state(0).in_flight(), scene.shared.line().len()), (0, 0));
            assert_eq!(scene.state(0).requests(), 2, "who was cut was no request");
        })
        .await;
}

#[tokio::test]
async fn a_server_that_is_let_in_again_serves_the_line() {
    let scene = Rc::new(Scene::of(members(&[1, 1], 0), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            scene.state(0).drain(true, 5);
            let _held = scene.group.begin(0).await.unwrap();
            let waiting = {
                let scene = Rc::clone(&scene);
                tokio::task::spawn_local(async move { scene.group.begin(0).await.unwrap().place() })
            };
            settle().await;
            scene.state(0).drain(false, 6);
            queue::serve(&scene.shared, &scene.shared.servers[0]);
            assert_eq!(waiting.await.unwrap(), 0);
        })
        .await;
}

#[tokio::test]
async fn a_server_that_comes_back_by_itself_serves_the_line_as_soon_as_anybody_gets_in() {
    let scene = Rc::new(Scene::of(members(&[1, 1], 0), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            scene.fail(0, 3);
            let held = scene.group.begin(0).await.unwrap();
            assert_eq!(held.place(), 1);
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let scene = Rc::clone(&scene);
                    tokio::task::spawn_local(async move { scene.group.begin(0).await.unwrap() })
                })
                .collect();
            settle().await;
            // Nothing was under way there, so nothing ends there.
            scene.later(10);
            drop(held);
            let mut places = Vec::new();
            let mut flights = Vec::new();
            for flight in waiting {
                flights.push(flight.await.unwrap());
                places.extend(flights.last().map(Flight::place));
            }
            assert_eq!(places, [1, 0]);
        })
        .await;
}

#[tokio::test]
async fn the_line_is_not_served_by_a_backup_while_the_others_are_in_service() {
    let scene = Rc::new(Scene::of(members(&[1, 1], 1), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let held = scene.group.begin(0).await.unwrap();
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let scene = Rc::clone(&scene);
                    tokio::task::spawn_local(async move { scene.group.begin(0).await.unwrap().place() })
                })
                .collect();
            settle().await;
            drop(held);
            for place in waiting {
                assert_eq!(place.await.unwrap(), 0);
            }
            // Once it is out, the backup does.
            let held = scene.group.begin(0).await.unwrap();
            scene.fail(0, 3);
            assert_eq!((held.place(), scene.group.begin(0).await.unwrap().place()), (0, 1));
        })
        .await;
}

/// Threads that take off, land and wait as fast as they can: never more under way than may be, and nobody
/// is left waiting.
#[test]
fn many_threads_share_the_room_and_nobody_waits_in_vain() {
    let scene = Scene::of(members(&[1, 2], 0), bounded(2, 1000));
    let (shared, over) = (&scene.shared, AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let over = &over;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async {
                    let group = Rc::new(Group::new(shared, thread, &Connections::new(9), None));
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..8 {
                        let group = Rc::clone(&group);
                        tasks.spawn_local(async move {
                            for _ in 0..200 {
                                let flight = group.begin(0).await.unwrap();
                                tokio::task::yield_now().await;
                                drop(flight);
                            }
                        });
                    }
                    while let Some(ended) = tasks.join_next().await {
                        ended.unwrap();
                        let high = shared.servers.iter().any(|state| state.in_flight() > 2);
                        over.fetch_add(u64::from(high), Ordering::Relaxed);
                    }
                });
            });
        }
    });
    assert_eq!(over.into_inner(), 0);
    let left: Vec<_> = shared.servers.iter().map(|state| state.in_flight()).collect();
    assert_eq!((left, shared.line().len()), (vec![0, 0], 0));
    assert_eq!(shared.servers.iter().map(|state| state.requests()).sum::<u64>(), 4 * 8 * 200);
    assert!(shared.line().counts().0 > 0, "some had to wait");
}

#[tokio::test]
async fn a_server_that_comes_back_serves_the_line_though_nobody_gets_in_or_ends() {
    let scene = Rc::new(Scene::of(members(&[1, 1], 0), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            scene.fail(0, 3);
            let _held = scene.group.begin(0).await.unwrap();
            let begin = || {
                let scene = Rc::clone(&scene);
                tokio::task::spawn_local(async move { scene.group.begin(0).await.unwrap() })
            };
            let first = begin();
            settle().await;
            scene.later(10);
            let second = begin();
            let flight = first.await.unwrap();
            assert_eq!(flight.place(), 0);
            drop(flight);
            assert_eq!(second.await.unwrap().place(), 0);
        })
        .await;
}

#[tokio::test]
async fn a_reload_sends_nobody_out_of_the_line() {
    let scene = Rc::new(Scene::of(members(&[1], 0), bounded(1, 10)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let held = scene.group.begin(0).await.unwrap();
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let scene = Rc::clone(&scene);
                    tokio::task::spawn_local(async move { scene.group.begin(0).await.map(|_| ()) })
                })
                .collect();
            settle().await;
            let mut config = Upstream::with(members(&[1, 1], 0));
            bounded(1, 10)(&mut config);
            scene.registry.keep(&[scene.registry.group("app".to_owned(), config.clone(), None)]);
            for waiter in waiting {
                assert_eq!(waiter.await.unwrap(), Ok(()), "the new server has room for one after the other");
            }
            // Back to the new one alone: what ends at the old one hands nothing over.
            config.servers.remove(0);
            let shared = scene.registry.group("app".to_owned(), config, None);
            scene.registry.keep(&[Arc::clone(&shared)]);
            let group = Group::new(&shared, 0, &Connections::new(10), None);
            let other = group.begin(0).await.unwrap();
            let waiter =
                tokio::task::spawn_local(async move { group.begin(0).await.map(|flight| flight.place()) });
            settle().await;
            drop(held);
            settle().await;
            assert_eq!(shared.line().len(), 1, "it waits on");
            drop(other);
            assert_eq!(waiter.await.unwrap(), Ok(0));
        })
        .await;
}
