//! Files before and after; nothing is lost whatever is formatted.

use super::*;

const BEFORE: &str = r#"# Licence of this file

# The guest book
kind: application   # what it is
slipstream: 1
nodes:
    # the data
    db:
        deploy: | # as root
            systemctl restart db


            echo done

        image: images/debian-12
        ready: {within: 5m,   tcp: 3306}
        # nothing else

    web:
        packages: [apache2, # the server
          php]
        needs:
        - db.ready
        # last
        - db[1].deployed   # really
        use: 'components/web'
        report: >-
            folded
            text
        params: { zz: "1", aa: "two
          lines" }


name: apps/lamp
outputs: {}
# the end
"#;

const AFTER: &str = r#"# Licence of this file

slipstream: 1
# The guest book
kind: application # what it is

name: apps/lamp
nodes:
  # the data
  db:
    image: images/debian-12
    deploy: | # as root
      systemctl restart db


      echo done
    ready: { tcp: 3306, within: 5m }
    # nothing else

  web:
    use: 'components/web'
    params: { zz: "1", aa: "two lines" }
    packages: [ apache2, php ] # the server
    report: >-
      folded
      text
    needs:
      - db.ready
      # last
      - db[1].deployed # really
outputs: {}
# the end
"#;

#[test]
fn keys_come_in_order_and_comments_stay_with_what_they_are_about() {
    let text = format(BEFORE).unwrap_or_else(|e| panic!("{e}"));
    for (i, (now, meant)) in text.lines().zip(AFTER.lines()).enumerate() {
        assert_eq!(now, meant, "line {}\n{text}", i + 1);
    }
    assert_eq!(format(AFTER).as_deref(), Ok(AFTER));
}

#[test]
fn json_stays_json_and_toml_is_left_alone() {
    let json = r#"{"name": "a/b", "native": {"z": "1", "a": 2}, "kind": "image", "slipstream": 1}"#;
    let text = format(json).expect("formatted");
    assert!(text.starts_with("{\n  \"slipstream\": 1,\n  \"kind\": \"image\",\n  \"name\": \"a/b\""), "{text}");
    assert_eq!(format(&text).as_deref(), Ok(text.as_str()));
    let told = format("slipstream = 1\n").expect_err("TOML").to_string();
    assert_eq!(told, "it is TOML, and only YAML and JSON are formatted");
    assert!(matches!(format("a: [\n"), Err(NotFormatted::Unreadable(_))));
}

/// Whatever is done to a file: it is refused, or it says the same, has the same comments, and stays so.
#[test]
fn formatting_twice_is_formatting_once() {
    let pieces =
        ["# c\n", "\n", "  ", "- x\n", "{ a: 1 }", "|\n", "'q'", " # t", "\"w\"", ":", "a: b\n", ">-\n", "\t", "é"];
    let mut seed: u64 = 7;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    let mut formatted = 0;
    for _ in 0..4000 {
        let mut text: Vec<char> = BEFORE.chars().collect();
        for _ in 0..=random(3) {
            let at = random(text.len());
            match random(2) {
                0 => drop(text.splice(at..at, pieces[random(pieces.len())].chars())),
                _ => drop(text.drain(at..(at + random(12)).min(text.len()))),
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(once) = format(&text) {
            formatted += 1;
            assert_eq!(format(&once).as_deref(), Ok(once.as_str()), "{text}\n---\n{once}");
        }
    }
    assert!(formatted > 1000, "{formatted}");
}
