//! The keys of the store, said once.
//!
//! | key | value |
//! |---|---|
//! | `meta/format` | [`VERSION`], written when a store is created and checked when it is opened |
//! | `run/<uuid>/e/<seq>` | an event of a run |
//! | `run/<uuid>/s` | the snapshot its events build on, or how many parts it has |
//! | `run/<uuid>/p/<seq><n>` | a part of the snapshot made after event `seq` |
//! | `run/<uuid>/o` | which coordinator owns the run, and its fence |
//! | `runs/<uuid>` | summary of a run, to list runs without loading them |
//! | `module/<path>\0v<version>` | one version of a module |
//! | `modules/<path>` | the latest version of a module |
//! | `word/<word>\0<path>` | nothing: the module is found by that word |
//! | `meta/words` | there once all modules are found by their words |
//! | `user/<name>` | a user |
//! | `group/<name>` | a group of users |
//! | `token/<sha256>` | an API token or a session |
//! | `idem/<user>\0<key>` | what a launch with this idempotency key answered |
//!
//! Numbers are big-endian, so that the order of keys is that of numbers; other parts are text. Module
//! paths and user names contain no NUL: it ends them, because both may hold a slash.

use slipstream_shared::id::RunId;

/// Where the version of this layout is kept.
pub const FORMAT: &[u8] = b"meta/format";

/// The version of this layout.
pub const VERSION: &[u8] = b"1";

/// Prefix of the summaries of all runs.
pub const SUMMARIES: &[u8] = b"runs/";

/// Prefix of all API tokens and sessions.
pub const TOKENS: &[u8] = b"token/";

/// Prefix of all users.
pub const USERS: &[u8] = b"user/";

/// Prefix of all groups.
pub const GROUPS: &[u8] = b"group/";

/// Prefix of everything of a run but its summary.
#[must_use]
pub fn run(run: RunId) -> Vec<u8> {
    format!("run/{run}/").into_bytes()
}

/// Prefix of the events of a run.
#[must_use]
pub fn events(run: RunId) -> Vec<u8> {
    format!("run/{run}/e/").into_bytes()
}

