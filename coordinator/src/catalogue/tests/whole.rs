//! What is done to modules as a whole, and saves by two people.

use super::*;

async fn act(catalogue: &Catalogue, path: &str, action: ModuleAction) -> Result<String, String> {
    catalogue.act(path, &action, "bob", 5000).await.map(|s| s.to_string()).map_err(|e| e.to_string())
}

async fn saved(catalogue: &Catalogue, body: &str, base: Option<u32>) -> Result<u32, String> {
    let source = text("project", "a", body);
    catalogue.save(&source, "bob", "", base, 2).await.map(|s| s.version).map_err(|e| e.to_string())
}

#[tokio::test]
async fn the_second_of_two_people_is_told_what_the_first_has_done() {
    let catalogue = with(&[("project", "a", "title: One")]).await;
    assert_eq!(saved(&catalogue, "title: Two\nnotes: x", Some(1)).await, Ok(2));
    let told = saved(&catalogue, "title: Mine", Some(1)).await.unwrap_err();
    assert_eq!(
        told,
        "`a` is not as it was: bob has saved version 2, which changes `title`, `notes` (look: slipstream module diff a@1 a@2; then save on top of version 2)"
    );
    assert_eq!(catalogue.get("a").await.unwrap().version, 2, "nothing was stored");
    assert_eq!(saved(&catalogue, "title: Mine", Some(2)).await, Ok(3));
    // A save whose answer was lost, sent again.
    assert_eq!(saved(&catalogue, "title: Mine", Some(2)).await, Ok(3));
    assert!(
        saved(&catalogue, "title: New", Some(0)).await.unwrap_err().contains("look at it: slipstream module show a")
    );
    let new = text("project", "b", "");
    assert!(catalogue.save(&new, "bob", "", Some(1), 2).await.unwrap_err().to_string().contains("no module `b` yet"));
    assert_eq!(catalogue.save(&new, "bob", "", Some(0), 2).await.unwrap().version, 1);
}

#[tokio::test]
async fn the_published_version_stays_until_another_is_published() {
    let catalogue = with(&[BASE, ("component", "c", "image: images/base\ntitle: One")]).await;
    let none = catalogue.get("c@published").await.unwrap_err().to_string();
    assert_eq!(none, "no version of `c` is published (its newest is 1; `slipstream module publish c`)");
    assert_eq!(act(&catalogue, "c", ModuleAction::Publish { version: None }).await, Ok("c@1".to_owned()));
    catalogue.put(&text("component", "c", "image: images/base\ntitle: Two"), "ada", "", 1).await.unwrap();
    let found = catalogue.get("c@published").await.unwrap();
    assert_eq!((found.version, found.published), (1, Some(1)));
    // What builds on it is launched with what is published then, and says which that was.
    let user = "nodes: {n: {use: c@published, cloud: local, deploy: x}}";
    catalogue.put(&text("application", "app", user), "ada", "", 1).await.unwrap();
    let plan = catalogue.resolve("app", &LaunchOptions::default()).await.unwrap();
    assert_eq!(plan.nodes[&"n".parse().unwrap()].component, "c@1");
    assert!(
        act(&catalogue, "c", ModuleAction::Publish { version: Some(3) }).await.unwrap_err().contains("no version 3")
    );
    assert!(act(&catalogue, "c", ModuleAction::Publish { version: Some(2) }).await.is_ok());
    assert_eq!(catalogue.get("c@published").await.unwrap().version, 2);
    assert!(act(&catalogue, "c", ModuleAction::Unpublish {}).await.is_ok());
    assert_eq!(
        refused(&catalogue, "component", "d", "image: c@published").await,
        ["4:8: no version of `c` is published (its newest is 2; publish one, or name one)"]
    );
}

