//! Groups: who belongs to them, and who says so.

use std::collections::BTreeSet;

use slipstream_shared::api::{ChangeGroup, GroupInfo, NewGroup};

use super::{
    Access, AccessError, User,
    directory::{Edit, Group, Known},
    users::{check_name, shown},
};

impl Access {
    /// Makes a group.
    ///
    /// # Errors
    /// The name is or was a group's, or somebody named does not exist.
    pub async fn add_group(&self, new: NewGroup) -> Result<GroupInfo, AccessError> {
        check_name(&new.name)?;
        self.directory
            .change(move |known, created| {
                if known.groups.contains_key(&new.name) {
                    return Err(AccessError::Taken(new.name));
                }
                let mut group = Group { name: new.name, created, ..Group::default() };
                let change = ChangeGroup { members: new.members, managers: new.managers, remove: Vec::new() };
                enter(known, &mut group, change)?;
                let info = info(&group);
                Ok((vec![Edit::Group(group)], info))
            })
            .await
    }

    /// Whether the name is or was a group's.
    #[must_use]
    pub fn was_group(&self, name: &str) -> bool {
        self.directory.read(|known| known.groups.contains_key(name))
    }

    /// The groups that somebody may know of, by name: those they belong to; administrators all.
    #[must_use]
    pub fn groups(&self, asker: &User) -> Vec<GroupInfo> {
        self.directory.read(|known| {
            let seen = known.groups.values().filter(|group| !group.deleted && sees(asker, group));
            seen.map(info).collect()
        })
    }

    /// A group.
    ///
    /// # Errors
    /// There is none, or the asker does not belong to it.
    pub fn show_group(&self, asker: &User, name: &str) -> Result<GroupInfo, AccessError> {
        self.directory.read(|known| seen(known, asker, name).map(info))
    }

    /// Changes who belongs to a group.
    ///
    /// # Errors
    /// There is none, the asker is no manager of it, or somebody named does not exist.
    pub async fn change_group(&self, by: &User, name: &str, change: ChangeGroup) -> Result<GroupInfo, AccessError> {
        let (by, name) = (by.clone(), name.to_owned());
        self.directory
            .change(move |known, _| {
                let mut group = seen(known, &by, &name)?.clone();
                // What a member may always do is to go.
                let goes = ChangeGroup { remove: vec![by.name.clone()], ..ChangeGroup::default() };
                if !by.admin && !group.managers.contains(&by.name) && change != goes {
                    let who: Vec<&str> = group.managers.iter().map(String::as_str).collect();
                    let who = if who.is_empty() { "an administrator".to_owned() } else { who.join(", ") };
                    return Err(AccessError::Denied(format!("you are not a manager of `{name}`; ask {who}")));
                }
                enter(known, &mut group, change)?;
                let info = info(&group);
                Ok((vec![Edit::Group(group)], info))
            })
            .await
    }

    /// Deletes a group. What was shared with it is shared with nobody then; its name is not given again.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_group(&self, name: &str) -> Result<(), AccessError> {
        let name = name.to_owned();
        self.directory
            .change(move |known, _| {
                let created = known.group(&name)?.created;
                Ok((vec![Edit::Group(Group { name, created, deleted: true, ..Group::default() })], ()))
            })
            .await
    }
}

fn sees(asker: &User, group: &Group) -> bool {
    asker.admin || group.has(&asker.name)
}

fn seen<'a>(known: &'a Known, asker: &User, name: &str) -> Result<&'a Group, AccessError> {
    let found = known.group(name).ok().filter(|group| sees(asker, group));
    found.ok_or_else(|| AccessError::NoGroup(name.to_owned()))
}

fn enter(known: &Known, group: &mut Group, change: ChangeGroup) -> Result<(), AccessError> {
    for name in change.members.iter().chain(&change.managers) {
        known.account(name)?;
    }
    let members: BTreeSet<String> = change.members.into_iter().collect();
    let managers: BTreeSet<String> = change.managers.into_iter().collect();
    group.managers.retain(|name| !members.contains(name) && !change.remove.contains(name));
    group.members.retain(|name| !managers.contains(name) && !change.remove.contains(name));
    group.members.extend(members);
    group.managers.extend(managers);
    Ok(())
}

fn info(group: &Group) -> GroupInfo {
    GroupInfo {
        name: group.name.clone(),
        members: group.members.iter().cloned().collect(),
        managers: group.managers.iter().cloned().collect(),
        created: shown(group.created),
    }
}
