use std::net::IpAddr;

use slipstream_shared::api::{ChangeGroup, ChangeUser, Login, NewGroup, NewPassword, NewToken, NewUser};

use super::*;
use crate::store::{Batch, MemoryBackend, layout};

async fn open(store: &Arc<MemoryBackend>) -> Access {
    Access::open(Arc::clone(store) as Arc<dyn Backend>, Seam::real()).await.expect("opens")
}

async fn add(access: &Access, name: &str, password: Option<&str>) -> User {
    let user = NewUser { name: name.to_owned(), password: password.map(str::to_owned), ..NewUser::default() };
    access.add_user(First { user, ..First::default() }).await.expect("made");
    User { name: name.to_owned(), ..User::default() }
}

fn new(name: &str) -> NewToken {
    NewToken { name: name.to_owned(), user: None, scope: Scope::default(), seconds: None }
}

fn here() -> IpAddr {
    "192.0.2.1".parse().expect("an address")
}

fn login(user: &str, password: &str) -> Login {
    Login { user: user.to_owned(), password: password.to_owned(), cookie: false, seconds: None }
}

#[tokio::test]
async fn a_token_opens_the_door_until_it_is_revoked_and_only_its_hash_is_kept() {
    let store = Arc::new(MemoryBackend::new());
    let access = open(&store).await;
    let ann = add(&access, "ann", None).await;
    let made = access.add_token(&ann, new("ci")).await.expect("made");
    let shown = access.user(&made.token).expect("known");
    assert_eq!((shown.name.as_str(), shown.admin), ("ann", false));
    for wrong in ["", "slip_", &made.token[..made.token.len() - 1], &made.token.to_uppercase()] {
        assert_eq!(access.user(wrong), None, "{wrong}");
    }
    assert_eq!(access.page_user(&made.token), None, "an API token is no cookie");
    let kept = store.scan(b"", None, 100).await.expect("answers");
    let kept: Vec<_> = kept.iter().map(|(k, v)| [k.as_slice(), v].concat()).collect();
    let kept = String::from_utf8_lossy(&kept.concat()).into_owned();
    assert!(kept.contains("token/") && !kept.contains(made.token.trim_start_matches(token::PREFIX)), "{kept}");

    let bob = add(&access, "bob", None).await;
    let error = access.revoke_token(&bob, &made.info.id).await.expect_err("not his");
    assert_eq!(
        error.to_string(),
        access
            .revoke_token(&bob, "0000000000000000")
            .await
            .expect_err("none")
            .to_string()
            .replace("0000000000000000", &made.info.id)
    );
    assert!(access.user(&made.token).is_some());
    access.revoke_token(&ann, &made.info.id).await.expect("revoked");
    assert_eq!(access.user(&made.token), None);
    assert_eq!(open(&store).await.user(&made.token), None, "nor after a restart");
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_user() {
    let store = Arc::new(MemoryBackend::new());
    let seam = Seam::seeded(1);
    let access = Access::open(Arc::clone(&store) as Arc<dyn Backend>, seam.clone()).await.expect("opens");
    let ann = add(&access, "ann", None).await;
    let short = access.add_token(&ann, NewToken { seconds: Some(60), ..new("short") }).await.expect("made");
    let long = access.add_token(&ann, new("long")).await.expect("made");
    assert!(access.user(&short.token).is_some());
    seam.set_clock_by(60_000);
    assert_eq!(access.user(&short.token), None);
    let names: Vec<String> = access.tokens("ann").expect("listed").into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["long"]);
    let admin = User { name: "root".to_owned(), admin: true, ..User::default() };
    let disabled = |disabled| ChangeUser { disabled: Some(disabled), ..ChangeUser::default() };
    access.change_user(&admin, "ann", disabled(true)).await.expect("disabled");
    assert_eq!(access.user(&long.token), None);
    access.change_user(&admin, "ann", disabled(false)).await.expect("enabled");
    assert!(access.user(&long.token).is_some());
    access.delete_user("ann").await.expect("deleted");
    assert_eq!(access.user(&long.token), None);
    let again = First { user: NewUser { name: "ann".to_owned(), ..NewUser::default() }, ..First::default() };
    assert!(matches!(access.add_user(again).await, Err(AccessError::Taken(_))), "whose is what was hers?");
    assert!(matches!(access.show_user("ann"), Err(AccessError::NoUser(_))));
}

