//! Everybody at once: one version, one quota, one account that goes.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_who_write_over_one_version_exactly_one_does() {
    let world = Arc::new(World::new().await);
    let mut tag = world.put("a", "0").await.unwrap();
    for round in 0..10 {
        let tasks: Vec<_> = (0..16)
            .map(|n| {
                let (world, tag) = (Arc::clone(&world), tag.clone());
                let body = format!("{}", round * 100 + n);
                tokio::spawn(
                    async move { world.put_if("a", &body, &if_match(&tag)).await.map(|tag| (tag, body)) },
                )
            })
            .collect();
        let mut won = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(winner) => won.push(winner),
                Err(error) => assert!(matches!(error, UsersError::Unmet(Unmet::Match)), "{error}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(world.body("a"), Some(won[0].1.clone()));
        tag.clone_from(&won[0].0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_everybody_at_once_quotas_are_used_up_and_never_exceeded() {
    let quotas = config::users::Users { document_bytes: 100, documents: 20, account_bytes: 1000 };
    for (bytes, fit) in [(10, 20), (100, 10)] {
        let world = Arc::new(World::with(&quotas).await);
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let world = Arc::clone(&world);
                tokio::spawn(async move { world.put(&format!("k{n}"), &long(bytes)).await })
            })
            .collect();
        let mut written = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => written += 1,
                Err(UsersError::TooManyDocuments { .. } | UsersError::TooManyBytes { .. }) => {}
                Err(error) => panic!("nobody is turned away for another reason: {error}"),
            }
        }
        assert_eq!(written, fit, "documents of {bytes} bytes");
        let usage = world.usage();
        assert_eq!((usage.documents, usage.bytes), (fit, fit * bytes as u64));
        let listed = world.users.documents(&world.ada, None, 100).unwrap();
        assert_eq!(listed.len() as u64, fit);
        let versions: std::collections::BTreeSet<_> = listed.iter().map(|entry| entry.version).collect();
        assert_eq!(versions.len() as u64, fit, "no two creations share a version");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_written_for_an_account_that_is_deleted_meanwhile() {
    for _ in 0..20 {
        let world = Arc::new(World::new().await);
        let id = world.ada.account;
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    let patch = ProfilePatch { name: Some(format!("n{n}")), ..Default::default() };
                    let written = world.put(&format!("k{n}"), "1").await.map(drop);
                    let patched = world.users.patch_profile(&world.ada, patch, &Condition::default()).await;
                    for done in [written, patched.map(drop)] {
                        assert!(matches!(done, Ok(()) | Err(UsersError::SessionEnded)), "{done:?}");
                    }
                })
            })
            .collect();
        world
            .commit([
                Change::from(AuthChange::AccountDeleted { account: id }),
                UserChange::UserErased { account: id }.into(),
            ])
            .await;
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(matches!(world.put("late", "1").await, Err(UsersError::SessionEnded)));
        assert_eq!(world.usage(), Usage::default());
        assert_eq!(world.stores.user.profile(id).unwrap(), None);
    }
}
