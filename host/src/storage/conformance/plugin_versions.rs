//! Scenarios of the versions of plugins.

use super::{Scratch, add, at, finish, new_job};
use crate::model::{LoadedVersion, NewJob, OnInterrupt, PluginFiles, PluginKind};
use crate::storage::{Claim, Outcome, Runs};

/// More versions than any database keeps the files of.
const MANY: i64 = 30;

fn version(plugin: &str, text: &str) -> LoadedVersion {
    let files = PluginFiles {
        name: format!("{plugin}.rhai"),
        main: text.as_bytes().to_vec(),
        modules: [("lib/a".to_owned(), vec![0, 159, 146, 150])].into(),
    };
    LoadedVersion {
        plugin: plugin.to_owned(),
        digest: files.digest(),
        kind: PluginKind::Rhai,
        files,
    }
}

async fn keep(storage: &Scratch, version: &LoadedVersion, seconds: i64) {
    let kept = storage.keep_versions(vec![version.clone()], at(seconds));
    kept.await.unwrap();
}

async fn has_files(storage: &Scratch, version: &LoadedVersion) -> bool {
    let files = storage.plugin_files(&version.plugin, &version.digest).await;
    files.unwrap().is_some()
}

/// Adds a job of the plugin `p` that runs a version; returns its claim.
async fn job_of(storage: &Scratch, version: &LoadedVersion) -> Claim {
    let id = add(storage, new_job()).await;
    let runs = Runs {
        digest: version.digest.clone(),
        on_interrupt: OnInterrupt::Fail,
    };
    let job = storage.claim_job(id, "w", Some(&runs), at(1)).await;
    Claim {
        job_id: id,
        attempt: job.unwrap().unwrap().attempt,
        worker_id: "w".to_owned(),
    }
}

pub(crate) async fn versions_are_listed_last_loaded_first(storage: &mut Scratch) {
    let (first, second) = (version("p", "1"), version("p", "2"));
    let component = LoadedVersion {
        kind: PluginKind::Wasm,
        ..version("q", "3")
    };
    let loaded = vec![first.clone(), component.clone()];
    storage.keep_versions(loaded, at(1)).await.unwrap();
    keep(storage, &second, 2).await;
    let digests = async || {
        let versions = storage.plugin_versions("p").await.unwrap();
        let digests = versions.into_iter().map(|it| it.digest);
        digests.collect::<Vec<_>>()
    };
    assert_eq!(digests().await, [&*second.digest, &*first.digest]);
    keep(storage, &first, 3).await;
    assert_eq!(digests().await, [&*first.digest, &*second.digest]);
    let versions = storage.plugin_versions("p").await.unwrap();
    assert_eq!(
        (versions[0].first_seen, versions[0].last_seen),
        (at(1), at(3))
    );
    assert_eq!((versions[0].kind, versions[0].jobs), (PluginKind::Rhai, 0));
    let versions = storage.plugin_versions("q").await.unwrap();
    assert_eq!(versions[0].kind, PluginKind::Wasm);
    assert!(storage.plugin_versions("r").await.unwrap().is_empty());
}

pub(crate) async fn the_files_of_a_version_are_stored(storage: &mut Scratch) {
    let loaded = version("p", "1");
    keep(storage, &loaded, 1).await;
    storage.reopen().await;
    let found = storage.plugin_files("p", &loaded.digest).await.unwrap();
    assert_eq!(found, Some((PluginKind::Rhai, loaded.files.clone())));
    assert_eq!(found.unwrap().1.digest(), loaded.digest);
    let other = storage.plugin_files("q", &loaded.digest).await.unwrap();
    assert_eq!(other, None, "another plugin");
    assert_eq!(storage.plugin_files("p", "unknown").await.unwrap(), None);
}

pub(crate) async fn files_of_old_versions_are_removed(storage: &mut Scratch) {
    let versions: Vec<_> = (0..MANY)
        .map(|number| version("p", &number.to_string()))
        .collect();
    let other = version("q", "of another plugin");
    keep(storage, &other, 0).await;
    for (seconds, version) in (1..).zip(&versions) {
        keep(storage, version, seconds).await;
    }
    let mut kept = Vec::new();
    for version in &versions {
        kept.push(has_files(storage, version).await);
    }
    let first = kept.iter().position(|has_files| *has_files).unwrap();
    assert!(first > 0, "all files are kept");
    assert!(kept[first..].iter().all(|has_files| *has_files), "{kept:?}");
    assert!(has_files(storage, &other).await);
    // The history remains.
    let listed = storage.plugin_versions("p").await.unwrap();
    assert_eq!(listed.len(), versions.len());
}

pub(crate) async fn files_that_an_unfinished_job_needs_are_kept(storage: &mut Scratch) {
    let (needed, free) = (version("p", "needed"), version("p", "free"));
    keep(storage, &needed, 1).await;
    keep(storage, &free, 1).await;
    let claim = job_of(storage, &needed).await;
    let load_others = async |from: i64| {
        for number in from..from + MANY {
            keep(storage, &version("p", &number.to_string()), number).await;
        }
    };
    load_others(2).await;
    assert!(has_files(storage, &needed).await);
    assert!(!has_files(storage, &free).await);
    finish(storage, &claim, Outcome::Completed(1.into()), at(2)).await;
    load_others(100).await;
    assert!(!has_files(storage, &needed).await);
}

pub(crate) async fn versions_with_the_same_files_share_them(storage: &mut Scratch) {
    let one = version("p", "same");
    let two = LoadedVersion {
        plugin: "q".to_owned(),
        ..one.clone()
    };
    keep(storage, &one, 1).await;
    let alone = storage.size_of_plugins().await.unwrap();
    keep(storage, &two, 1).await;
    assert_eq!(storage.size_of_plugins().await.unwrap(), alone);
    for number in 2..2 + MANY {
        keep(storage, &version("p", &number.to_string()), number).await;
    }
    assert!(has_files(storage, &two).await, "the other plugin has them");
}

pub(crate) async fn jobs_are_counted_by_version(storage: &mut Scratch) {
    let (first, second) = (version("p", "1"), version("p", "2"));
    keep(storage, &first, 1).await;
    keep(storage, &second, 2).await;
    job_of(storage, &first).await;
    job_of(storage, &first).await;
    let other = NewJob {
        plugin: "q".to_owned(),
        ..new_job()
    };
    add(storage, other).await;
    let versions = storage.plugin_versions("p").await.unwrap();
    let jobs: Vec<_> = versions.iter().map(|it| (&*it.digest, it.jobs)).collect();
    assert_eq!(jobs, [(&*second.digest, 0), (&*first.digest, 2)]);
}