#[tokio::test]
async fn what_is_deleted_is_not_found_and_comes_back_whole() {
    let catalogue = with(&[("project", "a", "title: One"), ("project", "a", "title: Two")]).await;
    catalogue.delete("a", "ada", 1000).await.unwrap();
    let told = catalogue.get("a@1").await.unwrap_err().to_string();
    assert_eq!(
        told,
        "there is no module `a`: ada has deleted it at 1970-01-01T00:00:01Z (`slipstream module undelete a` brings it back)"
    );
    assert_eq!(catalogue.delete("a", "ada", 1000).await.unwrap_err().to_string(), told);
    let listed = async |gone| {
        let page = catalogue.page(&Wanted { gone, limit: 9, ..Wanted::default() }).await.unwrap();
        page.items.into_iter().map(|m| m.path).collect::<Vec<_>>()
    };
    assert_eq!((listed(false).await, listed(true).await), (vec![], vec!["a".to_owned()]));
    assert_eq!(act(&catalogue, "a", ModuleAction::Undelete {}).await, Ok("a@2".to_owned()));
    assert_eq!((listed(false).await, listed(true).await), (vec!["a".to_owned()], vec![]));
    // Saving it again brings it back as well, as the next version.
    catalogue.delete("a", "ada", 1000).await.unwrap();
    assert_eq!(saved(&catalogue, "title: Two", None).await, Ok(3));
    assert!(catalogue.delete("zzz", "ada", 1).await.unwrap_err().to_string().starts_with("there is no module `zzz`"));
}

#[tokio::test]
async fn copies_and_moves_carry_the_text_under_its_new_name() {
    let catalogue =
        with(&[("project", "a", "title: One # why"), ("project", "a", "title: Two"), ("project", "b", "")]).await;
    let copy = |to: &str, version| ModuleAction::Copy { to: to.to_owned(), version };
    assert_eq!(act(&catalogue, "a", copy("c/d", Some(1))).await, Ok("c/d@1".to_owned()));
    let copied = catalogue.get("c/d").await.unwrap();
    assert_eq!((copied.heading.comment.as_str(), copied.heading.author.as_str()), ("copy of a@1", "bob"));
    assert!(copied.source.contains("name: \"c/d\"") && copied.source.contains("# why"), "{}", copied.source);
    assert!(act(&catalogue, "a", copy("b", None)).await.unwrap_err().starts_with("there is a module `b` already"));

    let to = |to: &str| ModuleAction::Move { to: to.to_owned() };
    assert!(act(&catalogue, "a", to("b")).await.unwrap_err().starts_with("there is a module `b` already"));
    assert!(act(&catalogue, "a", to("x//y")).await.unwrap_err().contains("is not the path of a module"));
    assert!(act(&catalogue, "a", ModuleAction::Publish { version: Some(1) }).await.is_ok());
    // What a move that was cut off has left there is no module, and does not matter.
    let left = (layout::module_version("new", 1), Some(b"left".to_vec()));
    catalogue.backend.append(Batch { expect: vec![], writes: vec![left] }).await.unwrap();
    assert_eq!(act(&catalogue, "a", to("new")).await, Ok("new@2".to_owned()));
    let versions = catalogue.versions("new", None, 9).await.unwrap().items;
    assert_eq!(versions.iter().map(|v| (v.version, v.author.as_str())).collect::<Vec<_>>(), [(2, "ada"), (1, "ada")]);
    assert_eq!(catalogue.get("new@published").await.unwrap().version, 1);
    assert!(catalogue.get("new@1").await.unwrap().source.contains("name: \"new\""));
    assert_eq!(catalogue.get("a").await.unwrap_err().to_string(), "there is no module `a`: bob has moved it to `new`");
}

#[tokio::test]
async fn a_check_tells_what_a_launch_would_refuse_and_stores_nothing() {
    let catalogue = with(&[BASE]).await;
    let clouds = ["exo".to_owned(), "local".to_owned(), "third".to_owned()].into();
    let told = async |body: &str| -> Vec<String> {
        let problems = catalogue.check(&text("application", "app", body), &clouds).await.unwrap();
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told("nodes: {n: {image: images/base, cloud: [exo, local]}}").await, [""; 0]);
    assert_eq!(
        told("nodes: {n: {image: images/base, cloud: [eco, third]}}").await,
        [
            "4:41: the coordinator has no cloud `eco` (did you mean `exo`?)",
            "4:46: the image of `n` has no identifier for the cloud `third` (it has one for: exo, local)",
        ]
    );
    assert_eq!(
        told("nodes: {n: {image: images/bsae}}").await,
        ["4:20: there is no module `images/bsae` (did you mean `images/base`?)"]
    );
    assert!(catalogue.get("app").await.is_err());
}