/// An event of a run.
#[must_use]
pub fn event(run: RunId, seq: u64) -> Vec<u8> {
    let mut key = events(run);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The run and the number of an event.
#[must_use]
pub fn parse_event(key: &[u8]) -> Option<(RunId, u64)> {
    let (head, seq) = key.strip_prefix(b"run/")?.split_last_chunk()?;
    Some((parse_run(head.strip_suffix(b"/e/")?)?, u64::from_be_bytes(*seq)))
}

/// The snapshot of a run.
#[must_use]
pub fn snapshot(run: RunId) -> Vec<u8> {
    format!("run/{run}/s").into_bytes()
}

/// Prefix of the parts of all snapshots of a run.
#[must_use]
pub fn snapshot_parts(run: RunId) -> Vec<u8> {
    format!("run/{run}/p/").into_bytes()
}

/// Prefix of the parts of the snapshot made after event `seq`.
#[must_use]
pub fn snapshot_parts_of(run: RunId, seq: u64) -> Vec<u8> {
    let mut key = snapshot_parts(run);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// Part `n` of the snapshot made after event `seq`.
#[must_use]
pub fn snapshot_part(run: RunId, seq: u64, n: u32) -> Vec<u8> {
    let mut key = snapshot_parts_of(run, seq);
    key.extend_from_slice(&n.to_be_bytes());
    key
}

/// The owner of a run.
#[must_use]
pub fn owner(run: RunId) -> Vec<u8> {
    format!("run/{run}/o").into_bytes()
}

/// The summary of a run.
#[must_use]
pub fn summary(run: RunId) -> Vec<u8> {
    format!("runs/{run}").into_bytes()
}

/// The run of a summary.
#[must_use]
pub fn parse_summary(key: &[u8]) -> Option<RunId> {
    parse_run(key.strip_prefix(SUMMARIES)?)
}

/// Prefix of the versions of a module.
#[must_use]
pub fn module_versions(path: &str) -> Vec<u8> {
    format!("module/{path}\0v").into_bytes()
}

/// One version of a module.
#[must_use]
pub fn module_version(path: &str, version: u32) -> Vec<u8> {
    let mut key = module_versions(path);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// The path and the number of a version of a module.
#[must_use]
pub fn parse_module_version(key: &[u8]) -> Option<(&str, u32)> {
    let (head, version) = key.strip_prefix(b"module/")?.split_last_chunk()?;
    let path = std::str::from_utf8(head.strip_suffix(b"\0v")?).ok()?;
    Some((path, u32::from_be_bytes(*version)))
}

/// The latest version of a module.
#[must_use]
pub fn module_head(path: &str) -> Vec<u8> {
    format!("modules/{path}").into_bytes()
}

/// Prefix of the heads of the modules whose path begins so.
#[must_use]
pub fn module_heads_from(beginning: &str) -> Vec<u8> {
    module_head(beginning)
}

/// The path of a module of which this is the head.
#[must_use]
pub fn parse_module_head(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(b"modules/")?).ok()
}

/// Where it is kept that all modules are found by their words: those saved by the first coordinators were not.
pub const WORDS: &[u8] = b"meta/words";

/// Prefix of the modules found by words that begin so.
#[must_use]
pub fn module_words(beginning: &str) -> Vec<u8> {
    format!("word/{beginning}").into_bytes()
}

/// That a module is found by a word, which has no NUL.
#[must_use]
pub fn module_word(word: &str, path: &str) -> Vec<u8> {
    format!("word/{word}\0{path}").into_bytes()
}

/// The word and the path of a module that is found by it.
#[must_use]
pub fn parse_module_word(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key.strip_prefix(b"word/")?).ok()?.split_once('\0')
}

/// The record of an API token, found by the SHA-256 of its secret.
#[must_use]
pub fn token(sha256: &[u8; 32]) -> Vec<u8> {
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("token/{hex}").into_bytes()
}

/// The SHA-256 of the secret of a token.
#[must_use]
pub fn parse_token(key: &[u8]) -> Option<[u8; 32]> {
    let hex = std::str::from_utf8(key.strip_prefix(TOKENS)?).ok()?;
    let mut sha256 = [0; 32];
    for (i, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    (hex.len() == 64).then_some(sha256)
}

/// A user.
#[must_use]
pub fn user(name: &str) -> Vec<u8> {
    [USERS, name.as_bytes()].concat()
}

/// A group.
#[must_use]
pub fn group(name: &str) -> Vec<u8> {
    [GROUPS, name.as_bytes()].concat()
}

/// What a launch of `user` with this idempotency key answered.
#[must_use]
pub fn idempotency(user: &str, key: &str) -> Vec<u8> {
    format!("idem/{user}\0{key}").into_bytes()
}

fn parse_run(text: &[u8]) -> Option<RunId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RunId {
        "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a UUID")
    }

    #[test]
    fn keys_are_what_the_table_says() {
        assert_eq!(event(id(), 258), b"run/01890a5d-ac96-774b-bcce-b302099a8057/e/\0\0\0\0\0\0\x01\x02");
        assert_eq!(snapshot(id()), b"run/01890a5d-ac96-774b-bcce-b302099a8057/s");
        assert_eq!(owner(id()), b"run/01890a5d-ac96-774b-bcce-b302099a8057/o");
        assert_eq!(summary(id()), b"runs/01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(module_version("a/b", 3), b"module/a/b\0v\0\0\0\x03");
        assert_eq!(module_head("a/b"), b"modules/a/b");
        assert_eq!(token(&[0xab; 32]), format!("token/{}", "ab".repeat(32)).as_bytes());
        assert_eq!(idempotency("ann", "k"), b"idem/ann\0k");
    }

    #[test]
    fn what_is_made_can_be_parsed() {
        for seq in [0, 1, 0x2f2f_2f2f_2f2f_2f2f, u64::MAX] {
            assert_eq!(parse_event(&event(id(), seq)), Some((id(), seq)));
        }
        for version in [0, 1, u32::from_be_bytes(*b"\0v\0v"), u32::MAX] {
            assert_eq!(parse_module_version(&module_version("a/b", version)), Some(("a/b", version)));
        }
        assert_eq!(parse_token(&token(&[0xab; 32])), Some([0xab; 32]));
        assert_eq!(parse_summary(&summary(id())), Some(id()));
        assert_eq!(parse_module_word(&module_word("lamp", "a/b")), Some(("lamp", "a/b")));
        assert_eq!(parse_module_head(&module_head("a/b")), Some("a/b"));
    }

    #[test]
    fn other_keys_are_not_taken_for_these() {
        let others = [
            snapshot(id()),
            snapshot_part(id(), 1, 2),
            summary(id()),
            module_head("a"),
            b"run/x/e/12345678".to_vec(),
            Vec::new(),
        ];
        for key in others {
            assert_eq!(parse_event(&key), None);
            assert_eq!(parse_module_version(&key), None);
        }
        assert_eq!(parse_summary(&owner(id())), None);
        assert_eq!(parse_module_head(&module_version("a", 1)), None);
    }

    #[test]
    fn the_order_of_keys_is_that_of_numbers() {
        assert!(event(id(), 9) < event(id(), 10));
        assert!(event(id(), 255) < event(id(), 256));
        assert!(module_version("a", 255) < module_version("a", 256));
    }

    #[test]
    fn a_prefix_covers_what_belongs_to_it_and_nothing_else() {
        for key in [event(id(), 7), snapshot(id()), snapshot_part(id(), 7, 0), owner(id())] {
            assert!(key.starts_with(&run(id())));
        }
        assert!(snapshot_part(id(), 7, 300).starts_with(&snapshot_parts_of(id(), 7)));
        assert!(!snapshot_part(id(), 8, 0).starts_with(&snapshot_parts_of(id(), 7)));
        assert!(!summary(id()).starts_with(&run(id())));
        assert!(!module_version("a/bc", 1).starts_with(&module_versions("a/b")));
        assert!(!module_version("a/b/c", 1).starts_with(&module_versions("a/b")));
        assert!(module_head("a/b/c").starts_with(&module_heads_from("a/b/")));
        assert!(!module_head("a/bc").starts_with(&module_heads_from("a/b/")));
        assert!(module_head("a").starts_with(&module_heads_from("")));
    }

    #[test]
    fn one_users_idempotency_keys_are_not_anothers() {
        assert_ne!(idempotency("a/b", "c"), idempotency("a", "b/c"));
    }
}
