//! The routes of users, groups, tokens and sessions.

use slipstream_shared::api::{
    ChangeGroup, ChangeUser, GroupInfo, Login, MadeToken, NewGroup, NewPassword, NewSshKey, NewToken, NewUser, Page,
    Session, TokenInfo, UserInfo,
};

use super::{
    error::Code::{
        BadLogin, Conflict, Denied, GroupNotFound, InvalidRequest, InvalidValue, MediaType, StorageFull, TokenNotFound,
        TooLarge, TooMany, UserNotFound,
    },
    groups,
    route::{Needs, Route},
    session, tokens, users,
};

pub(super) fn routes() -> Vec<Route> {
    let mut all = of_sessions();
    all.extend(of_users());
    all.extend(of_groups());
    all.extend(of_tokens());
    all
}

fn of_sessions() -> Vec<Route> {
    const PATH: &str = "/api/v1/session";
    vec![
        Route::post(PATH, "begin_session", session::begin)
            .needs(Needs::Nothing)
            .about("sessions", "Logs in with a password: a bearer token for programs, a cookie for pages")
            .takes::<Login>()
            .json::<Session>(201, "The session has begun")
            .fails(&[BadLogin, TooMany, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::get(PATH, "show_session", session::show)
            .needs(Needs::Login)
            .about("sessions", "Says who asks, what their token is good for, and until when")
            .json::<Session>(200, "Who asks")
            .fails(&[UserNotFound]),
        Route::delete(PATH, "end_session", session::end)
            .needs(Needs::Login)
            .about("sessions", "Logs out; an API token is no session and stays")
            .empty(204, "The session has ended"),
    ]
}

fn of_users() -> Vec<Route> {
    vec![
        Route::get("/api/v1/users", "list_users", users::list)
            .needs(Needs::Account)
            .about("users", "Lists users: administrators all, others themselves")
            .json::<Page<UserInfo>>(200, "All of them, by name"),
        Route::post("/api/v1/users", "add_user", users::add)
            .needs(Needs::Admin)
            .about("users", "Makes a user")
            .takes::<NewUser>()
            .json::<UserInfo>(201, "The user")
            .fails(&[Conflict, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::get("/api/v1/users/{user}", "show_user", users::show)
            .needs(Needs::Oneself)
            .about("users", "Shows a user")
            .json::<UserInfo>(200, "The user")
            .fails(&[UserNotFound]),
        Route::patch("/api/v1/users/{user}", "change_user", users::change)
            .needs(Needs::Oneself)
            .about("users", "Changes what is given of a user; only administrators change `admin` and `disabled`")
            .takes::<ChangeUser>()
            .json::<UserInfo>(200, "The user")
            .fails(&[UserNotFound, Denied, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::delete("/api/v1/users/{user}", "delete_user", users::delete)
            .needs(Needs::Admin)
            .about("users", "Deletes a user with their tokens. What is theirs stays, and the name is not given again")
            .empty(204, "There is no such user any more")
            .fails(&[UserNotFound, Denied, StorageFull]),
        Route::put("/api/v1/users/{user}/password", "set_password", users::set_password)
            .needs(Needs::Oneself)
            .about("users", "Gives a user another password, which ends their other sessions")
            .takes::<NewPassword>()
            .empty(204, "It is the password from now on")
            .fails(&[BadLogin, TooMany, UserNotFound, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::post("/api/v1/users/{user}/ssh-keys", "add_ssh_key", users::add_ssh_key)
            .needs(Needs::Oneself)
            .about("users", "Adds a public key, which is let in to the machines of runs that they launch from now on")
            .takes::<NewSshKey>()
            .json::<UserInfo>(200, "The user")
            .fails(&[UserNotFound, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::delete("/api/v1/users/{user}/ssh-keys/{id}", "remove_ssh_key", users::remove_ssh_key)
            .needs(Needs::Oneself)
            .about("users", "Takes a public key away; machines that run already keep it")
            .json::<UserInfo>(200, "The user")
            .fails(&[UserNotFound, StorageFull]),
    ]
}

fn of_groups() -> Vec<Route> {
    vec![
        Route::get("/api/v1/groups", "list_groups", groups::list)
            .needs(Needs::Account)
            .about("groups", "Lists groups: administrators all, others those they belong to")
            .json::<Page<GroupInfo>>(200, "All of them, by name"),
        Route::post("/api/v1/groups", "add_group", groups::add)
            .needs(Needs::Admin)
            .about("groups", "Makes a group")
            .takes::<NewGroup>()
            .json::<GroupInfo>(201, "The group")
            .fails(&[Conflict, UserNotFound, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::get("/api/v1/groups/{group}", "show_group", groups::show)
            .needs(Needs::Account)
            .about("groups", "Shows a group to those who belong to it")
            .json::<GroupInfo>(200, "The group")
            .fails(&[GroupNotFound]),
        Route::patch("/api/v1/groups/{group}", "change_group", groups::change)
            .needs(Needs::Account)
            .about("groups", "Changes who belongs to a group: for its managers; others may remove themselves")
            .takes::<ChangeGroup>()
            .json::<GroupInfo>(200, "The group")
            .fails(&[GroupNotFound, UserNotFound, Denied, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::delete("/api/v1/groups/{group}", "delete_group", groups::delete)
            .needs(Needs::Admin)
            .about("groups", "Deletes a group; its name is not given again")
            .empty(204, "There is no such group any more")
            .fails(&[GroupNotFound, StorageFull]),
    ]
}

fn of_tokens() -> Vec<Route> {
    vec![
        Route::get("/api/v1/tokens", "list_tokens", tokens::list)
            .needs(Needs::Account)
            .about("tokens", "Lists one's tokens and sessions, without their secrets")
            .query::<tokens::ListQuery>()
            .json::<Page<TokenInfo>>(200, "All of them, oldest first")
            .fails(&[UserNotFound, InvalidRequest]),
        Route::post("/api/v1/tokens", "add_token", tokens::add)
            .needs(Needs::Account)
            .about("tokens", "Makes an API token")
            .takes::<NewToken>()
            .json::<MadeToken>(201, "The token with its secret, which is shown this once")
            .fails(&[UserNotFound, Denied, InvalidValue, InvalidRequest, MediaType, TooLarge, StorageFull]),
        Route::delete("/api/v1/tokens/{id}", "revoke_token", tokens::revoke)
            .needs(Needs::Account)
            .about("tokens", "Revokes a token or ends a session, at once")
            .empty(204, "It is not good any more")
            .fails(&[TokenNotFound, StorageFull]),
    ]
}