#[tokio::test]
async fn a_password_opens_sessions_and_another_one_ends_them() {
    let store = Arc::new(MemoryBackend::new());
    let access = open(&store).await;
    let ann = add(&access, "ann", Some("correct horse")).await;
    let api = access.add_token(&ann, new("ci")).await.expect("made").token;
    let mut secrets = Vec::new();
    for cookie in [false, false, true] {
        let session = access.login(Login { cookie, ..login("ann", "correct horse") }, here()).await.expect("in");
        assert_eq!((session.user.name.as_str(), session.csrf.is_some()), ("ann", cookie));
        secrets.push(session.token.expect("a token"));
    }
    let [this, other, page] = secrets.try_into().expect("three");
    assert_eq!(access.user(&page), None, "a cookie is no bearer token");
    assert!(access.page_user(&page).is_some());
    let me = access.user(&this).expect("in");
    let change = |old: Option<&str>, new: &str| NewPassword { old: old.map(str::to_owned), new: new.to_owned() };
    for (old, new) in
        [(None, "another horse"), (Some("wrong horse"), "another horse"), (Some("correct horse"), "short")]
    {
        access.set_password(&me, "ann", change(old, new), here()).await.expect_err(new);
    }
    access.set_password(&me, "ann", change(Some("correct horse"), "another horse"), here()).await.expect("changed");
    assert!(access.user(&this).is_some() && access.user(&api).is_some());
    assert!(access.user(&other).is_none() && access.page_user(&page).is_none());
    assert!(matches!(access.login(login("ann", "correct horse"), here()).await, Err(AccessError::BadLogin)));
    access.login(login("ann", "another horse"), here()).await.expect("in");
    access.logout(&me).await.expect("out");
    assert_eq!(access.user(&this), None);
}

#[tokio::test]
async fn wrong_logins_all_look_the_same_and_then_have_to_wait() {
    let access = open(&Arc::new(MemoryBackend::new())).await;
    add(&access, "ann", Some("correct horse")).await;
    add(&access, "bare", None).await;
    let admin = User { admin: true, ..add(&access, "boss", None).await };
    add(&access, "off", Some("correct horse")).await;
    let off = ChangeUser { disabled: Some(true), ..ChangeUser::default() };
    access.change_user(&admin, "off", off).await.expect("disabled");
    let mut said = BTreeSet::new();
    for (n, user) in ["ann", "bare", "off", "nobody"].iter().enumerate() {
        let from: IpAddr = format!("192.0.2.{n}").parse().expect("an address");
        for _ in 0..5 {
            let password = if *user == "off" { "correct horse" } else { "wrong horse" };
            said.insert(access.login(login(user, password), from).await.expect_err("wrong").to_string());
        }
        assert!(
            matches!(access.login(login(user, "correct horse"), from).await, Err(AccessError::TooOften(1))),
            "{user}"
        );
    }
    assert_eq!(said.into_iter().collect::<Vec<_>>(), ["the name or the password is wrong"]);
}

