//! Where things are: programs beside this test, the repository, images.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// One of our programs, built in the same profile as this test.
///
/// # Panics
/// It was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests are in target/<profile>/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository").to_owned()
}

/// The folder of reference images, if they were made: `SLIPSTREAM_TEST_IMAGES`, which `make test` sets.
#[must_use]
pub fn test_images(image: &str) -> Option<PathBuf> {
    let images = PathBuf::from(env::var_os("SLIPSTREAM_TEST_IMAGES")?);
    images.join(image).join("manifest.json").exists().then_some(images)
}

/// The command line, talking to the coordinator of that profile.
#[must_use]
pub fn cli(profile: &Path) -> Command {
    let mut command = Command::new(program("slipstream"));
    command.env("SLIPSTREAM_PROFILE", profile).env("NO_COLOR", "1").current_dir(repository());
    for leaking in ["SLIPSTREAM_URL", "SLIPSTREAM_TOKEN", "SLIPSTREAM_CA"] {
        command.env_remove(leaking);
    }
    command
}
