//! Modules as they are saved, listed and read.

use super::*;

#[tokio::test]
async fn each_change_is_a_version_and_no_change_is_none() {
    let catalogue = empty();
    let first = text("project", "apps", "title: One");
    let stored = catalogue.put(&first, "ada", "begin", 1000).await.unwrap();
    assert_eq!((stored.version, stored.created, stored.to_string().as_str()), (1, true, "apps@1"));
    let again = catalogue.put(&first, "bob", "again", 2000).await.unwrap();
    assert_eq!((again.version, again.created, again.heading.author.as_str()), (1, false, "ada"));
    let second = catalogue.put(&text("project", "apps", "title: Two"), "bob", "", 3000).await.unwrap();
    assert_eq!((second.version, second.created), (2, true));
    // Going back to an older text is a change as well.
    assert_eq!(catalogue.put(&first, "ada", "", 4000).await.unwrap().version, 3);

    assert_eq!(catalogue.get("apps@1").await.unwrap().source, first);
    assert_eq!(catalogue.get("apps").await.unwrap().version, 3);
    let versions = catalogue.versions("apps", None, 2).await.unwrap();
    let shown = |page: Page<ModuleInfo>| -> Vec<(u32, String, String, i64)> {
        page.items.into_iter().map(|v| (v.version, v.author, v.comment, v.at.as_millisecond())).collect()
    };
    let line = |version, author: &str, comment: &str, at| (version, author.to_owned(), comment.to_owned(), at);
    assert_eq!(versions.next.as_deref(), Some("2"));
    assert_eq!(shown(versions), [line(3, "ada", "", 4000), line(2, "bob", "", 3000)]);
    assert_eq!(shown(catalogue.versions("apps", Some(2), 2).await.unwrap()), [line(1, "ada", "begin", 1000)]);
    let info = second.info();
    assert_eq!((info.kind.as_str(), info.title.as_deref(), info.at.as_millisecond()), ("project", Some("Two"), 3000));
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_was_meant() {
    let catalogue = with(&[BASE]).await;
    let shown = |result: Result<Stored, CatalogueError>| result.unwrap_err().to_string();
    assert_eq!(
        shown(catalogue.get("images/bsae").await),
        "there is no module `images/bsae` (did you mean `images/base`?)"
    );
    assert_eq!(shown(catalogue.get("zzz").await), "there is no module `zzz`");
    assert_eq!(shown(catalogue.get("images/base@7").await), "`images/base` has no version 7 (its newest is 1)");
    assert_eq!(
        shown(catalogue.get("images/base@x").await),
        "`images/base@x` is not a version of a module: the part after `@` is a number from 1, or `published`"
    );
    assert_eq!(catalogue.versions("zzz", None, 1).await.unwrap_err().to_string(), "there is no module `zzz`");
    let long = "x".repeat(5000);
    let result = catalogue.put(&text("project", "a", ""), "ada", &long, 1).await;
    assert_eq!(shown(result), "the comment has 5000 bytes, the limit is 4096");
    let result = catalogue.put("kind: project\nnmae: a\nslipstream: 1\n", "ada", "", 1).await;
    assert_eq!(shown(result), "the module file has 2 problems");
    let result = catalogue.put(&text("project", "a", "count: 1"), "ada", "", 1).await;
    assert!(shown(result).starts_with("`a` has a problem at 4:1: `count` is not a key of a project"));
}

#[tokio::test]
async fn of_two_saves_at_once_both_are_kept() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    memory.conflicts.store(ATTEMPTS - 1, Ordering::SeqCst);
    assert_eq!(catalogue.put(&text("project", "a", ""), "ada", "", 1).await.unwrap().version, 1);
    memory.conflicts.store(ATTEMPTS, Ordering::SeqCst);
    let error = catalogue.put(&text("project", "a", "title: x"), "ada", "", 1).await.unwrap_err();
    assert_eq!(error.to_string(), "others are saving `a` at the same time (look at their version, then save again)");

    let texts: Vec<String> = (0..4).map(|i| text("project", "b", &format!("title: t{i}"))).collect();
    let saves = texts.iter().map(|source| catalogue.put(source, "ada", "", 1));
    let mut versions: Vec<u32> =
        futures_util::future::join_all(saves).await.into_iter().map(|s| s.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_record_that_is_no_module_is_damaged() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    memory.plant(layout::module_head("a"), b"what".to_vec()).await;
    assert_eq!(catalogue.get("a").await.unwrap_err().to_string(), "cannot read `a` from the store");
}

#[tokio::test]
async fn a_module_is_checked_against_those_it_uses() {
    let catalogue = with(&[
        BASE,
        ("project", "folder", ""),
        ("component", "part", "image: images/base\npublish: {port: {}}\ndeploy: x"),
    ])
    .await;
    for (kind, body, shown) in [
        ("component", "image: images/bsae", "4:8: there is no module `images/bsae` (did you mean `images/base`?)"),
        ("component", "image: images/base@2", "4:8: `images/base` has no version 2 (its newest is 1)"),
        (
            "component",
            "image: folder",
            "4:8: `folder@1` is a module of the kind project (only images and components can be built on)",
        ),
        ("component", "image: new", "4:8: modules build on each other in a circle: new -> new"),
        (
            "component",
            "image: part\nenv: {X: \"${prot}\"}",
            "5:10: `${prot}`: there is no parameter `prot` here (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part, params: {prot: 1}}}",
            "4:39: `prot` is not a parameter of `a` (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part}, b: {use: part, env: {X: \"${a.prot}\"}}}",
            "4:49: `${a.prot}`: the node `a` does not publish `prot` (did you mean `port`?)",
        ),
        (
            "application",
            "nodes: {a: {use: part, needs: [b.ready]}, b: {use: part, needs: [a.ready]}}",
            "4:32: this waits for itself: deploy of a -> b.ready -> deploy of b -> a.ready -> deploy of a (give one of the values a default, or let the script read it with `ss-get`)",
        ),
    ] {
        assert_eq!(refused(&catalogue, kind, "new", body).await, [shown], "{body}");
    }
}

#[tokio::test]
async fn modules_do_not_build_on_each_other_in_a_circle() {
    let catalogue = with(&[BASE, ("component", "a", "image: images/base"), ("component", "b", "image: a")]).await;
    assert_eq!(
        refused(&catalogue, "component", "a", "image: b").await,
        ["4:8: modules build on each other in a circle: a -> b -> a"]
    );
    for i in 1..32 {
        let parent = if i == 1 { "b".to_owned() } else { format!("c{}", i - 1) };
        let saved =
            catalogue.put(&text("component", &format!("c{i}"), &format!("image: {parent}")), "ada", "", 1).await;
        assert_eq!(saved.is_ok(), i < 30, "{i}");
    }
}

#[tokio::test]
async fn a_version_that_no_longer_reads_is_named() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    let old = catalogue.put(&text("image", "old", "native: {local: x}"), "ada", "", 1).await.unwrap();
    let mut record = serde_json::to_vec(&old.heading).unwrap();
    record.extend_from_slice(b"\nslipstream: 0\nkind: image\nname: old\n");
    memory.plant(layout::module_version("old", 1), record).await;
    assert_eq!(
        refused(&catalogue, "component", "new", "image: old").await,
        ["4:8: `old@1` cannot be read any more (save `old` again to see why)"]
    );
}