#[tokio::test]
async fn managers_say_who_belongs_to_a_group_and_members_see_it() {
    let access = open(&Arc::new(MemoryBackend::new())).await;
    let [ann, bob, eve] =
        [add(&access, "ann", None).await, add(&access, "bob", None).await, add(&access, "eve", None).await];
    let group = NewGroup { name: "devs".to_owned(), managers: vec!["ann".to_owned()], ..NewGroup::default() };
    access.add_group(group).await.expect("made");
    let change = |members: &[&str], remove: &[&str]| ChangeGroup {
        members: members.iter().map(ToString::to_string).collect(),
        remove: remove.iter().map(ToString::to_string).collect(),
        ..ChangeGroup::default()
    };
    access.change_group(&ann, "devs", change(&["bob"], &[])).await.expect("ann manages it");
    let denied = access.change_group(&bob, "devs", change(&["eve"], &[])).await.expect_err("bob does not");
    assert_eq!(denied.to_string(), "you are not a manager of `devs`; ask ann");
    let unseen = access.change_group(&eve, "devs", change(&["eve"], &[])).await.expect_err("unseen");
    assert_eq!(unseen.to_string(), "there is no group `devs`");
    assert_eq!((access.groups(&bob).len(), access.groups(&eve).len()), (1, 0));
    let token = access.add_token(&bob, new("x")).await.expect("made").token;
    assert!(access.user(&token).expect("known").groups.contains("devs"));
    access.change_group(&bob, "devs", change(&[], &["bob"])).await.expect("whoever wants may go");
    assert!(access.user(&token).expect("known").groups.is_empty());
    access.change_group(&ann, "devs", change(&["nobody"], &[])).await.expect_err("no such user");
    access.delete_group("devs").await.expect("deleted");
    assert_eq!(access.groups(&ann).len(), 0);
    assert!(matches!(
        access.add_group(NewGroup { name: "devs".to_owned(), ..NewGroup::default() }).await,
        Err(AccessError::Taken(_))
    ));
}

#[tokio::test]
async fn names_are_plain_and_keys_for_ssh_are_keys() {
    let access = open(&Arc::new(MemoryBackend::new())).await;
    for bad in ["", "Ann", "a b", "a/b", "1a", "-a", "a\0", "\u{e9}", &"a".repeat(33)] {
        let user = NewUser { name: bad.to_owned(), ..NewUser::default() };
        let error = access.add_user(First { user, ..First::default() }).await.expect_err(bad);
        assert!(error.to_string().contains("is no name: it has lower-case letters"), "{error}");
    }
    add(&access, "ann", None).await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAke9gWGTzUmzmwj31i0Zpe7F7BXtpnkjzp7qxRdbqPS";
    let ann = access.add_ssh_key("ann", &format!("{key} me@here")).await.expect("added");
    assert_eq!(access.add_ssh_key("ann", &format!("{key} me@there")).await.expect("known").ssh_keys, ann.ssh_keys);
    access.add_ssh_key("ann", "ssh-ed25519 AAAA").await.expect_err("no key");
    assert_eq!(access.ssh_keys("ann"), [format!("{key} me@here")]);
    let without = access.remove_ssh_key("ann", &ann.ssh_keys[0].id).await.expect("removed");
    assert!(without.ssh_keys.is_empty());
}

#[tokio::test]
async fn the_administrators_token_survives_a_restart_but_not_the_loss_of_the_store() {
    let data = tempfile::tempdir().expect("a folder");
    let store = Arc::new(MemoryBackend::new());
    let first = open(&store).await.admin(data.path()).await.expect("made");
    assert_eq!(open(&store).await.admin(data.path()).await.expect("kept"), first);
    let anew = open(&Arc::new(MemoryBackend::new())).await;
    let second = anew.admin(data.path()).await.expect("made");
    assert_ne!(first, second);
    assert!(anew.user(&second).is_some_and(|user| user.admin && user.name == FIRST));
    let root = anew.user(&second).expect("known");
    anew.delete_user(FIRST).await.expect_err("stays");
    let change = ChangeUser { disabled: Some(true), ..ChangeUser::default() };
    anew.change_user(&root, FIRST, change).await.expect_err("stays");
}

#[tokio::test]
async fn tokens_of_the_first_version_are_still_good_and_have_a_user() {
    let store = Arc::new(MemoryBackend::new());
    let secret = token::api_token(&Seam::real());
    let record = br#"{"user":"admin","admin":true,"created":1700000000000}"#.to_vec();
    let writes = vec![(layout::token(&token::hash(&secret)), Some(record))];
    store.append(Batch { expect: Vec::new(), writes }).await.expect("written");
    let access = open(&store).await;
    let user = access.user(&secret).expect("still good");
    assert!(user.admin && user.scope.is_whole());
    assert!(access.show_user("admin").expect("there").admin);
    assert_eq!(access.tokens("admin").expect("listed").len(), 1);
}
