//! What somebody may do with a module or a run. Pure: the only place that decides.

use slipstream_shared::{
    api::{Allows, Scope},
    id::RunId,
    sharing::{Grants, Right, Rights},
};

use super::User;

/// Something that has an owner.
#[derive(Debug, Clone, Copy)]
pub enum Thing<'a> {
    /// The module of that path.
    Module(&'a str),
    /// A run, and its module, with or without a version.
    Run(RunId, &'a str),
}

impl User {
    /// What they may do with something that belongs to `owner`, who has granted that to others.
    #[must_use]
    pub fn rights(&self, thing: Thing<'_>, owner: &str, grants: &Grants) -> Rights {
        let own = if self.admin || self.name == owner {
            Rights::ALL
        } else {
            let groups = grants.groups.iter().filter(|(group, _)| self.groups.contains(*group));
            groups.fold(grants.everyone, |rights, (_, granted)| rights.and(*granted))
        };
        own.within(allowed(&self.scope, thing))
    }
}

/// What a token allows with something, whoever has it.
fn allowed(scope: &Scope, thing: Thing<'_>) -> Rights {
    let (run, module) = match thing {
        Thing::Module(path) => (None, path),
        Thing::Run(run, module) => (Some(run), module),
    };
    let path = module.split('@').next().unwrap_or_default();
    let below = |project: &String| {
        path.strip_prefix(project.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if scope.run.is_some_and(|only| run != Some(only)) || !scope.project.as_ref().is_none_or(below) {
        return Rights::default();
    }
    match (scope.allows, run) {
        (Allows::Read, _) => vec![Right::Read].into(),
        (Allows::Launch, None) => vec![Right::Launch].into(),
        (Allows::Launch, Some(_)) => vec![Right::Launch, Right::Edit, Right::Delete].into(),
        (Allows::Everything, _) => Rights::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(text: &str) -> Rights {
        text.parse().expect(text)
    }

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(ToString::to_string).collect();
        User { name: name.to_owned(), groups, ..User::default() }
    }

    const MODULE: Thing<'_> = Thing::Module("apps/lamp");

    #[test]
    fn owner_groups_and_everyone_get_what_they_are_granted_and_no_more() {
        let mut grants = Grants::default();
        grants.change(&[("devs".to_owned(), rights("edit")), ("ops".to_owned(), rights("launch"))].into(), None);
        let shared = {
            let mut all = grants.clone();
            all.change(&[].into(), Some(rights("read")));
            all
        };
        let admin = User { admin: true, ..user("root", &[]) };
        for (who, of, expected) in [
            (&user("ann", &[]), &grants, "all"),
            (&admin, &grants, "all"),
            (&user("bob", &[]), &grants, "nothing"),
            (&user("bob", &[]), &shared, "read"),
            (&user("bob", &["devs"]), &grants, "read,edit"),
            (&user("bob", &["devs", "ops"]), &shared, "read,launch,edit"),
            (&user("bob", &["others"]), &grants, "nothing"),
            // Nobody is who has no name.
            (&user("", &[]), &grants, "nothing"),
        ] {
            assert_eq!(who.rights(MODULE, "ann", of), rights(expected), "{who:?}");
        }
    }

    #[test]
    fn a_token_allows_less_and_never_more_than_its_user_may() {
        let run: RunId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("an id");
        let other: RunId = "01890a5d-ac96-774b-bcce-b302099a8058".parse().expect("an id");
        let scope = |allows, run, project: Option<&str>| Scope { allows, run, project: project.map(str::to_owned) };
        let of_run = Thing::Run(run, "apps/lamp@3");
        for (scope, thing, expected) in [
            (scope(Allows::Read, None, None), MODULE, "read"),
            (scope(Allows::Read, None, None), of_run, "read"),
            (scope(Allows::Launch, None, None), MODULE, "read,launch"),
            (scope(Allows::Launch, None, None), of_run, "read,launch,edit,delete"),
            (scope(Allows::Everything, Some(run), None), of_run, "all"),
            (scope(Allows::Everything, Some(other), None), of_run, "nothing"),
            (scope(Allows::Everything, Some(run), None), MODULE, "nothing"),
            (scope(Allows::Everything, None, Some("apps")), of_run, "all"),
            (scope(Allows::Everything, None, Some("apps/lamp")), MODULE, "all"),
            (scope(Allows::Everything, None, Some("apps/la")), MODULE, "nothing"),
            (scope(Allows::Launch, None, Some("app")), of_run, "nothing"),
        ] {
            let ann = User { scope: scope.clone(), ..user("ann", &[]) };
            assert_eq!(ann.rights(thing, "ann", &Grants::default()), rights(expected), "{scope:?} {thing:?}");
            let bob = User { scope, ..user("bob", &[]) };
            assert!(bob.rights(thing, "ann", &Grants::default()).is_empty());
        }
    }
}
