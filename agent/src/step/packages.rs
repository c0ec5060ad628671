//! The step `packages`: one script per package manager.

use crate::system::System;

/// A family of package managers, the names it goes by, and its script. `{}` stands for the packages.
struct Family {
    names: &'static [&'static str],
    script: &'static str,
}

const FAMILIES: [Family; 4] = [
    Family {
        names: &["debian", "ubuntu", "apt"],
        // Lists that are a day old are good enough; older ones name packages that are gone.
        script: "export DEBIAN_FRONTEND=noninteractive\n\
                 if ! find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null | grep -q .; then\n\
                 \tapt-get -o DPkg::Lock::Timeout=300 update\n\
                 fi\n\
                 apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends {}\n",
    },
    Family {
        names: &["redhat", "rhel", "fedora", "centos", "rocky", "almalinux", "dnf"],
        script: "dnf=$(command -v dnf || command -v yum)\n\"$dnf\" install -y {}\n",
    },
    Family {
        names: &["suse", "opensuse", "sles", "zypper"],
        script: "zypper --non-interactive install --no-recommends {}\n",
    },
    Family { names: &["alpine", "apk"], script: "apk add --no-cache {}\n" },
];

/// The script that installs `packages` here.
pub(super) fn script(packages: &[String], platform: Option<&str>, system: &System) -> Result<String, String> {
    let words = match platform {
        Some(platform) => vec![platform.to_owned()],
        None => os_release(&system.fact("/etc/os-release")),
    };
    let family = words
        .iter()
        .find_map(|word| FAMILIES.iter().find(|f| f.names.iter().any(|name| word.eq_ignore_ascii_case(name))))
        .ok_or_else(|| format!("no package manager is known for this platform ({})", words.join(", ")))?;
    if let Some(bad) = packages.iter().find(|p| p.is_empty() || p.starts_with('-') || p.contains(['\'', '\n'])) {
        return Err(format!("`{bad}` is no package name"));
    }
    let quoted: Vec<_> = packages.iter().map(|p| format!("'{p}'")).collect();
    Ok(format!("#!/bin/sh -e\n{}", family.script.replace("{}", &quoted.join(" "))))
}

/// What a system calls itself, and what it says it is like, in this order.
fn os_release(text: &str) -> Vec<String> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_matches(['"', '\'']).split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    [field("ID="), field("ID_LIKE=")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_system(os_release: &str, platform: Option<&str>) -> Result<String, String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/os-release"), os_release).unwrap();
        script(&["apache2".into(), "g++".into()], platform, &System::new(root.path().into()))
    }

    #[test]
    fn the_platform_decides_and_the_system_is_asked_where_it_is_silent() {
        for (os_release, platform, command) in [
            ("ID=debian\n", None, "apt-get"),
            ("NAME=x\nID=raspbian\nID_LIKE=debian\n", None, "apt-get"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", None, "install -y 'apache2' 'g++'"),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", None, "zypper"),
            ("ID=alpine\n", None, "apk add"),
            ("ID=debian\n", Some("redhat"), "dnf"),
        ] {
            let script = for_system(os_release, platform).unwrap();
            assert!(script.contains(command), "{os_release}: {script}");
        }
        let error = for_system("ID=plan9\n", None).unwrap_err();
        assert_eq!(error, "no package manager is known for this platform (plan9)");
    }

    #[test]
    fn a_package_name_is_never_an_option_or_a_command() {
        for bad in ["-o", "a'; reboot; '", ""] {
            assert!(script(&[bad.to_owned()], Some("debian"), &System::new("/nowhere".into())).is_err());
        }
    }
}
