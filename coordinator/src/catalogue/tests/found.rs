//! Lists, folders and search.

use super::*;

async fn paths(catalogue: &Catalogue, wanted: Wanted) -> Vec<String> {
    let (mut all, mut wanted) = (Vec::new(), Wanted { limit: 2, ..wanted });
    loop {
        let page = catalogue.page(&wanted).await.unwrap();
        assert!(page.items.len() <= 2);
        all.extend(page.items.into_iter().map(|module| module.path));
        match page.next {
            Some(next) => wanted.after = Some(next),
            None => return all,
        }
    }
}

async fn shop() -> Catalogue {
    with(&[
        ("project", "apps", "title: All applications"),
        ("project", "apps/lamp", "title: Guest book\ndescription: PHP and a database\ntags: [web, LAMP stack]"),
        ("project", "apps/deep/one", "tags: [web]"),
        ("project", "apps/deep/two", "description: a database alone"),
        ("project", "apps-old", ""),
        ("project", "other/lamps", "tags: [webs]"),
    ])
    .await
}

#[tokio::test]
async fn pages_are_whole_whatever_their_size() {
    let catalogue = shop().await;
    let all = ["apps", "apps-old", "apps/deep/one", "apps/deep/two", "apps/lamp", "other/lamps"];
    assert_eq!(paths(&catalogue, Wanted::default()).await, all);
    let below = Wanted { prefix: "apps/".to_owned(), ..Wanted::default() };
    assert_eq!(paths(&catalogue, below).await, all[2..5]);
    let many = empty();
    for i in 0..450 {
        many.put(&text("project", &format!("p{i:03}"), "tags: [all]"), "ada", "", 1).await.unwrap();
    }
    assert_eq!(paths(&many, Wanted::default()).await.len(), 450);
    assert_eq!(paths(&many, Wanted { tag: Some("all".to_owned()), ..Wanted::default() }).await.len(), 450);
}

#[tokio::test]
async fn words_and_their_beginnings_find_modules_once_each() {
    let catalogue = shop().await;
    let by = async |words: &str, tag: Option<&str>| {
        let wanted = Wanted { search: words.to_owned(), tag: tag.map(str::to_owned), ..Wanted::default() };
        let mut found = paths(&catalogue, wanted).await;
        found.sort();
        found
    };
    assert_eq!(by("lamp", None).await, ["apps/lamp", "other/lamps"]);
    assert_eq!(by("LAMP book", None).await, ["apps/lamp"]);
    assert_eq!(by("data", None).await, ["apps/deep/two", "apps/lamp"]);
    assert_eq!(by("", Some("web")).await, ["apps/deep/one", "apps/lamp"]);
    assert_eq!(by("php", Some("lamp STACK")).await, ["apps/lamp"]);
    assert_eq!(by("nothing", None).await, [""; 0]);
    // A new version is found by its own words only.
    catalogue.put(&text("project", "apps/lamp", "title: Visitors"), "ada", "", 1).await.unwrap();
    assert_eq!(by("guest", None).await, [""; 0]);
    assert_eq!(by("visit", None).await, ["apps/lamp"]);
    catalogue.delete("apps/lamp", "ada", 1).await.unwrap();
    assert_eq!(by("visit", None).await, [""; 0]);
}

#[tokio::test]
async fn a_folder_shows_what_is_directly_in_it() {
    let catalogue = shop().await;
    let shown = async |folder: &str, limit: usize| {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = catalogue.folder(folder, after.as_deref(), limit).await.unwrap();
            assert!(page.items.len() <= limit);
            all.extend(page.items.into_iter().map(|m| format!("{} {}", m.path, m.version)));
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    };
    for limit in [1, 2, 100] {
        assert_eq!(shown("", limit).await, ["apps 1", "apps-old 1", "other 0"], "{limit}");
        assert_eq!(shown("apps", limit).await, ["apps/deep 0", "apps/lamp 1"], "{limit}");
        assert_eq!(shown("apps/deep", limit).await, ["apps/deep/one 1", "apps/deep/two 1"], "{limit}");
        assert_eq!(shown("nowhere", limit).await, [""; 0], "{limit}");
    }
}

#[tokio::test]
async fn modules_of_an_older_store_are_found_after_the_first_start() {
    let memory = Arc::new(Memory::default());
    let catalogue = Catalogue::new(Arc::clone(&memory) as Arc<dyn Backend>);
    let heading = r#"{"version":1,"kind":"project","title":"Old","author":"ada","at":1}"#;
    let source = text("project", "old/one", "title: Old\ntags: [kept]");
    memory.plant(layout::module_head("old/one"), heading.as_bytes().to_vec()).await;
    memory.plant(layout::module_version("old/one", 1), format!("{heading}\n{source}").into_bytes()).await;
    let wanted = || Wanted { tag: Some("kept".to_owned()), ..Wanted::default() };
    assert_eq!(paths(&catalogue, wanted()).await, [""; 0]);
    catalogue.index().await.unwrap();
    assert_eq!(paths(&catalogue, wanted()).await, ["old/one"]);
    assert_eq!(catalogue.get("old/one").await.unwrap().source, source);
    catalogue.index().await.unwrap();
}
